//! `rekindle man`: the manual page, made from the command line's own description.

use std::io::{self, Write as _};

use clap::CommandFactory as _;
use clap_mangen::Man;

use super::Cli;

/// One page: the program's, followed by a section for each command.
pub fn page() -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    Man::new(program.clone()).render(&mut page)?;
    for command in program.get_subcommands() {
        writeln!(page, ".SH \"REKINDLE {}\"", command.get_name().to_uppercase())?;
        let section = Man::new(command.clone());
        section.render_synopsis_section(&mut page)?;
        section.render_description_section(&mut page)?;
        section.render_options_section(&mut page)?;
        section.render_extra_section(&mut page)?;
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_command_with_its_options() {
        let page = String::from_utf8(page().unwrap()).unwrap();
        for command in Cli::command().get_subcommands() {
            let heading = format!("\"REKINDLE {}\"", command.get_name().to_uppercase());
            assert!(page.contains(&heading), "{heading}");
        }
        for option in [r"stop\-timeout", r"ready\-after", r"expect\-status"] {
            assert!(page.contains(option), "{option}");
        }
    }
}

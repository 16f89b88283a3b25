//! The manual page, made from the command line's own description.

use std::io::{self, Write as _};

use clap::CommandFactory as _;
use clap_mangen::Man;
use rekindle::cli::Cli;

/// One page: the program's, followed by a section for each command.
pub(crate) fn page() -> io::Result<Vec<u8>> {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let mut page = Vec::new();
    let whole = Man::new(program.clone());
    whole.render_title(&mut page)?;
    whole.render_name_section(&mut page)?;
    whole.render_synopsis_section(&mut page)?;
    whole.render_description_section(&mut page)?;
    for command in program.get_subcommands() {
        writeln!(page, ".SH \"REKINDLE {}\"", command.get_name().to_uppercase())?;
        let command = Man::new(command.clone());
        let mut sections = Vec::new();
        command.render_synopsis_section(&mut sections)?;
        command.render_description_section(&mut sections)?;
        command.render_options_section(&mut sections)?;
        command.render_extra_section(&mut sections)?;
        let sections = String::from_utf8_lossy(&sections).replace(".SH ", ".SS ");
        page.extend(sections.into_bytes());
    }
    whole.render_extra_section(&mut page)?;
    whole.render_version_section(&mut page)?;
    Ok(page)
}

//! The flags that set keys of the configuration, made from the table of keys.
//!
//! They are not checked here but with the file, so that all problems are told together.

use clap::builder::FalseyValueParser;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, ValueHint};

use crate::config::keys::{Flag, KEYS, Key, Kind, NO_BOOT_HOOK};
use crate::config::{Origin, Setting};

/// What flags and their environment variables say; what wins stands last.
#[derive(Clone, Debug, Default)]
pub struct Settings(pub Vec<Setting>);

const HOOK: &str = "boot-hook";

impl Args for Settings {
    fn augment_args(command: Command) -> Command {
        let command = KEYS.iter().filter_map(argument).fold(command, Command::arg);
        command.arg(
            Arg::new(NO_BOOT_HOOK.long)
                .long(NO_BOOT_HOOK.long)
                .env(NO_BOOT_HOOK.env)
                .hide_env_values(true)
                .action(ArgAction::SetTrue)
                .value_parser(FalseyValueParser::new())
                .help("Run no boot hook"),
        )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Settings {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut settings: Vec<_> = KEYS.iter().filter_map(|key| setting(key, matches)).collect();
        if matches.get_flag(NO_BOOT_HOOK.long)
            && let Some(key) = KEYS.iter().find(|key| key.flag.is_some_and(|f| f.long == HOOK))
            && let Some(origin) = origin(matches, NO_BOOT_HOOK)
        {
            settings.push(Setting { key, origin, text: None });
        }
        let is_flag = |id| matches.value_source(id) == Some(ValueSource::CommandLine);
        if is_flag(HOOK) && is_flag(NO_BOOT_HOOK.long) {
            let text = format!("--{HOOK} and --{} contradict each other\n", NO_BOOT_HOOK.long);
            return Err(clap::Error::raw(ErrorKind::ArgumentConflict, text));
        }
        let (flags, mut settings): (Vec<_>, Vec<_>) =
            settings.into_iter().partition(|setting| matches!(setting.origin, Origin::Flag(_)));
        settings.extend(flags);
        Ok(Self(settings))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn argument(key: &Key) -> Option<Arg> {
    let flag = key.flag?;
    let hint = match flag.value {
        "PATH" => ValueHint::AnyPath,
        "URL" => ValueHint::Url,
        _ => ValueHint::Other,
    };
    let words = if let Kind::Word(words) = key.kind {
        format!(": {}", words.join(", "))
    } else {
        String::new()
    };
    let default = key.default.map(|default| format!(" [default: {}]", default.trim_matches('"')));
    let argument = Arg::new(flag.long)
        .long(flag.long)
        .env(flag.env)
        .hide_env_values(true)
        .value_name(flag.value)
        .value_hint(hint)
        .help(format!("{}{words}{}", key.summary(), default.unwrap_or_default()));
    Some(argument)
}

fn setting(key: &'static Key, matches: &ArgMatches) -> Option<Setting> {
    let flag = key.flag?;
    let origin = origin(matches, flag)?;
    let text = matches.get_one::<String>(flag.long)?;
    // Compose files pass variables on that are empty because they are unset outside.
    if text.is_empty() && matches!(origin, Origin::Env(_)) {
        return None;
    }
    Some(Setting { key, origin, text: Some(text.clone()) })
}

fn origin(matches: &ArgMatches, flag: Flag) -> Option<Origin> {
    let source = matches.value_source(flag.long)?;
    if source == ValueSource::CommandLine {
        return Some(Origin::Flag(flag.long));
    }
    (source == ValueSource::EnvVariable).then_some(Origin::Env(flag.env))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::{Cli, Command as Cmd, RunArgs};
    use super::*;

    fn run(arguments: &[&str]) -> RunArgs {
        let cli = Cli::try_parse_from(["rekindle", "run"].iter().chain(arguments)).unwrap();
        let Cmd::Run(args) = cli.command else { panic!("{cli:?}") };
        args
    }

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_become_settings_and_the_rest_is_the_command() {
        let args = run(&["--stop-timeout", "30s", "--failure-threshold=2", "--", "sh", "--listen"]);
        let settings: Vec<_> = args
            .settings
            .0
            .iter()
            .map(|setting| (setting.key.path, setting.origin, setting.text.as_deref()))
            .collect();
        let threshold = "service.NAME.probe.liveness.failure_threshold";
        assert_eq!(
            settings,
            [
                ("service.NAME.stop_timeout", Origin::Flag("stop-timeout"), Some("30s")),
                (threshold, Origin::Flag("failure-threshold"), Some("2")),
            ]
        );
        assert_eq!(args.command, ["sh", "--listen"]);
    }

    #[test]
    fn a_boot_hook_and_none_contradict_each_other() {
        let settings = |arguments: &[&str]| run(arguments).settings.0;
        assert_eq!(settings(&["--no-boot-hook"])[0].text, None);
        assert_eq!(settings(&["--boot-hook", "a"])[0].text.as_deref(), Some("a"));
        let both = ["rekindle", "run", "--no-boot-hook", "--boot-hook", "a"];
        let error = Cli::try_parse_from(both).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ArgumentConflict);
    }
}

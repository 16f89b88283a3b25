//! The pages that are printed from the table of keys: the commented example file and the
//! reference. `tests/docs.rs` keeps the files in the repository equal to them.

use super::keys::{CONFIG, Flag, KEYS, Key, NO_BOOT_HOOK};

/// The service's name in the example file.
const EXAMPLE_SERVICE: &str = "gateway";
/// These have no default, but without them the example would be no configuration.
const NEEDED: &[&str] = &["service.NAME.command", "service.NAME.health"];

/// `config/rekindle.toml`: every key, with its default or, commented out, an example.
pub fn example_file() -> String {
    let mut lines: Vec<String> = [
        "# Every key of Rekindle at its default, printed from the program's own table.",
        "# Keys that are commented out are unset by default; their values are examples.",
        "# Check a file of your own with `rekindle check FILE`.",
    ]
    .map(str::to_owned)
    .into();
    for table in tables() {
        // A readiness probe without a target would be an error, so all of it is an example.
        let off = if table.ends_with("readiness") { "# " } else { "" };
        lines.push(format!("\n{off}[{}]", table.replace("NAME", EXAMPLE_SERVICE)));
        for key in KEYS.iter().filter(|key| belongs(key, table)) {
            lines.push(String::new());
            lines.extend(wrapped(key.doc, 96).iter().map(|line| format!("# {line}")));
            let set = off.is_empty() && (key.default.is_some() || NEEDED.contains(&key.path));
            let value = key.default.unwrap_or(key.example);
            lines.push(format!("{}{} = {value}", if set { "" } else { "# " }, key.name()));
        }
        if table.ends_with("startup") || table.ends_with("readiness") {
            lines.push("\n# The target and what is expected are written as for liveness.".into());
        }
    }
    lines.join("\n") + "\n"
}

/// The tables of the file in the order of the keys.
fn tables() -> Vec<&'static str> {
    let mut tables: Vec<_> = KEYS.iter().filter_map(table_of).collect();
    tables.retain(|table| !table.ends_with("ROLE"));
    tables.dedup();
    tables
}

/// The table that a key stands in; none for those that are written inside their parent's value.
fn table_of(key: &Key) -> Option<&'static str> {
    let (table, _) = key.path.rsplit_once('.')?;
    let is_value = KEYS.iter().any(|other| other.path == table);
    (!is_value).then_some(table)
}

/// Whether the example shows the key in this table; those of any role only with liveness.
fn belongs(key: &Key, table: &str) -> bool {
    let Some(own) = table_of(key) else { return false };
    let shared = table.ends_with("liveness") && own.ends_with("ROLE");
    let again = || KEYS.iter().any(|other| other.path == format!("{table}.{}", key.name()));
    own == table || (shared && !again())
}

/// `docs/configuration.md`: the everyday keys, then all of them.
pub fn reference() -> String {
    let mut lines = vec![INTRODUCTION.to_owned()];

    lines.push("## The ten everyday keys\n".into());
    lines.extend(["| Key | Default | What it does |".into(), "|---|---|---|".into()]);
    for key in KEYS.iter().filter(|key| key.everyday) {
        let (name, anchor, default) = (short(key), anchor(key), default(key));
        lines.push(format!("| [`{name}`](#{anchor}) | {default} | {}. |", key.summary()));
    }

    lines.push("\n## Flags and environment variables\n".into());
    lines.extend(["| Flag | Environment | Key |".into(), "|---|---|---|".into()]);
    for key in KEYS {
        if let Some(flag) = key.flag {
            let Flag { long, env, value } = flag;
            lines.push(format!("| `--{long} {value}` | `{env}` | `{}` |", short(key)));
        }
    }
    let Flag { long, env, .. } = NO_BOOT_HOOK;
    lines.push(format!("| `--{long}` | `{env}` | `boot_hook = false` |"));
    let Flag { long, env, value } = CONFIG;
    lines.push(format!("| `--{long} {value}` | `{env}` | the file itself |"));

    lines.push("\n## Every key".into());
    let mut table = "";
    for key in KEYS {
        let own = key.path.rsplit_once('.').map_or("", |(table, _)| table);
        if own != table {
            table = own;
            lines.push(format!("\n### `[{table}]`"));
        }
        lines.extend(entry(key));
    }
    lines.join("\n") + "\n"
}

fn entry(key: &Key) -> Vec<String> {
    let mut lines = vec![format!("\n#### `{}`\n", short(key))];
    lines.extend(key.doc.split_inclusive(". ").map(|sentence| sentence.trim_end().to_owned()));
    lines.push(format!("\n- Value: {}", key.kind.describe()));
    lines.push(match key.default {
        Some(default) => format!("- Default: `{default}`"),
        None => format!("- Default: unset; example: `{}`", key.example),
    });
    if let Some(flag) = key.flag {
        lines.push(format!("- Flag: `--{}`, environment: `{}`", flag.long, flag.env));
    }
    lines
}

fn default(key: &Key) -> String {
    key.default.map_or_else(|| "unset".into(), |default| format!("`{default}`"))
}

/// The key's place below `[service.NAME]` or with its table.
fn short(key: &Key) -> &'static str {
    key.path.strip_prefix("service.NAME.").unwrap_or(key.path)
}

/// What a Markdown renderer makes of the key's heading.
fn anchor(key: &Key) -> String {
    short(key).to_lowercase().chars().filter(|c| *c != '.').collect()
}

/// Breaks a text into lines of at most `width` characters.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is a first line");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

const INTRODUCTION: &str = "\
# Configuration

<!-- Printed from src/config/keys.rs; `UPDATE_DOCS=1 cargo test --test docs` writes it anew. -->

Rekindle reads one TOML file, and every flag of `rekindle run` is also an environment variable.
A flag wins over the environment, the environment over the file, the file over the default.
`rekindle check FILE` tells everything that is wrong with a file and prints what would happen when.
`config/rekindle.toml` shows every key in place.

- The file is the one named by `--config` or `REKINDLE_CONFIG`.
  With neither and without a command it is `/etc/rekindle/rekindle.toml`.
- There is exactly one `[service.NAME]` for now; NAME is yours.
  Without a file it is `--name`, else the base name of the command.
- Durations are written like `\"500ms\"`, `\"8s\"`, `\"5m\"` or `\"1h 30m\"`.
- Relative paths in the file start in the file's directory, those in flags in the working directory.
  The program in `command`, `repair` and `exec` is looked up as a shell would do it.
- `${VAR}` in `command` and `env` of the file is replaced from Rekindle's environment.
  `$${` stands for `${`, any other dollar stays, and a variable that is not set is an error.
  A command given after `--` is taken as it is.
- Unknown keys are errors.
- An empty environment variable counts as unset, and no `REKINDLE_*` variable is passed on.
- An invalid configuration ends `rekindle run` and `rekindle check` with exit code 78 before
  anything is started; wrong usage with 2.
";

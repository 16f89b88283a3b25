//! The architecture and the hygiene of this repository, read from its source tree.
//!
//! These are the rules that neither the compiler nor clippy can hold. Each failing message names
//! file and line and says how to get out. Deliberately a plain line scanner: it relies on
//! `rustfmt`, not on a parser.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const MAX_FUNCTION_LINES: usize = 80;

#[test]
fn the_core_uses_only_std_and_itself() {
    let core = source_files("src").into_iter().filter(|file| file.is_below("supervisor"));
    let core: Vec<_> = core.filter(|file| !file.is_test_module()).collect();
    assert!(!core.is_empty(), "src/supervisor.rs is gone: tell tests/tidy.rs where the core lives");
    let modules: BTreeSet<_> = core.iter().map(|file| file.stem().to_owned()).collect();
    let impure = ["std::env", "std::fs", "std::net", "std::process", "std::thread", "Instant"];

    let mut findings = Findings::new("keep the core pure: hand it an event or a policy instead");
    for (file, number, line) in core.iter().flat_map(SourceFile::code) {
        for path in line.match_indices("crate::").map(|(at, _)| &line[at..]) {
            if !path.starts_with("crate::supervisor") {
                findings.add(file, number, "the core uses another of our modules");
            }
        }
        for name in dependencies().iter().filter(|name| !modules.contains(*name)) {
            if mentions(line, &format!("{name}::")) {
                findings.add(file, number, &format!("the core uses the crate `{name}`"));
            }
        }
        for path in impure.iter().filter(|path| mentions(line, path)) {
            findings.add(file, number, &format!("the core reaches into the world by `{path}`"));
        }
    }
    findings.assert_none();
}

#[test]
fn only_the_process_set_up_is_unsafe() {
    let mut findings =
        Findings::new("find a safe call (rustix), or move it to src/process/exec.rs");
    for file in source_files("src").iter().filter(|file| !file.is("src/process/exec.rs")) {
        if file.is_test_module() {
            continue;
        }
        for (file, number, line) in file.code() {
            if mentions(line, "unsafe") || mentions(line, "unsafe_code") {
                findings.add(file, number, "`unsafe` outside src/process/exec.rs");
            }
        }
    }
    findings.assert_none();
}

#[test]
fn only_the_clock_reads_clocks() {
    let readers = ["Instant::now", "SystemTime::now", "clock_gettime", ".elapsed()"];
    let mut findings = Findings::new("take a `Moment` as an argument, or ask src/clock.rs");
    for file in source_files("src").iter().filter(|file| !file.is("src/clock.rs")) {
        for (file, number, line) in file.code() {
            for reader in readers.iter().filter(|reader| line.contains(*reader)) {
                findings.add(file, number, &format!("`{reader}` outside src/clock.rs"));
            }
        }
    }
    findings.assert_none();
}

#[test]
fn nobody_but_run_uses_the_driver() {
    let allowed = ["src/main.rs", "src/lib.rs", "src/cli/run.rs"];
    let mut findings = Findings::new("let the driver call this module, not the other way round");
    for file in source_files("src").iter().filter(|file| !file.is_below("driver")) {
        if allowed.iter().any(|path| file.is(path)) {
            continue;
        }
        for (file, number, line) in file.code() {
            if ["crate::driver", "rekindle::driver", "super::driver"]
                .iter()
                .any(|p| mentions(line, p))
            {
                findings.add(file, number, "uses the driver");
            }
        }
    }
    findings.assert_none();
}

#[test]
fn functions_fit_a_screen() {
    let mut findings = Findings::new("keep the branching, and move one part into a function");
    for file in rust_files() {
        let lines: Vec<_> = file.text.lines().collect();
        for (start, line) in lines.iter().enumerate().filter(|(_, line)| starts_function(line)) {
            let indent = line.len() - line.trim_start().len();
            let end = format!("{}}}", " ".repeat(indent));
            let length = lines[start..].iter().position(|line| *line == end).unwrap_or(0) + 1;
            let one_line = line.ends_with('}') || line.ends_with(';');
            if !one_line && length > MAX_FUNCTION_LINES {
                let what = format!("a function of {length} lines (at most {MAX_FUNCTION_LINES})");
                findings.add(&file, start + 1, &what);
            }
        }
    }
    findings.assert_none();
}

#[test]
fn every_module_says_what_it_is_for() {
    let mut findings = Findings::new("open it with `//!`: what it is for, and what it leaves out");
    for file in rust_files().iter().filter(|file| !file.text.starts_with("//!")) {
        if file.stem() == "tests" && file.is_test_module() {
            continue;
        }
        findings.add(file, 1, "no module documentation");
    }
    findings.assert_none();
}

#[test]
fn nothing_is_left_over_from_writing() {
    let mut findings = Findings::new("finish it, or take it out");
    for file in rust_files() {
        for (file, number, line) in file.code() {
            for name in ["todo", "unimplemented", "dbg"] {
                if mentions(line, &format!("{name}!(")) {
                    findings.add(file, number, &format!("`{name}!` is left"));
                }
            }
        }
    }
    findings.assert_none();
}

#[test]
fn text_has_no_tabs_and_no_trailing_space() {
    let mut findings = Findings::new("let the editor strip trailing space and indent by spaces");
    for file in text_files().iter().filter(|file| !file.is("LICENSE")) {
        for (number, line) in file.lines() {
            if line.contains('\t') {
                findings.add(file, number, "a tab");
            }
            if line.ends_with(' ') || line.ends_with('\r') {
                findings.add(file, number, "trailing white space");
            }
        }
        if !file.text.is_empty() && !file.text.ends_with('\n') {
            findings.add(file, file.text.lines().count(), "no newline at the end");
        }
    }
    findings.assert_none();
}

#[test]
fn no_file_names_a_path_of_somebodys_machine() {
    // Put together here, so that this file does not find itself.
    let mut paths = vec![["/ro", "ot/"].concat()];
    let here = root().display().to_string();
    if here.matches('/').count() > 1 {
        paths.push(here);
    }
    let mut findings = Findings::new("name it relative to the repository, or by a variable");
    for file in text_files() {
        for (number, line) in file.lines() {
            for path in paths.iter().filter(|path| line.contains(*path)) {
                findings.add(&file, number, &format!("names `{path}`"));
            }
        }
    }
    findings.assert_none();
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut findings = Findings::new("correct the link, or write what it promises");
    for file in text_files().iter().filter(|file| file.path.extension() == Some("md".as_ref())) {
        for (number, line) in prose_lines(&file.text) {
            for target in link_targets(line) {
                if let Some(what) = dead_link(file, target) {
                    findings.add(file, number, &what);
                }
            }
        }
    }
    findings.assert_none();
}

/// What is wrong with this link, if anything. Links out of the repository are not followed.
fn dead_link(from: &SourceFile, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, heading) = target.split_once('#').unwrap_or((target, ""));
    let folder = from.path.parent().unwrap_or(Path::new(""));
    let file = if path.is_empty() { from.path.clone() } else { folder.join(path) };
    let file = root().join(file);
    if !file.exists() {
        return Some(format!("links to `{path}`, which is not there"));
    }
    if heading.is_empty() {
        return None;
    }
    let text = fs::read_to_string(&file).unwrap_or_default();
    let found = prose_lines(&text).any(|(_, line)| line.starts_with('#') && slug(line) == heading);
    (!found).then(|| format!("links to `{target}`, but no heading there is called so"))
}

/// The anchor that a Markdown heading gets.
fn slug(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = words.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Numbered lines of a Markdown text outside its fenced code blocks.
fn prose_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// The targets of `[words](target)` in a line.
fn link_targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next())
}

/// Whether `line` holds `word` not as part of a longer name or path.
fn mentions(line: &str, word: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let open_end = word.ends_with(|c: char| !part_of_name(c));
        !before.is_some_and(part_of_name) && (open_end || !after.is_some_and(part_of_name))
    })
}

fn starts_function(line: &str) -> bool {
    let mut words = line.split_whitespace().skip_while(|word| {
        let qualifiers = ["pub", "const", "async", "unsafe", "extern", "\"C\""];
        qualifiers.contains(word) || word.starts_with("pub(")
    });
    words.next() == Some("fn")
}

/// The crates that the package depends on, as they are named in code.
fn dependencies() -> Vec<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml is readable");
    let table = manifest.split("\n[dependencies]\n").nth(1).expect("Cargo.toml has dependencies");
    let names = table.lines().take_while(|line| !line.starts_with('['));
    names.filter_map(|line| Some(line.split_once(" =")?.0.replace('-', "_"))).collect()
}

struct SourceFile {
    /// Relative to the root of the repository.
    path: PathBuf,
    text: String,
}

impl SourceFile {
    fn is(&self, path: &str) -> bool {
        self.path == Path::new(path)
    }

    /// Whether it is `src/MODULE.rs` or in `src/MODULE/`.
    fn is_below(&self, module: &str) -> bool {
        self.is(&format!("src/{module}.rs")) || self.path.starts_with(format!("src/{module}"))
    }

    fn stem(&self) -> &str {
        self.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default()
    }

    /// Whether its parent declares it under `#[cfg(test)]`.
    fn is_test_module(&self) -> bool {
        let parent = self.path.parent().map(|folder| root().join(folder).with_extension("rs"));
        let parent = parent.and_then(|parent| fs::read_to_string(parent).ok()).unwrap_or_default();
        let declared = format!("mod {};", self.stem());
        let lines: Vec<_> = parent.lines().map(str::trim).collect();
        lines.windows(2).any(|pair| pair[0] == "#[cfg(test)]" && pair[1].ends_with(&declared))
    }

    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines())
    }

    /// Numbered lines of the product: without comments, and without the tests at the end.
    fn code(&self) -> impl Iterator<Item = (&Self, usize, &str)> {
        let tests = "\n#[cfg(test)]\nmod tests {";
        let product = self.text.split(tests).next().unwrap_or_default();
        let lines = (1..).zip(product.lines().map(|line| line.split("//").next().unwrap_or("")));
        lines.map(move |(number, line)| (self, number, line))
    }
}

/// Collects all that is wrong, so that one run shows everything.
struct Findings {
    way_out: &'static str,
    found: Vec<String>,
}

impl Findings {
    fn new(way_out: &'static str) -> Self {
        Self { way_out, found: Vec::new() }
    }

    fn add(&mut self, file: &SourceFile, line: usize, what: &str) {
        self.found.push(format!("{}:{line}: {what}", file.path.display()));
    }

    #[track_caller]
    fn assert_none(self) {
        assert!(self.found.is_empty(), "\n{}\n=> {}\n", self.found.join("\n"), self.way_out);
    }
}

fn rust_files() -> Vec<SourceFile> {
    let mut files = source_files("src");
    files.extend(source_files("tests"));
    files
}

fn source_files(folder: &str) -> Vec<SourceFile> {
    text_files()
        .into_iter()
        .filter(|file| file.path.starts_with(folder))
        .filter(|file| file.path.extension() == Some("rs".as_ref()))
        .collect()
}

/// Every text file of the repository; what git ignores at its top is left out.
fn text_files() -> Vec<SourceFile> {
    let mut files = Vec::new();
    collect(&root(), &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn collect(folder: &Path, files: &mut Vec<SourceFile>) {
    for entry in fs::read_dir(folder).expect("a folder of the repository is readable") {
        let path = entry.expect("an entry of the repository is readable").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if ["target", "corpus", "Cargo.lock"].contains(&name)
            || (name.starts_with('.') && name != ".ci")
        {
            continue;
        }
        if path.is_dir() {
            collect(&path, files);
        } else if let Ok(text) = fs::read_to_string(&path) {
            let path = path.strip_prefix(root()).expect("walked from the root").to_owned();
            files.push(SourceFile { path, text });
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

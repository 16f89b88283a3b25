//! Reading one table of the document: values or their defaults, and what is wrong with them.
//!
//! A wrong value is noted and read as nothing, so that one run finds every problem.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::document::{Origin, Table, Value, What, parse_value};
use super::keys::{self, Kind};
use super::values;
use crate::gather::gather;
use crate::text::one_line;

/// What was found wrong or doubtful so far, and what is needed to say where.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// The file's name for messages.
    pub(super) file: String,
    /// Relative paths in the file start here.
    pub(super) file_directory: PathBuf,
    /// Relative paths in flags start here.
    pub(super) directory: PathBuf,
    pub(super) problems: RefCell<Vec<(Origin, String)>>,
    pub(super) warnings: RefCell<Vec<(Origin, String)>>,
}

impl Notes {
    /// Notes a problem; `text` continues the sentence that the place begins.
    pub(super) fn problem(&self, origin: Origin, text: impl Into<String>) {
        self.problems.borrow_mut().push((origin, self.line(origin, &text.into())));
    }

    pub(super) fn warning(&self, origin: Origin, text: &str) {
        self.warnings.borrow_mut().push((origin, self.line(origin, text)));
    }

    fn line(&self, origin: Origin, text: &str) -> String {
        match origin {
            Origin::Line(line) => one_line(&format!("{}:{line}: {text}", self.file)),
            Origin::Default | Origin::Flag(_) | Origin::Env(_) | Origin::Arguments => {
                one_line(text)
            }
        }
    }

    /// The notes in the order of the file, each once: some values are read several times.
    pub(super) fn sorted(notes: RefCell<Vec<(Origin, String)>>) -> Vec<String> {
        let mut notes = notes.into_inner();
        notes.sort_by_key(|(origin, _)| *origin);
        let mut told = BTreeSet::new();
        notes.retain(|(_, text)| told.insert(text.clone()));
        notes.into_iter().map(|(_, text)| text).collect()
    }

    /// Reads a path. A relative one starts in the file's directory if it was written in the
    /// file, else in ours.
    pub(super) fn path(&self, value: &Value) -> Result<PathBuf, String> {
        values::text(value).map(|text| self.resolve(value.origin, &text))
    }

    /// The absolute form of a path that was written at `origin`.
    pub(super) fn resolve(&self, origin: Origin, path: &str) -> PathBuf {
        match origin {
            Origin::Line(_) => self.file_directory.join(path),
            Origin::Default | Origin::Flag(_) | Origin::Env(_) | Origin::Arguments => {
                self.directory.join(path)
            }
        }
    }
}

/// One table of the document, which need not be there.
#[derive(Clone, Debug)]
pub(super) struct Section<'a> {
    pub(super) notes: &'a Notes,
    place: Vec<String>,
    origin: Origin,
    table: Option<&'a Table>,
}

impl<'a> Section<'a> {
    pub(super) fn root(notes: &'a Notes, table: &'a Table) -> Self {
        Self { notes, place: Vec::new(), origin: Origin::Default, table: Some(table) }
    }

    /// The table at `key`, which may be absent.
    pub(super) fn section(&self, key: &str) -> Self {
        let given = self.given(key);
        let table = match given.map(|value| &value.what) {
            Some(What::Table(table)) => Some(table),
            Some(_) => {
                self.wrong(key, "is not a table");
                None
            }
            None => None,
        };
        self.below(key, given.map_or(self.origin, |value| value.origin), table)
    }

    /// The tables in the list at `key`; not a list of tables is a problem.
    pub(super) fn sections(&self, key: &str) -> Vec<Self> {
        let Some(given) = self.given(key) else { return Vec::new() };
        let What::List(items) = &given.what else {
            self.wrong(key, "is not a list of tables");
            return Vec::new();
        };
        let item = |item: &'a Value| {
            if let What::Table(table) = &item.what {
                return Some(self.below(key, item.origin, Some(table)));
            }
            self.wrong(key, "is not a list of tables");
            None
        };
        items.iter().filter_map(item).collect()
    }

    /// The table at `key` as if nothing were written in it.
    pub(super) fn absent(&self, key: &str) -> Self {
        self.below(key, self.origin, None)
    }

    /// This table with other content.
    pub(super) fn holding<'b>(&'b self, table: &'b Table) -> Section<'b> {
        Section { table: Some(table), ..self.clone() }
    }

    fn below(&self, key: &str, origin: Origin, table: Option<&'a Table>) -> Self {
        let place = self.place.iter().cloned().chain([key.to_owned()]).collect();
        Self { notes: self.notes, place, origin, table }
    }

    pub(super) fn exists(&self) -> bool {
        self.table.is_some()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &'a String> + use<'a> {
        self.table.into_iter().flat_map(BTreeMap::keys)
    }

    /// What was written at `key`.
    pub(super) fn given(&self, key: &str) -> Option<&'a Value> {
        self.table.and_then(|table| table.get(key))
    }

    /// What was written at `key`, or else its default.
    pub(super) fn value(&self, key: &str) -> Option<Value> {
        self.given(key).cloned().or_else(|| self.default(key))
    }

    /// Whether something else than the default was written at `key`.
    pub(super) fn differs(&self, key: &str) -> bool {
        let default = self.default(key);
        self.given(key).is_some_and(|given| default.is_none_or(|own| own.what != given.what))
    }

    pub(super) fn default(&self, key: &str) -> Option<Value> {
        let place: Vec<&str> = self.place.iter().map(String::as_str).chain([key]).collect();
        parse_value(keys::find(&place)?.default?, Origin::Default)
    }

    /// Reads the value at `key`, or its default; a refusal is noted.
    pub(super) fn get<T>(
        &self,
        key: &str,
        read: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.value(key)?;
        read(&value).map_err(|why| self.refuse(key, &value, &why)).ok()
    }

    /// Reads a value that has a default, so that nothing is left only after a problem.
    pub(super) fn read<T: Default>(
        &self,
        key: &str,
        read: impl FnOnce(&Value) -> Result<T, String>,
    ) -> T {
        self.get(key, read).unwrap_or_default()
    }

    /// Reads a path; a relative one becomes absolute, see [`Notes::path`].
    pub(super) fn path(&self, key: &str) -> Option<PathBuf> {
        self.get(key, |value| self.notes.path(value))
    }

    /// Reads one of a few words; after a problem, the first.
    pub(super) fn word<T: Copy>(&self, key: &str, first: (&str, T), rest: &[(&str, T)]) -> T {
        let all = || std::iter::once(first).chain(rest.iter().copied());
        let read = |value: &Value| {
            let found = match &value.what {
                What::Text(text) => all().find(|(word, _)| word == text),
                _ => None,
            };
            found.map(|(_, meaning)| meaning).ok_or_else(|| {
                let words: Vec<_> = all().map(|(word, _)| format!("\"{word}\"")).collect();
                format!("is not one of {}", words.join(", "))
            })
        };
        self.get(key, read).unwrap_or(first.1)
    }

    /// Reads a table of the user's own keys. The values are not shown: they may be secret.
    pub(super) fn map<T>(
        &self,
        key: &str,
        read: impl Fn(&str, &Value) -> Result<T, String>,
    ) -> BTreeMap<String, T> {
        let section = self.section(key);
        let entries = section.table.into_iter().flatten();
        let entry = |(name, value): (&String, &Value)| {
            let read = read(name, value);
            let noted = read.map_err(|why| section.wrong_unshown(name, value.origin, &why));
            Some((name.clone(), noted.ok()?))
        };
        gather(entries.filter_map(entry))
    }

    /// Notes that what was written at `key` is wrong. `why` follows "key = value".
    pub(super) fn wrong(&self, key: &str, why: &str) {
        match self.value(key) {
            Some(value) => self.refuse(key, &value, why),
            None => self.problem(&format!("has no {key}: {why}")),
        }
    }

    /// Notes that what was written at `key` is wrong, without showing it.
    pub(super) fn wrong_unshown(&self, key: &str, origin: Origin, why: &str) {
        self.notes.problem(origin, format!("{} {why}", self.subject(key)));
    }

    /// Notes what is wrong with this table as a whole.
    pub(super) fn problem(&self, why: &str) {
        self.notes.problem(self.origin, format!("{} {why}", self.place.join(".")));
    }

    /// Notes what is doubtful about the value at `key`.
    pub(super) fn doubt(&self, key: &str, why: &str) {
        let Some(value) = self.value(key) else {
            return self.notes.warning(self.origin, &format!("{} {why}", self.place.join(".")));
        };
        self.notes.warning(value.origin, &format!("{} {why}", self.described(key, &value)));
    }

    fn refuse(&self, key: &str, value: &Value, why: &str) {
        self.notes.problem(value.origin, format!("{} {why}", self.described(key, value)));
    }

    fn described(&self, key: &str, value: &Value) -> String {
        match value.origin {
            Origin::Flag(flag) => format!("--{flag} {value}"),
            Origin::Env(name) => format!("{name}={value}"),
            Origin::Arguments => "the command after --".into(),
            _ if self.may_be_secret(key) => self.subject(key),
            Origin::Default | Origin::Line(_) => format!("{} = {value}", self.subject(key)),
        }
    }

    /// Whether what is written at `key` is not shown: commands, variables and headers hold secrets,
    /// also where they are not written as a list or a table.
    fn may_be_secret(&self, key: &str) -> bool {
        let place: Vec<&str> = self.place.iter().map(String::as_str).chain([key]).collect();
        // Who knows the address of a webhook may call it.
        keys::find(&place).is_some_and(|key| {
            matches!(key.kind, Kind::List(_) | Kind::Table(_)) || key.path == "notify.webhook"
        })
    }

    fn subject(&self, key: &str) -> String {
        self.place.iter().map(String::as_str).chain([key]).collect::<Vec<_>>().join(".")
    }
}

//! Takes secrets out of what a record holds, before anybody else sees it.
//!
//! A list of patterns, built in and configured; what they do not describe stays. It is for text
//! that programs print by mistake, and no reason to let them print secrets. All patterns look at
//! the text as it was, so that one cannot hide a secret from another. In doubt more is masked.

#[cfg(test)]
mod tests;
mod value;

use std::borrow::Cow;
use std::ops::Range;

use regex_lite::{Captures, Match, Regex};

use super::outputs::from_next_line;
use super::{Capture, Incident, ProbeAnswer};
use crate::output::TAIL_BYTES;
use crate::text::printable;

/// Stands where a secret was.
const MASKED: &str = "[masked]";

/// A body of this length has been cut, at the latest character that ends within 512 bytes.
const BODY_IS_CUT: usize = 509;

/// What is secret of what a pattern has found.
#[derive(Clone, Copy, Debug)]
enum Secret {
    /// The group, or all of it if there is none.
    Found,
    /// The value that follows, as far as it goes.
    Value,
    /// The header's value that follows: the rest of the line, or of the quotes.
    Header,
}

/// A pattern of ours.
struct BuiltIn {
    pattern: &'static str,
    secret: Secret,
    /// Without one of these, in lower case, it is not there: most lines are passed by quickly.
    hints: &'static [&'static str],
}

/// The only secrets that have several lines. What begins one and does not end it is cut.
const PRIVATE_KEY: BuiltIn = BuiltIn {
    pattern: concat!(
        r"(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----.*?",
        r"(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\z)",
        r"|(?:[A-Za-z0-9+/=]+\s+)*-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----"
    ),
    secret: Secret::Found,
    hints: &["private key"],
};

/// Secrets within a line.
const BUILT_IN: &[BuiltIn] = &[
    BuiltIn {
        pattern: concat!(
            r"(?i)(?:authorization|cookie)(?:[_-]?header|s)?",
            r#"(?:["'\\\])]*[ \t]*[:=]+>?[ \t]*|\\*["'],[ \t]*)"#
        ),
        secret: Secret::Header,
        hints: &["authorization", "cookie"],
    },
    BuiltIn {
        pattern: concat!(
            r"(?i)(?:(?:passw(?:or)?d|pwd|passphrase|passcode|secret|token|credential|bearer",
            r"|(?:access|account|api|auth|client|encryption|master|private|shared|signing)[ _-]?key",
            r#")[a-z0-9_-]*|[_-]pass)(?:["'\\\])]*[ \t]*(?:[:=>]|%3[ad])+[ \t]*|\\*["'],[ \t]*)"#,
            r"(?:(?:basic|bearer|digest|token)[ \t]+)?"
        ),
        secret: Secret::Value,
        hints: &["pass", "pwd", "secret", "token", "credential", "bearer", "key"],
    },
    BuiltIn {
        pattern: r"(?i)\bbearer[ \t]+([a-z0-9._~+/=-]{8,})",
        secret: Secret::Found,
        hints: &["bearer"],
    },
    // Options of programs.
    BuiltIn {
        pattern: concat!(
            r"(?i)--?(?:[a-z0-9]+[_-])*(?:password|passwd|passphrase|secret|token|key)",
            r"[ \t]+([^\s-])"
        ),
        secret: Secret::Value,
        hints: &["pass", "secret", "token", "key"],
    },
    // In URLs. A slash may be part of a password, and of a path with an @ in it.
    BuiltIn {
        pattern: r#"://([^\s"'/?#:]*:[^\s"']*|[^\s"'/?#]+)@"#,
        secret: Secret::Found,
        hints: &["@"],
    },
    BuiltIn {
        pattern: r"(?i)[?&;](?:key|sig|code|auth|[a-z0-9_.-]*signature)=",
        secret: Secret::Value,
        hints: &["key=", "sig=", "signature=", "code=", "auth="],
    },
    // By their form: AWS, Google, OpenAI and its likes, Slack, GitHub, JSON web tokens.
    BuiltIn {
        pattern: concat!(
            r"\b(?:(?:AKIA|ASIA)[0-9A-Z]{16}\b|AIza[A-Za-z0-9_-]{30,}|sk-[A-Za-z0-9_-]{16,}",
            r"|(?:xapp|xox[a-z])-[A-Za-z0-9-]{10,}|(?:gh[a-z]|github_pat)_[A-Za-z0-9_]{20,}",
            r"|eyJ[A-Za-z0-9_-]{10,}(?:\.[A-Za-z0-9_-]*)*)"
        ),
        secret: Secret::Found,
        hints: &["akia", "asia", "aiza", "sk-", "xapp-", "xox", "gh", "eyj"],
    },
];

/// A pattern of the configuration.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Reads one; why not continues the sentence "the pattern …".
    pub fn new(text: &str) -> Result<Self, String> {
        let regex = Regex::new(text).map_err(|error| format!("is not a pattern: {error}"))?;
        if ["", "a b"].iter().any(|text| regex.find_iter(text).any(|found| found.is_empty())) {
            return Err("matches where there is nothing: it must need a character".to_owned());
        }
        Ok(Self(regex))
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

/// All patterns.
#[derive(Debug)]
pub struct Mask {
    /// They look at the whole text.
    whole: Vec<Rule>,
    /// They look at each line.
    lines: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    regex: Regex,
    secret: Secret,
    /// Empty: whatever the text, it may be there.
    hints: &'static [&'static str],
}

impl Default for Mask {
    /// The built-in patterns.
    fn default() -> Self {
        Self::new(&[])
    }
}

impl Mask {
    /// The built-in patterns and these.
    pub fn new(own: &[Pattern]) -> Self {
        let own = own.iter().map(|Pattern(regex)| Rule {
            // A group of theirs means nothing to us.
            regex: regex.clone(),
            secret: Secret::Found,
            hints: &[],
        });
        Self {
            whole: own.chain([Rule::from(&PRIVATE_KEY)]).collect(),
            lines: BUILT_IN.iter().map(Rule::from).collect(),
        }
    }

    /// `text` without what the patterns describe.
    pub fn apply<'t>(&self, text: &'t str) -> Cow<'t, str> {
        masked(text, self.secrets(text))
    }

    /// `text` that may have been cut in the middle of a secret: its last word is masked as well.
    fn apply_to_cut(&self, text: &str) -> String {
        let mut secrets = self.secrets(text);
        let from = text.rfind(|c: char| c.is_whitespace() || "\"'".contains(c));
        let word = from.map_or(0, |at| text.ceil_char_boundary(at + 1))..text.len();
        secrets.extend(Some(word).filter(|word| !word.is_empty()));
        masked(text, secrets).into_owned()
    }

    fn secrets(&self, text: &str) -> Vec<Range<usize>> {
        let lower = text.to_ascii_lowercase();
        let mut secrets = Vec::new();
        for rule in &self.whole {
            rule.find(text, &lower, 0, &mut secrets);
        }
        let rules: Vec<_> = self.lines.iter().filter(|rule| rule.is_hinted(&lower)).collect();
        if rules.is_empty() {
            return secrets;
        }
        let mut begin = 0;
        for line in text.split_inclusive('\n') {
            let end = begin + line.len();
            let line = line.trim_end_matches(['\r', '\n']);
            for rule in &rules {
                rule.find(line, &lower[begin..end], begin, &mut secrets);
            }
            begin = end;
        }
        secrets
    }

    /// Takes the secrets out of what others have written into a record, outputs excepted.
    pub(super) fn apply_to(&self, record: &mut Incident) {
        let details = record.timeline.iter_mut().map(|step| &mut step.detail);
        let hooks = record.hooks.iter_mut().map(|run| &mut run.detail);
        for text in details.chain(hooks).chain([&mut record.summary]) {
            *text = self.line(text);
        }
        for ProbeAnswer { detail, body, .. } in &mut record.probes {
            *detail = self.line(detail);
            let is_cut = body.len() >= BODY_IS_CUT;
            let text = printable(body);
            *body = if is_cut { self.apply_to_cut(&text) } else { self.apply(&text).into_owned() };
        }
        if let Some(Capture { output, .. }) = &mut record.capture {
            let is_cut = output.len() >= TAIL_BYTES;
            let text = printable(output);
            *output = self.apply(if is_cut { from_next_line(&text) } else { &text }).into_owned();
        }
    }

    /// A line of ours that quotes others; an ellipsis tells that it was cut, but for a query's.
    fn line(&self, text: &str) -> String {
        let is_cut = text.ends_with('…') && !text.ends_with("?…");
        if is_cut { self.apply_to_cut(text) } else { self.apply(text).into_owned() }
    }
}

impl From<&BuiltIn> for Rule {
    fn from(known: &BuiltIn) -> Self {
        let regex = Regex::new(known.pattern).expect("a test reads them all");
        Self { regex, secret: known.secret, hints: known.hints }
    }
}

impl Rule {
    /// Adds where in `text`, which begins at `offset` of the whole, there is a secret.
    fn find(&self, text: &str, lower: &str, offset: usize, secrets: &mut Vec<Range<usize>>) {
        if !self.is_hinted(lower) {
            return;
        }
        let mut at = 0;
        while let Some(found) = self.regex.captures_at(text, at) {
            let Some(whole) = found.get(0) else { return };
            let secret = self.secret(text, whole, &found);
            at = whole.end().max(secret.end);
            if whole.is_empty() {
                // A character further; at the end there is none.
                at = text.ceil_char_boundary(at + 1);
            }
            if !secret.is_empty() {
                secrets.push(offset + secret.start..offset + secret.end);
            }
            if at >= text.len() {
                return;
            }
        }
    }

    fn secret(&self, text: &str, whole: Match<'_>, found: &Captures<'_>) -> Range<usize> {
        // Those of the configuration have no hints.
        let group = found.get(1).filter(|_| !self.hints.is_empty());
        match self.secret {
            Secret::Found => group.unwrap_or(whole).range(),
            Secret::Value => {
                let begin = group.map_or(whole.end(), |group| group.start());
                begin..begin + value::end(whole.as_str(), &text[begin..])
            }
            Secret::Header => value::of_header(text, &whole.range()),
        }
    }

    fn is_hinted(&self, lower: &str) -> bool {
        self.hints.is_empty() || self.hints.iter().any(|hint| lower.contains(hint))
    }
}

/// `text` with something else in the place of the secrets.
fn masked(text: &str, mut secrets: Vec<Range<usize>>) -> Cow<'_, str> {
    if secrets.is_empty() {
        return Cow::Borrowed(text);
    }
    secrets.sort_by_key(|secret| secret.start);
    let (mut shown, mut at) = (String::with_capacity(text.len()), 0);
    for secret in secrets {
        // What overlaps or touches the one before is one with it.
        if secret.start > at || shown.is_empty() {
            shown += &text[at..secret.start];
            shown += MASKED;
        }
        at = at.max(secret.end);
    }
    shown += &text[at..];
    Cow::Owned(shown)
}

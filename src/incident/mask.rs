//! Takes secrets out of what a record holds, before anybody else sees it.
//!
//! A list of patterns, built in and configured; what they do not describe stays. It is for text
//! that programs print by mistake, and no reason to let them print secrets.

use std::borrow::Cow;

use regex_lite::Regex;

use super::Incident;

/// Stands where a secret was.
const MASKED: &str = "[masked]";

/// The one secret that has several lines.
const PRIVATE_KEY: &str =
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*(?:-----END [A-Z ]*PRIVATE KEY-----)?";

/// Secrets within a line.
struct BuiltIn {
    pattern: &'static str,
    /// What stands for it.
    instead: &'static str,
    /// Without one of these, in lower case, it is not there: most lines are passed by quickly.
    hints: &'static [&'static str],
}

const BUILT_IN: &[BuiltIn] = &[
    BuiltIn {
        pattern: concat!(
            r"(?i)(\b(?:(?:proxy-)?authorization|(?:set-)?cookie)",
            r#"(?:\\*["'])?[ \t]*[:=][ \t]*(?:\\*["'])?)[^"'\r\n]+"#
        ),
        instead: "$1[masked]",
        hints: &["authorization", "cookie"],
    },
    BuiltIn {
        pattern: r"(?i)(\bbearer[ \t]+)[a-z0-9._~+/=-]{8,}",
        instead: "$1[masked]",
        hints: &["bearer"],
    },
    BuiltIn {
        pattern: concat!(
            r#"(?i)((?:passw(?:or)?d|passphrase|secret|token|credentials?|api[_-]?key"#,
            r#"|(?:access|private|secret|signing)[_-]?key)(?:\\*["'])?[ \t]*[:=][ \t]*)"#,
            r#"(?:\\*"[^"\r\n]*"?|\\*'[^'\r\n]*'?|[^\s"',;&]+)"#
        ),
        instead: "$1[masked]",
        hints: &["passw", "passphrase", "secret", "token", "credential", "key"],
    },
    BuiltIn {
        pattern: r"(?i)(--?(?:[a-z]+-)*(?:password|secret|token|key)[ \t]+)[^\s-]\S*",
        instead: "$1[masked]",
        hints: &["-password ", "-secret ", "-token ", "-key "],
    },
    // In URLs.
    BuiltIn {
        pattern: r#"(\b[A-Za-z][A-Za-z0-9+.-]*://)[^\s/?#"'<>@]*@"#,
        instead: "$1[masked]@",
        hints: &["@"],
    },
    BuiltIn {
        pattern: r#"([?&](?:key|sig|signature|code|auth)=)[^\s"'&]+"#,
        instead: "$1[masked]",
        hints: &["key=", "sig=", "signature=", "code=", "auth="],
    },
    // By their form: AWS, OpenAI and its likes, GitHub, Slack, JSON web tokens.
    BuiltIn {
        pattern: r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
        instead: MASKED,
        hints: &["akia", "asia"],
    },
    BuiltIn { pattern: r"\bsk-[A-Za-z0-9_-]{16,}", instead: MASKED, hints: &["sk-"] },
    BuiltIn { pattern: r"\bgh[opsur]_[A-Za-z0-9]{20,}", instead: MASKED, hints: &["gh"] },
    BuiltIn { pattern: r"\bxox[abeprs]-[A-Za-z0-9-]{10,}", instead: MASKED, hints: &["xox"] },
    BuiltIn {
        pattern: r"\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]*",
        instead: MASKED,
        hints: &["eyj"],
    },
];

/// A pattern of the configuration.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Reads one; why not continues the sentence "the pattern …".
    pub fn new(text: &str) -> Result<Self, String> {
        let regex = Regex::new(text).map_err(|error| format!("is not a pattern: {error}"))?;
        if regex.is_match("") {
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
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    regex: Regex,
    instead: String,
    /// Empty: whatever the text, it may be there.
    hints: &'static [&'static str],
    within_lines: bool,
}

impl Default for Mask {
    /// The built-in patterns.
    fn default() -> Self {
        Self::new(&[])
    }
}

impl Mask {
    /// The built-in patterns and these.
    #[expect(clippy::missing_panics_doc, reason = "a test reads all of ours")]
    pub fn new(own: &[Pattern]) -> Self {
        let read = |pattern| Regex::new(pattern).expect("a test reads them all");
        let own = own.iter().map(|pattern| Rule {
            regex: pattern.0.clone(),
            instead: MASKED.to_owned(),
            hints: &[],
            within_lines: false,
        });
        let private_key = Rule {
            regex: read(PRIVATE_KEY),
            instead: MASKED.to_owned(),
            hints: &["private key-----"],
            within_lines: false,
        };
        let built_in = BUILT_IN.iter().map(|known| Rule {
            regex: read(known.pattern),
            instead: known.instead.to_owned(),
            hints: known.hints,
            within_lines: true,
        });
        Self { rules: own.chain([private_key]).chain(built_in).collect() }
    }

    /// `text` without what the patterns describe.
    pub fn apply<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut masked = Cow::Borrowed(text);
        for rule in &self.rules {
            if let Some(changed) = rule.apply(&masked) {
                masked = Cow::Owned(changed);
            }
        }
        masked
    }

    /// Takes the secrets out of what others have written into a record, outputs excepted.
    pub(super) fn apply_to(&self, record: &mut Incident) {
        let details = record.timeline.iter_mut().map(|step| &mut step.detail);
        let hooks = record.hooks.iter_mut().map(|run| &mut run.detail);
        let probes =
            record.probes.iter_mut().flat_map(|probe| [&mut probe.detail, &mut probe.body]);
        let capture = record.capture.iter_mut().map(|capture| &mut capture.output);
        for text in details.chain(hooks).chain(probes).chain(capture) {
            if let Cow::Owned(masked) = self.apply(text) {
                *text = masked;
            }
        }
    }
}

impl Rule {
    /// `text` masked, if there may be something to mask.
    fn apply(&self, text: &str) -> Option<String> {
        let lower = text.to_ascii_lowercase();
        if !self.is_hinted(&lower) {
            return None;
        }
        if !self.within_lines {
            return Some(self.regex.replace_all(text, &*self.instead).into_owned());
        }
        let lines = text.split_inclusive('\n').zip(lower.split_inclusive('\n'));
        let mask = |(line, lower)| {
            let masked = || self.regex.replace_all(line, &*self.instead);
            if self.is_hinted(lower) { masked() } else { Cow::Borrowed(line) }
        };
        Some(lines.map(mask).collect())
    }

    fn is_hinted(&self, lower: &str) -> bool {
        self.hints.is_empty() || self.hints.iter().any(|hint| lower.contains(hint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_masked_and_the_rest_stays() {
        let mask = Mask::default();
        for (text, masked) in [
            ("Authorization: Bearer abc.def", "Authorization: [masked]"),
            ("proxy-authorization=Basic dTpw\nnext", "proxy-authorization=[masked]\nnext"),
            (
                r#"{"authorization": "Bearer x", "a": 1}"#,
                r#"{"authorization": "[masked]", "a": 1}"#,
            ),
            ("got bearer abcdefgh12", "got bearer [masked]"),
            ("a bearer token is needed", "a bearer token is needed"),
            ("PASSWORD=hunter2 next", "PASSWORD=[masked] next"),
            ("password: 'hunter 2' next", "password: [masked] next"),
            (r#"{"api_key": "hunter2", "b": 2}"#, r#"{"api_key": [masked], "b": 2}"#),
            (r#"token="unfinished"#, "token=[masked]"),
            ("AWS_SECRET_ACCESS_KEY=abc/def", "AWS_SECRET_ACCESS_KEY=[masked]"),
            ("client-secret=a&b=c", "client-secret=[masked]&b=c"),
            ("http://x/?access_token=abc&b=c", "http://x/?access_token=[masked]&b=c"),
            ("http://x/?sig=abc&b=c", "http://x/?sig=[masked]&b=c"),
            (r#"{\"token\": \"abc\", \"a\": 1}"#, r#"{\"token\": [masked], \"a\": 1}"#),
            (r"Cookie: a=b; c=d", "Cookie: [masked]"),
            ("run --api-key abc --key -v", "run --api-key [masked] --key -v"),
            ("max_tokens: 512, tokens=3", "max_tokens: 512, tokens=3"),
            ("secrets are read from /run/secrets", "secrets are read from /run/secrets"),
            ("http://u:p@x/ and redis://:p@y:1", "http://[masked]@x/ and redis://[masked]@y:1"),
            ("mail to u@x, see http://x/@a", "mail to u@x, see http://x/@a"),
            ("id AKIAIOSFODNN7EXAMPLE.", "id [masked]."),
            ("sk-proj-abcdefghijklmnop", "[masked]"),
            ("task-sk-1", "task-sk-1"),
            ("ghp_abcdefghijklmnopqrstuvwxyz", "[masked]"),
            ("xoxb-1234567890-abc", "[masked]"),
            ("eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.c2ln x", "[masked] x"),
            (
                "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\n",
                "[masked]\n",
            ),
            ("-----BEGIN PRIVATE KEY-----\nMIIE cut", "[masked]"),
            ("nothing at all", "nothing at all"),
        ] {
            assert_eq!(mask.apply(text), masked, "{text}");
        }
    }

    #[test]
    fn a_line_is_masked_wherever_it_stands() {
        let text = "one\ntoken=a\n\nTOKEN=b";
        assert_eq!(Mask::default().apply(text), "one\ntoken=[masked]\n\nTOKEN=[masked]");
    }

    #[test]
    fn a_pattern_of_the_configuration_is_masked_as_a_whole() {
        let mask = Mask::new(&[Pattern::new(r"card \d{4}").unwrap()]);
        assert_eq!(mask.apply("card 4711, token=x"), "[masked], token=[masked]");
    }

    #[test]
    fn a_pattern_that_is_none_or_would_mask_everything_is_refused() {
        for (pattern, why) in
            [("(", "is not a pattern: "), ("x*", "matches where there is nothing")]
        {
            let error = Pattern::new(pattern).unwrap_err();
            assert!(error.starts_with(why), "{error}");
        }
    }

    #[test]
    fn every_text_of_others_in_a_record_is_masked() {
        use super::super::{Capture, HookRun, ProbeAnswer, Step};
        let text = || "token=hunter2".to_owned();
        let mut record = Incident {
            timeline: vec![Step { detail: text(), ..Step::default() }],
            probes: vec![ProbeAnswer { detail: text(), body: text(), ..ProbeAnswer::default() }],
            hooks: vec![HookRun { detail: text(), ..HookRun::default() }],
            capture: Some(Capture { output: text(), ..Capture::default() }),
            ..Incident::default()
        };
        Mask::default().apply_to(&mut record);
        let line = serde_json::to_string(&record).unwrap();
        assert_eq!(line.matches(MASKED).count(), 5, "{line}");
        assert!(!line.contains("hunter2"), "{line}");
    }
}

//! Takes secrets out of what a record holds, before anybody else sees it.
//!
//! A list of patterns, built in and configured; what they do not describe stays. It is for text
//! that programs print by mistake, and no reason to let them print secrets. All patterns look at
//! the text as it was, so that one cannot hide a secret from another. In doubt more is masked.

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
            r"(?i)(?:passw(?:or)?d|pwd|passphrase|passcode|secret|token|credential|bearer",
            r"|(?:api|access|private|secret|signing)[ _-]?key)[a-z0-9_-]*",
            r#"(?:["'\\\])]*[ \t]*[:=>]+[ \t]*|\\*["'],[ \t]*)"#
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
            r"(?i)--?(?:[a-z0-9]+-)*(?:password|passwd|passphrase|secret|token|key)",
            r"[ \t]+([^\s-])"
        ),
        secret: Secret::Value,
        hints: &["-pass", "-secret", "-token", "-key"],
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
    // By their form: AWS, OpenAI and its likes, Slack, GitHub, JSON web tokens.
    BuiltIn {
        pattern: concat!(
            r"\b(?:(?:AKIA|ASIA)[0-9A-Z]{16}\b|sk-[A-Za-z0-9_-]{16,}",
            r"|(?:xapp|xox[a-z])-[A-Za-z0-9-]{10,}|(?:gh[a-z]|github_pat)_[A-Za-z0-9_]{20,}",
            r"|eyJ[A-Za-z0-9_-]{10,}(?:\.[A-Za-z0-9_-]*)*)"
        ),
        secret: Secret::Found,
        hints: &["akia", "asia", "sk-", "xapp-", "xox", "gh", "eyj"],
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
        for text in details.chain(hooks) {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_masked_and_the_rest_stays() {
        let mask = Mask::default();
        for (text, masked) in [
            ("Authorization: Bearer abc.def", "Authorization: [masked]"),
            ("proxy-authorization=Basic dTpw\nnext", "proxy-authorization=[masked]\nnext"),
            (r#"{"authorization": "Bearer x", "a": 1}"#, r#"{"authorization": [masked], "a": 1}"#),
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

    /// What stands for the secret in the table below.
    const SECRET: &str = "S3CRET";

    #[test]
    fn nothing_of_a_secret_is_left_in_whatever_notation_it_stands() {
        let mask = Mask::default();
        for (text, masked) in [
            // Headers.
            (r#"Authorization: Digest username="x", response="S3CRET""#, "Authorization: [masked]"),
            (
                r#"{"headers":{"Authorization":["Basic S3CRET"]},"b":1}"#,
                r#"{"headers":{"Authorization":[masked]},"b":1}"#,
            ),
            (r#"["Authorization","Basic S3CRET"], 1"#, r#"["Authorization",[masked]], 1"#),
            ("map[Authorization:[Basic S3CRET] B:[c]]", "map[Authorization:[masked] B:[c]]"),
            (r#"-H "Authorization: Basic S3CRET" url"#, r#"-H "Authorization: [masked]" url"#),
            (r#"{\"a\":\"Cookie: b=S3CRET\",\"b\":1}"#, r#"{\"a\":\"Cookie: [masked]\",\"b\":1}"#),
            (r#"Cookie: sid="S3CRET"; b="S3CRET""#, "Cookie: [masked]"),
            ("Set-Cookie: sid=\"S3CRET\"\r\nb", "Set-Cookie: [masked]\r\nb"),
            // Members, in many languages.
            (r#"Config { password: Some("S3CRET"), b: 1 }"#, "Config { password: [masked], b: 1 }"),
            (r#"{:password=>"S3CRET", :b=>1}"#, "{:password=>[masked], :b=>1}"),
            ("{'password': b'S3 S3CRET', 'b': 1}", "{'password': [masked], 'b': 1}"),
            (r#"token := "S3CRET" next"#, "token := [masked] next"),
            (r#"{"token":["a","S3CRET"],"b":1}"#, r#"{"token":[masked],"b":1}"#),
            (r#"{"secret":{"a":{"b":"}S3CRET"}},"b":1}"#, r#"{"secret":[masked],"b":1}"#),
            (r#"{"password":"ab\"S3CRET","b":1}"#, r#"{"password":[masked],"b":1}"#),
            (r#"{"password":"ab\\","b":1}"#, r#"{"password":[masked],"b":1}"#),
            (r#"{\"password\":\"ab\\\"S3CRET\",\"b\":1}"#, r#"{\"password\":[masked],\"b\":1}"#),
            (r#"{"token":null,"error":"disk full"}"#, r#"{"token":[masked],"error":"disk full"}"#),
            (
                r#"{"msg":"token=S3CRET","level":"info"}"#,
                r#"{"msg":"token=[masked]","level":"info"}"#,
            ),
            ("<password>S3CRET</password>", "<password>[masked]"),
            ("user[password]=S3CRET next", "user[password]=[masked] next"),
            // Without quotes.
            ("PASSWORD=hunter,S3CRET next", "PASSWORD=[masked] next"),
            ("PASSWORD=hunter;S3CRET next", "PASSWORD=[masked] next"),
            ("PASSWORD=hunter\"S3CRET next", "PASSWORD=[masked] next"),
            ("PASSWORD=hunter&S3CRET next", "PASSWORD=[masked] next"),
            ("--api-key\tS3CRET next", "--api-key\t[masked] next"),
            ("--password 'a S3CRET' next", "--password [masked] next"),
            ("bearer:S3CRET next", "bearer:[masked] next"),
            ("passwords=S3CRET next", "passwords=[masked] next"),
            ("api_keys=S3CRET next", "api_keys=[masked] next"),
            ("secret_id=S3CRET next", "secret_id=[masked] next"),
            ("pwd=S3CRET next", "pwd=[masked] next"),
            ("passwd=S3CRET next", "passwd=[masked] next"),
            ("tokens=123S3CRET next", "tokens=[masked] next"),
            // URLs.
            ("postgres://u:p@S3CRET@host/db", "postgres://[masked]@host/db"),
            ("postgres://u:p/S3CRET@host/db", "postgres://[masked]@host/db"),
            ("postgres://S3CRET@host/db", "postgres://[masked]@host/db"),
            ("http://x/?X-Amz-Signature=S3CRET&b=c", "http://x/?X-Amz-Signature=[masked]&b=c"),
            ("http://x/?Key=S3CRET&b=c", "http://x/?Key=[masked]&b=c"),
            // By their form.
            ("github_pat_11S3CRET_abcdefghijklmnop next", "[masked] next"),
            ("xapp-1-S3CRET-123-abc next", "[masked] next"),
            ("eyJhbGciOiJIUzI1.S3CRET", "[masked]"),
            (
                "a\n-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\
                 DEK-Info: AES-128-CBC,00\n\nS3CRET\n-----END RSA PRIVATE KEY-----\nb",
                "a\n[masked]\nb",
            ),
            ("-----BEGIN PRIVATE KEY-----\nA-b: c\n\nS3CRET", "[masked]"),
            ("ab, S3CRET\nS3CRET==\n-----END PRIVATE KEY-----\nb", "ab, [masked]\nb"),
            (
                "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nS3CRET\n\
                 -----END PGP PRIVATE KEY BLOCK-----\nb",
                "[masked]\nb",
            ),
        ] {
            assert_eq!(mask.apply(text), masked, "{text}");
            assert!(!masked.contains(SECRET), "{masked}");
        }
    }

    #[test]
    fn a_pattern_of_the_configuration_only_adds() {
        for own in ["token", "password|secret", ":", r"\w+:", "(tok)en", "e", "[^x]"] {
            let mask = Mask::new(&[Pattern::new(own).unwrap()]);
            for text in ["token: S3CRET", "password: \"a S3CRET\"", "--secret S3CRET"] {
                let masked = mask.apply(text);
                assert!(!masked.contains(SECRET), "{own}: {masked}");
            }
        }
        let empty = Mask::new(&[Pattern(Regex::new(r"\b|ä*").unwrap())]);
        assert_eq!(empty.apply("a ää token=b"), "a [masked] token=[masked]");
    }

    #[test]
    fn the_end_of_what_was_cut_is_masked() {
        let mask = Mask::default();
        for (text, masked) in [
            ("cannot read postgres://u:S3CR", "cannot read [masked]"),
            ("{\"error\":\"sk-S3CR", "{\"error\":\"[masked]"),
            ("a card 1234", "a card [masked]"),
            ("token=a S3CR", "token=[masked] [masked]"),
            ("whole ", "whole "),
            ("ä", "[masked]"),
        ] {
            assert_eq!(mask.apply_to_cut(text), masked);
        }
    }

    #[test]
    fn a_lot_of_text_takes_no_longer_than_its_length() {
        // At most 33 ms each as it is released; what looks at each byte for each byte takes minutes.
        let mask = Mask::default();
        for part in [
            "token=",
            "token= ",
            "token=[\"",
            "\"token\":\"",
            "\\\"",
            "://a:",
            "a://b@",
            "cookie:\n",
            "\"cookie: ",
            "-----BEGIN PRIVATE KEY-----",
            "-----END PRIVATE KEY-----",
            "a\n",
            "eyJ",
            "2026-11-26T20:18:51Z INFO gateway: a request has been answered, status=200 bytes=512\n",
            "2026-11-26T20:18:51Z INFO token=\"abc\" http://u:p@x/?key=a GET --key b ghp_ key=c\n",
        ] {
            let text = part.repeat(TAIL_BYTES / part.len());
            let began = std::time::Instant::now();
            std::hint::black_box(mask.apply(&text));
            let took = began.elapsed();
            assert!(took < Duration::from_secs(10), "{took:?}: {part:?}");
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
        for (pattern, why) in [
            ("(", "is not a pattern: "),
            ("x*", "matches where there is nothing"),
            (r"\b", "matches where there is nothing"),
        ] {
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

    #[test]
    fn what_was_cut_is_masked_where_it_was_cut() {
        let cut = |detail: &str, body: String| {
            let probe = ProbeAnswer { detail: detail.to_owned(), body, ..ProbeAnswer::default() };
            let output = format!("CRET\n{}", "x".repeat(TAIL_BYTES - 5));
            let capture = Some(Capture { output, ..Capture::default() });
            let mut record = Incident { probes: vec![probe], capture, ..Incident::default() };
            Mask::default().apply_to(&mut record);
            let ProbeAnswer { detail, body, .. } = record.probes.remove(0);
            assert!(record.capture.unwrap().output.starts_with("xxx"));
            (detail, body)
        };
        let body = |length: usize| format!("{} sk-S3CR", "b".repeat(length - 8));
        let masked = |length: usize| format!("{} [masked]", "b".repeat(length - 8));
        assert_eq!(cut("GET /?…", body(508)), ("GET /?…".to_owned(), body(508)));
        assert_eq!(cut("a: sk-S3…", body(512)), ("a: [masked]".to_owned(), masked(512)));
    }
}

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
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\n", "[masked]\n"),
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
        (r#"{"msg":"token=S3CRET","level":"info"}"#, r#"{"msg":"token=[masked]","level":"info"}"#),
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
        (r"token='ab'\''S3CRET' next", "token=[masked]' next"),
        (r#"token="a""S3CRET" next"#, r#"token=[masked]" next"#),
        ("token: Basic S3CRET= next", "token: Basic [masked] next"),
        ("token%3DS3CRET next", "token%3D[masked] next"),
        ("--api_key S3CRET next", "--api_key [masked] next"),
        ("DB_PASS=S3CRET next", "DB_PASS=[masked] next"),
        ("AccountKey=S3CRET==;b", "AccountKey=[masked]"),
        ("by-pass valve, pass: 3", "by-pass valve, pass: 3"),
        (r#"{"prompt_tokens":12,"b":1}"#, r#"{"prompt_tokens":12,"b":1}"#),
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
    // At most 50 ms each as it is released; what looks at each byte for each byte takes minutes.
    let (mask, clock) = (Mask::default(), crate::clock::Clock::start());
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
        let began = clock.now();
        std::hint::black_box(mask.apply(&text));
        let took = clock.now().since(began);
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
    use super::super::{HookRun, Step};
    let text = || "token=hunter2".to_owned();
    let mut record = Incident {
        timeline: vec![Step { detail: text(), ..Step::default() }],
        probes: vec![ProbeAnswer { detail: text(), body: text(), ..ProbeAnswer::default() }],
        hooks: vec![HookRun { detail: text(), ..HookRun::default() }],
        capture: Some(Capture { output: text(), ..Capture::default() }),
        summary: text(),
        ..Incident::default()
    };
    Mask::default().apply_to(&mut record);
    let line = serde_json::to_string(&record).unwrap();
    assert_eq!(line.matches(MASKED).count(), 6, "{line}");
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

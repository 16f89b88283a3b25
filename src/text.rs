//! Text from outside (a path, an answer, an error), made fit to be shown.
//!
//! It must neither end the line nor drive the terminal. Secrets are looked for in URLs only.

/// `text` on one line: each control character becomes a space.
pub(crate) fn one_line(text: &str) -> String {
    let shown = text.chars().filter(|c| !turns(*c));
    shown.map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Whether it changes the direction of what follows, which then reads as something else.
const fn turns(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `text` with its lines, but without colours and other orders to a terminal.
pub(crate) fn printable(text: &str) -> String {
    const ESCAPE: char = '\u{1b}';
    let mut shown = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == ESCAPE && chars.next_if_eq(&'[').is_some() {
            // Parameters up to the letter that says what they are for.
            while chars.next_if(|c| matches!(c, ' '..='?')).is_some() {}
            chars.next_if(|c| matches!(c, '@'..='~'));
        } else if turns(c) || (c == '\r' && chars.peek() == Some(&'\n')) {
        } else if c.is_control() && !matches!(c, '\n' | '\t') {
            shown.push(' ');
        } else {
            shown.push(c);
        }
    }
    shown
}

/// `text` on one line of at most `most` bytes, with an ellipsis where it was cut.
pub(crate) fn short_line(text: &str, most: usize) -> String {
    const ELLIPSIS: char = '…';
    let mut line = one_line(text);
    if line.len() > most {
        line.truncate(line.floor_char_boundary(most.saturating_sub(ELLIPSIS.len_utf8())));
        line.push(ELLIPSIS);
    }
    line
}

/// `text` without what is secret if it is, or was meant to be, a URL: user and password, and the
/// query.
pub(crate) fn without_secrets(text: &str) -> String {
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    // Another URL in the query is no reason to show what stands before it.
    let scheme = text.find("://").filter(|at| text[..*at].chars().all(is_scheme));
    let (scheme, rest) = scheme.map_or(("", text), |at| text.split_at(at + 3));
    // The password may hold a question mark: first the user.
    let (user, rest) = rest.rsplit_once('@').map_or(("", rest), |(_, rest)| ("…@", rest));
    let (rest, query) = rest.split_once('?').map_or((rest, ""), |(rest, _)| (rest, "?…"));
    format!("{scheme}{user}{rest}{query}")
}

/// `text` fit for XML and HTML, attributes included.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // XML 1.0 has no form at all for most control characters.
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// RFC 3339 as people write it, to the second.
pub(crate) fn date(time: &str) -> String {
    match (time.get(..10), time.get(11..19)) {
        (Some(day), Some(hour)) => format!("{day} {hour} UTC"),
        _ => time.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_for_people_is_short_and_only_one() {
        assert_eq!(one_line("a\nb\u{1b}[31m"), "a b [31m");
        assert_eq!(one_line("a\u{202d}b"), "ab");
        assert_eq!(short_line("a\nb\u{1b}[31m", 20), "a b [31m");
        assert_eq!(short_line("äääää", 10), "äääää");
        assert_eq!(short_line("ääääää", 10), "äää…");
    }

    #[test]
    fn markup_in_text_is_shown_and_not_obeyed() {
        assert_eq!(escaped("<a b=\"c\">&\u{0}"), "&lt;a b=&quot;c&quot;&gt;&amp; ");
    }

    #[test]
    fn output_keeps_its_lines_and_loses_what_drives_a_terminal() {
        for (output, shown) in [
            ("a\tb\r\n\u{1b}[1;31mred\u{1b}[0m\n", "a\tb\nred\n"),
            ("\u{1b}]0;title\u{7}\u{1b}", " ]0;title  "),
            ("50 %\r100 %\u{1b}[2", "50 % 100 %"),
            ("\u{9b}31m\u{0}ä", " 31m ä"),
            ("a\u{202e}b\u{2069}\u{200f}c\u{2060}", "abc\u{2060}"),
        ] {
            assert_eq!(printable(output), shown);
        }
    }

    #[test]
    fn a_url_is_shown_without_user_and_query() {
        for (url, shown) in [
            ("http://u:s3cret@[::1]:99999/a?token=s3cret", "http://…@[::1]:99999/a?…"),
            ("http://u:s3@cret@x", "http://…@x"),
            ("http://127.0.0.1:1/health", "http://127.0.0.1:1/health"),
            ("http://u:s3?cret@x/", "http://…@x/"),
            ("u:s3cret@127.0.0.1:1/?token=s3cret", "…@127.0.0.1:1/?…"),
            ("u:s3cret@x/?next=http://y/", "…@x/?…"),
            ("x/?token=s3cret&next=http://y/", "x/?…"),
            ("//u:s3cret@x", "…@x"),
            ("127.0.0.1:1/health?token=s3cret", "127.0.0.1:1/health?…"),
            ("no URL", "no URL"),
        ] {
            assert_eq!(without_secrets(url), shown);
        }
    }

    proptest! {
        #[test]
        fn no_part_of_a_secret_is_left_and_where_it_leads_to_is(
            scheme in "https?://|[a-z]{0,3}//|", user in "[^@#]{0,8}", at in "[@:?/]?",
            place in "[a-z0-9.:\\[\\]]{1,12}(/[a-z%]{1,4}){0,3}", query in ".{0,8}|next=http://y/"
        ) {
            // Capitals stand in secrets only.
            let secrets = ["KE-", "EP-", "IT"].map(|part| format!("{part}{}", part.repeat(2)));
            let [name, password, token] = &secrets;
            prop_assume!(!user.contains(char::is_uppercase) && !query.contains('@'));
            let query = query.to_lowercase();
            let url = format!("{scheme}{user}{name}{at}{password}@{place}?{query}{token}");
            let shown = without_secrets(&url);
            prop_assert!(!shown.contains(char::is_uppercase), "{url}: {shown}");
            let expected = format!("@{place}?");
            prop_assert!(shown.contains(&expected), "{}: {}", url, shown);
        }
    }
}

use super::*;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::report::tests::service;
use crate::status::Shared;

fn view() -> View {
    View::of(&Shared::new(Clock::start(), "gateway"), &Metrics::new(&service()))
}

/// SHA-256 in Base64, as a content security policy wants it.
fn hash(text: &str) -> String {
    let suite = rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let hash =
        suite.tls13().expect("a suite of TLS 1.3").common.hash_provider.hash(text.as_bytes());
    base64(hash.as_ref())
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let at = |index| u32::from(chunk.get(index).copied().unwrap_or_default());
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..=chunk.len() {
            text.push(char::from(DIGITS[(bits >> (18 - 6 * place) & 63) as usize]));
        }
        text.extend(std::iter::repeat_n('=', 3 - chunk.len()));
    }
    text
}

#[test]
fn the_policy_allows_this_style_and_this_script_and_nothing_else() {
    assert_eq!(base64(b"ab"), "YWI=");
    assert_eq!(hash(""), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    for (kind, text) in [("style", STYLE), ("script", SCRIPT)] {
        let rule = format!("{kind}-src 'sha256-{}';", hash(text));
        assert!(POLICY.contains(&rule), "write {rule} into POLICY");
    }
    assert!(POLICY.starts_with("default-src 'none'; "));
}

#[test]
fn every_part_has_its_element() {
    let (view, document) = (view(), document(&view()));
    for part in parts(&view) {
        assert_eq!(document.matches(&format!(" id=\"{}\"", part.id)).count(), 1, "{}", part.id);
    }
}

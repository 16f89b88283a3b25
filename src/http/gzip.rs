//! Packs a page for whoever accepts it packed: a page of metrics is a seventh of its size then.
//!
//! Deflate is a library's; here are only the frame around it (RFC 1952) and the reading of
//! `Accept-Encoding` (RFC 9110). No other encoding is offered.

use hyper::HeaderMap;
use hyper::header::ACCEPT_ENCODING;
use miniz_oxide::deflate::compress_to_vec;

/// Magic number, method deflate, no flags, no time, no hints, an unknown system.
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// Higher ones gain little for a page and cost time.
const LEVEL: u8 = 6;

/// Whether the answer to a request with these headers may be packed, and had better be.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let codings: Vec<_> = codings.flat_map(|value| value.split(',')).filter_map(coding).collect();
    let weight = |name: &str| {
        let mut named = codings.iter().filter(|(coding, _)| coding.eq_ignore_ascii_case(name));
        named.next().map(|(_, weight)| *weight)
    };
    let gzip = weight("gzip").or_else(|| weight("x-gzip")).or_else(|| weight("*"));
    // Whoever does not speak of `identity` prefers what he speaks of.
    gzip.is_some_and(|gzip| gzip > 0.0 && gzip >= weight("identity").unwrap_or(0.0))
}

/// One coding and its weight; none where the weight is no number.
fn coding(text: &str) -> Option<(&str, f32)> {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next()?;
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    Some((name, weight.map_or(Some(1.0), |weight| weight.parse().ok())?))
}

/// The bytes as a gzip file.
pub(super) fn packed(bytes: &[u8]) -> Vec<u8> {
    // The format itself takes the length modulo 2^32.
    #[expect(clippy::cast_possible_truncation, reason = "as the format wants it")]
    let length = bytes.len() as u32;
    let tail = [crc32(bytes).to_le_bytes(), length.to_le_bytes()].concat();
    [&HEAD[..], &compress_to_vec(bytes, LEVEL), &tail].concat()
}

/// The checksum of the format. Four bits at a time: a table of bytes would be a kilobyte.
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 16] = crc_of_nibbles();
    let step = |crc: u32, bits: u32| TABLE[((crc ^ bits) & 15) as usize] ^ (crc >> 4);
    let add = |crc, byte: &u8| step(step(crc, (*byte).into()), u32::from(*byte) >> 4);
    !bytes.iter().fold(!0, add)
}

const fn crc_of_nibbles() -> [u32; 16] {
    const POLYNOMIAL: u32 = 0xedb8_8320;
    let mut table = [0; 16];
    let mut index = 0;
    while index < 16 {
        let (mut crc, mut bit) = (index, 0);
        while bit < 4 {
            crc = (crc >> 1) ^ (if crc & 1 == 1 { POLYNOMIAL } else { 0 });
            bit += 1;
        }
        table[index as usize] = crc;
        index += 1;
    }
    table
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::{Read as _, Write as _};
    use std::process::{Command, Stdio};

    use hyper::header::HeaderValue;

    use super::*;

    /// Unpacks with a gzip that is not ours; fails where it finds fault.
    #[expect(clippy::disallowed_methods, reason = "a tool of the test, not of the product")]
    pub(in crate::http) fn unpacked(bytes: &[u8]) -> Vec<u8> {
        let mut gzip = Command::new("gzip")
            .arg("-dc")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("gzip is part of every Linux");
        let mut stdin = gzip.stdin.take().expect("piped");
        let input = bytes.to_vec();
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let mut output = Vec::new();
        gzip.stdout.take().expect("piped").read_to_end(&mut output).expect("it writes");
        // It closes early where it finds fault; its exit tells.
        writer.join().expect("it does not panic").ok();
        assert!(gzip.wait().expect("it is our child").success(), "gzip finds fault with it");
        output
    }

    #[test]
    fn another_gzip_unpacks_what_was_packed() {
        let random: Vec<u8> =
            (0..25_000_u32).flat_map(|n| n.wrapping_mul(0x9e37_79b1).to_le_bytes()).collect();
        let text = "rekindle_service_up{service=\"gateway\"} 1\n".repeat(2000);
        for bytes in [&b""[..], b"a", b"abcabcabcabcabcabcabc", text.as_bytes(), &random] {
            assert_eq!(unpacked(&packed(bytes)), bytes, "{} bytes", bytes.len());
        }
        assert!(packed(text.as_bytes()).len() < text.len() / 20);
    }

    #[test]
    fn the_checksum_is_that_of_the_format() {
        assert_eq!(crc32(b""), 0);
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926, "the check value of CRC-32");
    }

    #[test]
    fn it_is_packed_only_for_whoever_says_that_he_accepts_it() {
        for (lines, expected) in [
            (&[][..], false),
            (&["gzip"][..], true),
            (&["GZip"], true),
            (&["x-gzip"], true),
            (&["identity"], false),
            (&[""], false),
            (&["deflate, br"], false),
            (&["deflate, gzip;q=1.0, *;q=0.5"], true),
            (&["deflate", "gzip"], true),
            (&["gzip;q=0"], false),
            (&["gzip; q=0.000"], false),
            (&["gzip;Q=0"], false),
            (&["gzip ; q=0.001"], true),
            (&["gzip;q=0, *"], false),
            (&["*"], true),
            (&["*;q=0"], false),
            (&["gzip;q=0.5, identity"], false),
            (&["gzip;q=0.5, identity;q=0.5"], true),
            (&["gzip;q=much"], false),
            (&["gzip;q=-1"], false),
            (&["gzip;q=NaN"], false),
            (&["gzipped"], false),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(ACCEPT_ENCODING, HeaderValue::from_static(line));
            }
            assert_eq!(is_wanted(&headers), expected, "{lines:?}");
        }
    }
}

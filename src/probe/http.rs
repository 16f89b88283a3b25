//! The `http` probe: one GET on a fresh connection, and what must come back.
//!
//! It knows no proxy, no redirect, no compression and no kept connection, and reads no more than
//! it needs: whatever the server sends, the answer comes within the timeout and memory stays flat.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, ClientBuilder, Response, Url, redirect};
use serde_json::Value;
use tokio::time::timeout;

use crate::config::HttpProbe;
use crate::supervisor::{FailKind, Verdict, Why};
use crate::text::{short_line, without_secrets};

use super::resolve::{Resolver, is_loopback};
use super::tls::{Trust, client_config};
use super::{Answer, ProbeError, classify, no_address_within, no_answer_within};

/// Of a body, no more is read.
const MAX_BODY: usize = 64 * 1024;
/// Of a body, so much is kept for the incident record.
pub(super) const MAX_HEAD: usize = 512;
/// How long the body of a bad status may delay the verdict; it is for the incident record only.
const BODY_OF_BAD_STATUS: Duration = Duration::from_millis(50);
/// A value that was found or expected is shown up to this many bytes.
const MAX_SHOWN: usize = 40;

/// One `http` probe.
#[derive(Debug)]
pub(super) struct HttpProber {
    client: Client,
    resolver: Resolver,
    url: Url,
    headers: HeaderMap,
    expect: HttpProbe,
}

/// What has come back so far; it outlives an exchange that is cut off by the timeout.
#[derive(Debug, Default)]
struct Heard {
    status: Option<u16>,
    /// That the status is none of the expected ones, whatever becomes of the body.
    bad_status: Option<(FailKind, String)>,
    body: Vec<u8>,
}

impl HttpProber {
    /// Prepares the client.
    pub(super) fn new(probe: &HttpProbe) -> Result<Self, ProbeError> {
        let url = parse(&probe.url)?;
        let resolver = Resolver::default();
        let client = client(&url, probe, &resolver)?;
        let headers = headers(&probe.headers)?;
        Ok(Self { client, resolver, url, headers, expect: probe.clone() })
    }

    /// Makes the request; name resolution, connection, headers and body share one `limit`.
    pub(super) async fn ask(&mut self, limit: Duration) -> Answer {
        let mut heard = Heard::default();
        let exchanged = timeout(limit, self.exchange(&mut heard)).await;
        let mut answer = match (exchanged, heard.bad_status.take()) {
            (_, Some((kind, detail))) => Answer::new(Verdict::Fail(kind), detail),
            (Ok(answer), None) => answer,
            (Err(_), None) if self.resolver.is_resolving() => no_address_within(limit),
            (Err(_), None) => no_answer_within(limit),
        };
        answer.status = heard.status;
        answer.body_head = head(&heard.body);
        if answer.verdict == Verdict::unknown(Why::CertificateNotTrusted)
            && let Ok(client) = client(&self.url, &self.expect, &self.resolver)
        {
            // The certificate files may have been renewed since they were read.
            self.client = client;
        }
        answer
    }

    async fn exchange(&self, heard: &mut Heard) -> Answer {
        match self.hear(heard).await {
            Ok(None) => {
                let status = heard.status.unwrap_or_default();
                Answer::new(Verdict::Pass, format!("status {status}"))
            }
            Ok(Some((kind, detail))) => Answer::new(Verdict::Fail(kind), detail),
            Err(error) => self.broken(&error),
        }
    }

    /// What is wrong with the answer, if anything is.
    async fn hear(&self, heard: &mut Heard) -> reqwest::Result<Option<(FailKind, String)>> {
        let request = self.client.get(self.url.clone()).headers(self.headers.clone());
        let mut response = request.send().await?;
        let status = response.status().as_u16();
        heard.status = Some(status);
        if !self.expect.expect_status.contains(status) {
            let detail = format!("status {status}, expected {}", self.expect.expect_status);
            heard.bad_status = Some((FailKind::BadStatus(status), detail));
            timeout(BODY_OF_BAD_STATUS, read(&mut response, &mut heard.body, 1)).await.ok();
            return Ok(None);
        }
        if let Some(name) = self.unexpected_header(response.headers()) {
            let detail = format!("header {name} is not as expected");
            return Ok(Some((FailKind::BadBody, detail)));
        }
        if self.expect.expect_body.is_none() && self.expect.expect_json.is_empty() {
            return Ok(None);
        }
        read(&mut response, &mut heard.body, MAX_BODY).await?;
        Ok(self.wrong_body(&heard.body).map(|detail| (FailKind::BadBody, detail)))
    }

    fn unexpected_header(&self, headers: &HeaderMap) -> Option<&str> {
        let wrong = |(name, value): &(&String, &String)| {
            !headers
                .get_all(name.as_str())
                .iter()
                .any(|header| header.as_bytes() == value.as_bytes())
        };
        self.expect.expect_header.iter().find(wrong).map(|(name, _)| name.as_str())
    }

    fn wrong_body(&self, body: &[u8]) -> Option<String> {
        if let Some(text) = &self.expect.expect_body
            && !contains(body, text.as_bytes())
        {
            return Some(format!("the body does not contain {}", shown(text)));
        }
        if self.expect.expect_json.is_empty() {
            return None;
        }
        let Ok(json) = serde_json::from_slice::<Value>(body) else {
            let why = if body.len() == MAX_BODY { " within its first 64 KiB" } else { "" };
            return Some(format!("the body is not JSON{why}"));
        };
        wrong_value(&json, &self.expect.expect_json)
    }

    fn broken(&self, error: &reqwest::Error) -> Answer {
        let (verdict, cause) = classify::exchange(error, self.expect.unix_socket.is_some());
        let what = if error.is_connect() { "cannot connect" } else { "the answer broke off" };
        Answer::new(verdict, format!("{what}: {cause}"))
    }
}

fn parse(url: &str) -> Result<Url, ProbeError> {
    let wrong = |reason: String| ProbeError::Url { url: without_secrets(url), reason };
    let parsed = Url::parse(url).map_err(|error| wrong(error.to_string()))?;
    match parsed.scheme() {
        "http" | "https" => Ok(parsed),
        other => Err(wrong(format!("its scheme is {other}, not http or https"))),
    }
}

/// The client for a URL that is no probe's, with the manners of one.
pub(super) fn bare_client(url: &str) -> Result<(Url, Client), ProbeError> {
    let url = parse(url)?;
    let trust = if url.scheme() == "http" { Trust::None } else { Trust::System };
    let client = mannerly(trust, &Resolver::default())?.build().map_err(ProbeError::Client)?;
    Ok((url, client))
}

fn client(url: &Url, probe: &HttpProbe, resolver: &Resolver) -> Result<Client, ProbeError> {
    let mut client = mannerly(trust(url, probe), resolver)?;
    if let Some(path) = &probe.unix_socket {
        client = client.unix_socket(path.clone());
    }
    client.build().map_err(ProbeError::Client)
}

/// No proxy, no redirect, no kept connection.
fn mannerly(trust: Trust<'_>, resolver: &Resolver) -> Result<ClientBuilder, ProbeError> {
    Ok(Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .pool_max_idle_per_host(0)
        .user_agent(concat!("rekindle/", env!("CARGO_PKG_VERSION")))
        .dns_resolver(resolver.clone())
        .tls_backend_preconfigured(client_config(trust)?))
}

/// The server's certificate matters where somebody could be in between.
fn trust<'a>(url: &Url, probe: &'a HttpProbe) -> Trust<'a> {
    match &probe.ca {
        _ if url.scheme() == "http" => Trust::None,
        Some(path) => Trust::File(path),
        None if probe.unix_socket.is_some() => Trust::Anyone,
        None if url.host_str().is_some_and(is_loopback) => Trust::Anyone,
        None => Trust::System,
    }
}

fn headers(configured: &BTreeMap<String, String>) -> Result<HeaderMap, ProbeError> {
    let pair = |(name, value): (&String, &String)| {
        let bad = || ProbeError::Header { name: name.clone() };
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
        let mut value = HeaderValue::from_str(value).map_err(|_| bad())?;
        value.set_sensitive(true);
        Ok((key, value))
    };
    configured.iter().map(pair).collect()
}

/// Reads until the end or until `enough` bytes are there.
async fn read(response: &mut Response, body: &mut Vec<u8>, enough: usize) -> reqwest::Result<()> {
    while body.len() < enough
        && let Some(chunk) = response.chunk().await?
    {
        let room = MAX_BODY - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
    }
    Ok(())
}

/// The beginning of `body` as text.
pub(super) fn head(body: &[u8]) -> Option<String> {
    let mut text = String::from_utf8_lossy(&body[..body.len().min(MAX_HEAD)]).into_owned();
    // What is not UTF-8 has grown.
    text.truncate(text.floor_char_boundary(MAX_HEAD));
    (!text.is_empty()).then_some(text)
}

pub(super) fn wrong_value(json: &Value, expected: &BTreeMap<String, Value>) -> Option<String> {
    expected.iter().find_map(|(pointer, wanted)| match json.pointer(pointer) {
        Some(found) if found == wanted => None,
        Some(found) => {
            let (found, wanted) = (shown(&found.to_string()), shown(&wanted.to_string()));
            Some(format!("{pointer} is {found}, expected {wanted}"))
        }
        None => Some(format!("{pointer} is missing, expected {}", shown(&wanted.to_string()))),
    })
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || haystack.windows(needle.len()).any(|window| window == needle)
}

fn shown(text: &str) -> String {
    short_line(text, MAX_SHOWN)
}

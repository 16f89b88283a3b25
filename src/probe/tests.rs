//! Probes against real sockets that behave badly.

mod alone;
mod secure;
mod server;
mod unix;

use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::clock::Clock;
use crate::config::{HttpProbe, Probe, ProbeTarget, StatusSet};
use crate::supervisor::{Errno, Exit, FailKind, Moment, Verdict, Why};

use self::server::{PLENTY, deaf_port, endlessly, read_head, reply, serve};
use super::resolve::{LOOK_UPS, MOST_LOOK_UPS};
use super::*;

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(20);

fn get(url: impl Into<String>) -> HttpProbe {
    HttpProbe {
        url: url.into(),
        unix_socket: None,
        headers: [].into(),
        expect_status: StatusSet { ranges: vec![(200, 299), (401, 401)] },
        expect_header: [].into(),
        expect_body: None,
        expect_json: [].into(),
        ca: None,
    }
}

fn prober(target: ProbeTarget, timeout: Duration) -> Prober {
    Prober::new(&Probe { target, timeout }).unwrap().unwrap()
}

async fn ask(probe: HttpProbe, limit: Duration) -> Answer {
    let mut prober = prober(ProbeTarget::Http(Box::new(probe)), limit);
    // Far above the limit: a probe that ignores its own must not hang the test.
    let answer = timeout(limit + LONG, prober.ask(Moment::ZERO)).await.expect("a bounded answer");
    assert!(
        answer.detail.len() <= MAX_DETAIL && !answer.detail.contains('\n'),
        "{}",
        answer.detail
    );
    assert!(answer.body_head.as_ref().is_none_or(|head| head.len() <= 512));
    answer
}

async fn ask_tcp(host: &str, port: u16) -> Answer {
    prober(ProbeTarget::Tcp { host: host.into(), port }, LONG).ask(Moment::ZERO).await
}

fn fails(kind: FailKind) -> Verdict {
    Verdict::Fail(kind)
}

#[tokio::test]
async fn a_status_in_the_set_passes_and_another_is_named() {
    for (status, verdict) in [
        (200, Verdict::Pass),
        (204, Verdict::Pass),
        (401, Verdict::Pass),
        (302, fails(FailKind::BadStatus(302))),
        (404, fails(FailKind::BadStatus(404))),
        (503, fails(FailKind::BadStatus(503))),
    ] {
        let url = reply(format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n")).await;
        let answer = ask(get(url), LONG).await;
        assert_eq!((answer.verdict, answer.status), (verdict, Some(status)), "{}", answer.detail);
    }
    let url = reply("HTTP/1.1 500 x\r\ncontent-length: 5\r\n\r\nstuck").await;
    let answer = ask(get(url), LONG).await;
    assert_eq!(answer.detail, "status 500, expected 200-299,401");
    assert_eq!(answer.body_head.as_deref(), Some("stuck"));
}

#[tokio::test]
async fn headers_and_bodies_are_compared_with_what_is_expected() {
    type Change = fn(&mut HttpProbe);
    let page = "HTTP/1.1 200 x\r\nx-kind: gateway\r\ncontent-length: 39\r\n\r\n\
                {\"ok\":true,\"deep\":{\"list\":[1,\"two\"]} } ";
    let table: [(Change, Option<&str>); 9] = [
        (|p| drop(p.expect_header.insert("x-kind".into(), "gateway".into())), None),
        (
            |p| drop(p.expect_header.insert("x-kind".into(), "secret".into())),
            Some("header x-kind is not as expected"),
        ),
        (|p| p.expect_body = Some("\"ok\":true".into()), None),
        (|p| p.expect_body = Some("okay".into()), Some("the body does not contain okay")),
        (|p| drop(p.expect_json.insert("/ok".into(), true.into())), None),
        (|p| drop(p.expect_json.insert("/deep/list/1".into(), "two".into())), None),
        (
            |p| drop(p.expect_json.insert("/ok".into(), false.into())),
            Some("/ok is true, expected false"),
        ),
        (
            |p| drop(p.expect_json.insert("/ready".into(), true.into())),
            Some("/ready is missing, expected true"),
        ),
        (
            |p| drop(p.expect_json.insert("/ok".into(), "true".into())),
            Some("/ok is true, expected \"true\""),
        ),
    ];
    for (change, wrong) in table {
        let mut probe = get(reply(page).await);
        change(&mut probe);
        let answer = ask(probe, LONG).await;
        match wrong {
            None => assert_eq!(answer.verdict, Verdict::Pass, "{}", answer.detail),
            Some(detail) => {
                assert_eq!(answer.verdict, fails(FailKind::BadBody));
                assert_eq!(answer.detail, detail);
            }
        }
    }
}

#[tokio::test]
async fn a_body_that_is_not_json_is_a_bad_body() {
    let mut probe = get(reply("HTTP/1.1 200 x\r\ncontent-length: 6\r\n\r\n<html>").await);
    probe.expect_json.insert("/ok".into(), true.into());
    let answer = ask(probe, LONG).await;
    assert_eq!(answer.verdict, fails(FailKind::BadBody));
    assert_eq!(answer.body_head.as_deref(), Some("<html>"));
}

#[tokio::test]
async fn the_head_of_a_body_is_short_whatever_is_in_it() {
    let url = serve(|mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 x\r\n\r\n").await.unwrap();
        stream.write_all(&[0xff; 2000]).await.unwrap();
    })
    .await;
    let mut probe = get(url);
    probe.expect_body = Some("never".into());
    let head = ask(probe, LONG).await.body_head.unwrap();
    assert!((500..=512).contains(&head.len()), "{}", head.len());
}

#[tokio::test]
async fn a_port_on_which_nothing_listens_is_refused_by_any_name_of_this_machine() {
    let (_socket, port) = deaf_port();
    for host in ["127.0.0.1", "localhost"] {
        let answer = ask(get(format!("http://{host}:{port}/")), LONG).await;
        assert_eq!(answer.verdict, fails(FailKind::Refused), "{host}: {}", answer.detail);
        let answer = ask_tcp(host, port).await;
        assert_eq!(answer.verdict, fails(FailKind::Refused), "{host}: {}", answer.detail);
    }
}

#[tokio::test]
async fn a_listening_port_passes_a_tcp_probe() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for host in ["127.0.0.1", "localhost"] {
        assert_eq!(ask_tcp(host, port).await.verdict, Verdict::Pass, "{host}");
    }
}

#[tokio::test]
async fn a_name_that_does_not_resolve_says_nothing_about_the_child() {
    // Longer than a label may be: refused without asking any server.
    let host = "a".repeat(64);
    let answer = ask(get(format!("http://{host}:1/")), LONG).await;
    assert_eq!(answer.verdict, Verdict::unknown(Why::Dns), "{}", answer.detail);
    let answer = ask_tcp(&host, 1).await;
    assert_eq!(answer.verdict, Verdict::unknown(Why::Dns), "{}", answer.detail);
}

#[tokio::test]
async fn a_resolver_that_does_not_answer_is_not_blamed_on_the_child() {
    // All look-ups that may be under way hang.
    let hanging = LOOK_UPS.acquire_many(MOST_LOOK_UPS).await.unwrap();
    let host = "a".repeat(64);
    let answer = ask(get(format!("http://{host}:1/")), SHORT).await;
    assert_eq!(answer.verdict, Verdict::unknown(Why::Dns), "{}", answer.detail);
    assert_eq!(answer.detail, "no address within 300ms");
    let mut tcp = prober(ProbeTarget::Tcp { host, port: 1 }, SHORT);
    assert_eq!(tcp.ask(Moment::ZERO).await.detail, "no address within 300ms");

    let silent = endlessly("", "", LONG).await.replace("127.0.0.1", "localhost");
    assert_eq!(ask(get(silent), SHORT).await.verdict, fails(FailKind::Timeout));
    drop(hanging);
}

#[tokio::test]
async fn what_is_not_http_or_breaks_off_is_a_reset() {
    for bytes in [
        "",
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "\0\0\0\0\0\0\0\0\r\n\r\n",
        "HTTP/1.1 200 x\r\ncontent-le",
        "HTTP/1.1 200 x\r\ncontent-length: 100\r\n\r\nshort",
        "HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ] {
        let mut probe = get(reply(bytes).await);
        probe.expect_body = Some("never".into());
        let answer = ask(probe, LONG).await;
        assert_eq!(answer.verdict, fails(FailKind::Reset), "{bytes:?}: {}", answer.detail);
    }
}

#[tokio::test]
async fn a_connection_reset_in_the_middle_of_the_body_is_a_reset() {
    let url = serve(|mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 x\r\ncontent-length: 100\r\n\r\nhalf").await.unwrap();
        stream.flush().await.unwrap();
        stream.set_zero_linger().unwrap();
    })
    .await;
    let mut probe = get(url);
    probe.expect_body = Some("never".into());
    let answer = ask(probe, LONG).await;
    assert_eq!(answer.verdict, fails(FailKind::Reset), "{}", answer.detail);
    assert_eq!(answer.status, Some(200));
}

#[tokio::test]
async fn a_server_that_keeps_us_waiting_times_out_wherever_it_stalls() {
    for (stage, start, drip) in [
        ("silence", "", ""),
        ("an endless header", "HTTP/1.1 200 x\r\nx-a: ", "a"),
        ("endless headers", "HTTP/1.1 200 x\r\n", "a: b\r\n"),
        ("a body that does not come", "HTTP/1.1 200 x\r\ncontent-length: 9\r\n\r\n", ""),
        ("a dripping body", "HTTP/1.1 200 x\r\ncontent-length: 9999\r\n\r\n", "z"),
    ] {
        let url = endlessly(start, drip, Duration::from_millis(100)).await;
        let mut probe = get(url);
        probe.expect_body = Some("never".into());
        let clock = Clock::start();
        let answer = ask(probe, SHORT).await;
        let took = clock.now().since_start();
        assert_eq!(answer.verdict, fails(FailKind::Timeout), "{stage}: {}", answer.detail);
        assert_eq!(answer.detail, "no answer within 300ms");
        assert!(took >= SHORT, "{stage}: {took:?}");
    }
}

#[tokio::test]
async fn a_probe_that_timed_out_hangs_up() {
    let (sender, mut hung_up) = tokio::sync::mpsc::channel(1);
    let url = serve(move |mut stream| {
        let sender = sender.clone();
        async move {
            read_head(&mut stream).await;
            let end = stream.read(&mut [0]).await;
            sender.send(end).await.unwrap();
        }
    })
    .await;
    assert_eq!(ask(get(url), SHORT).await.verdict, fails(FailKind::Timeout));
    let end = timeout(LONG, hung_up.recv()).await.expect("the connection is closed").unwrap();
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
}

#[tokio::test]
async fn a_flood_in_the_header_is_not_http() {
    let url = endlessly("HTTP/1.1 200 x\r\nx-a: ", PLENTY, Duration::ZERO).await;
    let answer = ask(get(url), LONG).await;
    assert_eq!(answer.verdict, fails(FailKind::Reset), "{}", answer.detail);
}

#[tokio::test]
async fn a_flood_in_the_body_is_judged_by_its_beginning() {
    let start = "HTTP/1.1 200 x\r\n\r\nhere it is";
    for (text, verdict) in [("here it", Verdict::Pass), ("not", fails(FailKind::BadBody))] {
        let mut probe = get(endlessly(start, PLENTY, Duration::ZERO).await);
        probe.expect_body = Some(text.into());
        assert_eq!(ask(probe, LONG).await.verdict, verdict);
    }
    let mut probe = get(endlessly(start, PLENTY, Duration::ZERO).await);
    probe.expect_json.insert("/ok".into(), true.into());
    let answer = ask(probe, LONG).await;
    assert_eq!(answer.detail, "the body is not JSON within its first 64 KiB");
}

#[tokio::test]
async fn a_body_that_nobody_asked_for_is_not_waited_for() {
    let start = "HTTP/1.1 200 x\r\ncontent-length: 9\r\n\r\n";
    let url = endlessly(start, "", Duration::from_secs(1)).await;
    let answer = ask(get(url), LONG).await;
    assert_eq!((answer.verdict, answer.body_head), (Verdict::Pass, None));
    for limit in [LONG, Duration::from_millis(40)] {
        let start = "HTTP/1.1 500 x\r\ncontent-length: 9\r\n\r\n";
        let url = endlessly(start, "", Duration::from_secs(1)).await;
        assert_eq!(ask(get(url), limit).await.verdict, fails(FailKind::BadStatus(500)));
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let url = serve(|mut stream| async move {
        assert!(read_head(&mut stream).await.starts_with("GET /health "));
        let head = "HTTP/1.1 307 x\r\nlocation: /again\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
    })
    .await;
    let answer = ask(get(format!("{url}health")), LONG).await;
    assert_eq!(answer.verdict, fails(FailKind::BadStatus(307)));
}

#[tokio::test]
async fn the_request_carries_the_configured_headers_and_nothing_that_alters_the_answer() {
    let (sender, mut heads) = tokio::sync::mpsc::channel(2);
    let url = serve(move |mut stream| {
        let sender = sender.clone();
        async move {
            sender.send(read_head(&mut stream).await).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 x\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            // Kept open: a client with a pool would come again on this connection.
            stream.read_u8().await.ok();
        }
    })
    .await;
    let mut probe = get(url);
    probe.headers.insert("Host".into(), "gateway.example".into());
    probe.headers.insert("Authorization".into(), "Bearer hush".into());
    let mut prober = prober(ProbeTarget::Http(Box::new(probe)), LONG);
    for _ in 0..2 {
        assert_eq!(prober.ask(Moment::ZERO).await.verdict, Verdict::Pass);
        let head = heads.recv().await.unwrap().to_ascii_lowercase();
        assert!(head.contains("\r\nhost: gateway.example\r\n"), "{head}");
        assert_eq!(head.matches("host:").count(), 1, "{head}");
        assert!(head.contains("\r\nauthorization: bearer hush\r\n"), "{head}");
        assert!(!head.contains("accept-encoding"), "{head}");
    }
}

#[test]
fn a_probe_that_cannot_be_made_is_told_when_it_is_built() {
    let build = |probe: HttpProbe| {
        let target = ProbeTarget::Http(Box::new(probe));
        Prober::new(&Probe { target, timeout: LONG }).unwrap_err().to_string()
    };
    assert_eq!(
        build(get("127.0.0.1:18789/health")),
        "cannot probe 127.0.0.1:18789/health: relative URL without a base"
    );
    assert_eq!(
        build(get("ftp://127.0.0.1/")),
        "cannot probe ftp://127.0.0.1/: its scheme is ftp, not http or https"
    );
    let mut probe = get("http://127.0.0.1/");
    probe.headers.insert("x-token".into(), "hush\nhush".into());
    let error = build(probe);
    assert!(error.contains("x-token") && !error.contains("hush"), "{error}");
}

#[test]
fn a_heartbeat_must_go_on_changing_by_our_own_clock() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("beat");
    let mut beat = Heartbeat::new(path.clone(), Duration::from_secs(10));
    let at = |seconds| Moment::new(Duration::from_secs(seconds));
    let touch = |since_1970: u64| {
        let time = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(since_1970);
        std::fs::File::create(&path).unwrap().set_modified(time).unwrap();
    };
    let late = fails(FailKind::Timeout);

    assert_eq!(beat.look(at(5)).verdict, Verdict::Pass, "the first look starts the clock");
    assert_eq!(beat.look(at(15)).verdict, Verdict::Pass, "missing, still in time");
    assert_eq!(beat.look(at(16)).verdict, late, "missing for too long");
    touch(2_000_000_000);
    assert_eq!(beat.look(at(20)).verdict, Verdict::Pass, "it came");
    assert_eq!(beat.look(at(30)).verdict, Verdict::Pass);
    assert_eq!(beat.look(at(31)).verdict, late, "unchanged, however new it says it is");
    touch(1);
    assert_eq!(beat.look(at(32)).verdict, Verdict::Pass, "any change counts, even backwards");
    std::fs::remove_file(&path).unwrap();
    assert_eq!(beat.look(at(40)).verdict, Verdict::Pass);
    assert_eq!(beat.look(at(43)).verdict, late, "removing it is no heartbeat");
    beat.restart();
    assert_eq!(beat.look(at(90)).verdict, Verdict::Pass, "a new launch owes nothing yet");
}

#[test]
fn as_a_startup_probe_a_heartbeat_passes_only_once_it_has_changed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("beat");
    let mut beat = Heartbeat::new(path.clone(), Duration::from_secs(10));
    beat.await_first();
    let at = |seconds| Moment::new(Duration::from_secs(seconds));
    assert_eq!(beat.look(at(0)).verdict, fails(FailKind::Timeout), "there is no file");
    std::fs::write(&path, "").unwrap();
    assert_eq!(beat.look(at(1)).verdict, Verdict::Pass, "the child has written it");
    beat.restart();
    let stale = beat.look(at(2)).verdict;
    assert_eq!(stale, fails(FailKind::Timeout), "what the last child wrote proves nothing");
}

#[test]
fn a_heartbeat_that_may_not_be_looked_at_says_nothing() {
    let directory = tempfile::tempdir().unwrap();
    // A name that is too long is an error that no permission of root can hide.
    let path = directory.path().join("x".repeat(300));
    let verdict = Heartbeat::new(path, LONG).look(Moment::ZERO).verdict;
    assert!(matches!(verdict, Verdict::Inconclusive { .. }), "{verdict}");
}

#[test]
fn a_probe_program_that_cannot_run_is_not_a_sick_child() {
    let cannot = |errno: Os| ExecOutcome::CannotStart(Errno(errno.raw_os_error()));
    for (outcome, verdict) in [
        (ExecOutcome::Exited(Exit::Code(0)), Verdict::Pass),
        (ExecOutcome::Exited(Exit::Code(1)), fails(FailKind::Exit)),
        (ExecOutcome::Exited(Exit::Signal(9)), fails(FailKind::Exit)),
        (ExecOutcome::TimedOut, fails(FailKind::Timeout)),
        (cannot(Os::NOENT), Verdict::unknown(Why::ProbeMissing)),
        (cannot(Os::ACCESS), Verdict::unknown(Why::ProbeMissing)),
        (cannot(Os::NOEXEC), Verdict::unknown(Why::ProbeMissing)),
        (cannot(Os::AGAIN), Verdict::unknown(Why::NoResources)),
        (cannot(Os::NOMEM), Verdict::unknown(Why::NoResources)),
        (cannot(Os::MFILE), Verdict::unknown(Why::NoDescriptors)),
        (cannot(Os::NFILE), Verdict::unknown(Why::NoDescriptors)),
    ] {
        assert_eq!(exec_verdict(outcome), verdict, "{outcome:?}");
    }
}

proptest! {
    #[test]
    fn whatever_is_expected_of_whatever_body_the_property_holds(
        pointer in "(/(a|b|0|1|01|~0|~1|~|\u{e4})?){0,3}|[ -~]{0,6}",
        wanted in "1|true|\"x\"|\\[\\]|\\{\\}|[ -~]{0,4}",
        body in "(\\{\"(a|b|~|/|0)?\":|\\[1,|){0,3}(1|true|\"[ -~&&[^\"\\\\]]{0,60}\"|null)(\\}|\\]|){0,3}"
    ) {
        property::expectation(format!("{pointer}\n{wanted}\n{body}").as_bytes());
    }

    #[test]
    fn whatever_body_comes_its_head_is_a_beginning(body in proptest::collection::vec(any::<u8>(), 0..600)) {
        property::expectation(&[b"\n1\n", &body[..]].concat());
    }
}

//! What depends on the whole process: its environment, limits and threads.
//!
//! Each such test runs itself once more, alone in a process of its own.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::net::TcpListener;

use crate::supervisor::{Moment, Verdict, Why};

use super::server::{PLENTY, deaf_port, endlessly, reply};
use super::{ask, ask_tcp, get, prober};
use crate::config::ProbeTarget;

const LIMIT: Duration = Duration::from_secs(20);

/// Whether this is the process of its own; if not, the test `name` has been run in one.
#[expect(clippy::disallowed_methods, reason = "a test that runs itself")]
fn is_alone(name: &str, environment: &[(&str, &str)]) -> bool {
    const ALONE: &str = "PROBE_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([&format!("probe::tests::alone::{name}"), "--exact", "--nocapture"])
        .envs(environment.iter().copied())
        .env(ALONE, "1")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("1 passed"), "{told}\n{errors}");
    false
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[tokio::test]
async fn no_proxy_from_the_environment_is_ever_used() {
    const NAMES: [&str; 6] =
        ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];
    let lying = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_socket, port) = deaf_port();
    let dead = format!("http://127.0.0.1:{port}");
    for proxy in [dead, format!("http://{}", lying.local_addr().unwrap())] {
        let name = "no_proxy_from_the_environment_is_ever_used";
        if !is_alone(name, &NAMES.map(|name| (name, proxy.as_str()))) {
            continue;
        }
        for variable in NAMES {
            assert!(std::env::var_os(variable).is_some());
        }
        let url = reply("HTTP/1.1 200 x\r\ncontent-length: 0\r\n\r\n").await;
        assert_eq!(ask(get(url), LIMIT).await.verdict, Verdict::Pass);
        return;
    }
    // The lying proxy would answer anything; nobody has asked it.
    let asked = tokio::time::timeout(Duration::ZERO, lying.accept()).await;
    assert!(asked.is_err(), "the proxy was asked");
}

#[tokio::test]
async fn without_certificate_files_plain_http_works_and_https_can_be_set_up() {
    let nowhere = [("SSL_CERT_FILE", "/nonexistent/file"), ("SSL_CERT_DIR", "/nonexistent/dir")];
    if !is_alone("without_certificate_files_plain_http_works_and_https_can_be_set_up", &nowhere) {
        return;
    }
    let url = reply("HTTP/1.1 200 x\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(ask(get(url), LIMIT).await.verdict, Verdict::Pass);
    prober(ProbeTarget::Http(Box::new(get("https://gateway.example/"))), LIMIT);
}

#[tokio::test]
async fn without_a_free_descriptor_the_child_is_not_blamed() {
    if !is_alone("without_a_free_descriptor_the_child_is_not_blamed", &[]) {
        return;
    }
    let url = reply("HTTP/1.1 200 x\r\ncontent-length: 0\r\n\r\n").await;
    let mut prober = prober(ProbeTarget::Http(Box::new(get(url))), LIMIT);
    assert_eq!(prober.ask(Moment::ZERO).await.verdict, Verdict::Pass);
    let open = Rlimit { current: Some(0), maximum: Some(100) };
    setrlimit(Resource::Nofile, open).unwrap();
    let answer = prober.ask(Moment::ZERO).await;
    assert_eq!(answer.verdict, Verdict::unknown(Why::NoDescriptors), "{}", answer.detail);
    let answer = ask_tcp("127.0.0.1", 1).await;
    assert_eq!(answer.verdict, Verdict::unknown(Why::NoDescriptors), "{}", answer.detail);
    setrlimit(Resource::Nofile, Rlimit { current: Some(100), maximum: Some(100) }).unwrap();
    assert_eq!(prober.ask(Moment::ZERO).await.verdict, Verdict::Pass);
}

#[tokio::test]
async fn addresses_and_localhost_need_no_thread() {
    if !is_alone("addresses_and_localhost_need_no_thread", &[]) {
        return;
    }
    let before = threads();
    let url = reply("HTTP/1.1 200 x\r\ncontent-length: 0\r\n\r\n").await;
    for url in [url.clone(), url.replace("127.0.0.1", "localhost")] {
        assert_eq!(ask(get(url), LIMIT).await.verdict, Verdict::Pass);
    }
    ask_tcp("localhost", deaf_port().1).await;
    assert_eq!(threads(), before);
}

#[tokio::test]
async fn floods_leave_memory_as_it_was() {
    if !is_alone("floods_leave_memory_as_it_was", &[]) {
        return;
    }
    let resident_kb = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap()
    };
    let header = endlessly("HTTP/1.1 200 x\r\nx-a: ", PLENTY, Duration::ZERO).await;
    let body = endlessly("HTTP/1.1 200 x\r\n\r\n", PLENTY, Duration::ZERO).await;
    let mut warm = 0;
    for round in 0..40 {
        for url in [&header, &body] {
            let mut probe = get(url.clone());
            probe.expect_body = Some("never".into());
            assert_ne!(ask(probe, LIMIT).await.verdict, Verdict::Pass);
        }
        if round == 9 {
            warm = resident_kb();
        }
    }
    let grown = resident_kb().saturating_sub(warm);
    assert!(grown < 2048, "{grown} KiB more than the {warm} KiB after ten rounds");
}

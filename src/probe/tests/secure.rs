//! HTTPS, with certificates made for each test.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::config::{HttpProbe, Probe, ProbeTarget};
use crate::supervisor::{FailKind, Moment, Verdict, Why};

use super::server::{read_head, serve};
use super::{LONG, Prober, ask, fails, get, prober};

/// A gateway that speaks TLS with a certificate that it signed itself.
struct SecureServer {
    url: String,
    certificate: PathBuf,
    _directory: TempDir,
}

impl SecureServer {
    async fn start(name: &str, last_year: i32) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(last_year, 1, 1);
        let certificate = params.self_signed(&key).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let pem = directory.path().join("ca.pem");
        std::fs::write(&pem, certificate.pem()).unwrap();

        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/health", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    read_head(&mut stream).await;
                    stream.write_all(b"HTTP/1.1 200 x\r\ncontent-length: 2\r\n\r\nok").await.ok();
                    stream.shutdown().await.ok();
                }
            }
        });
        Self { url, certificate: pem, _directory: directory }
    }

    fn trusting(&self, ca: &SecureServer) -> HttpProbe {
        HttpProbe {
            ca: Some(ca.certificate.clone()),
            expect_body: Some("ok".into()),
            ..get(self.url.clone())
        }
    }
}

#[tokio::test]
async fn on_loopback_any_certificate_will_do() {
    for (name, last_year) in [("127.0.0.1", 2100), ("elsewhere.example", 2100), ("127.0.0.1", 2021)]
    {
        let server = SecureServer::start(name, last_year).await;
        let answer = ask(get(server.url.clone()), LONG).await;
        assert_eq!(answer.verdict, Verdict::Pass, "{name}: {}", answer.detail);
    }
}

#[tokio::test]
async fn with_a_ca_file_the_certificate_is_verified_and_distrust_is_not_a_failure() {
    let other = SecureServer::start("127.0.0.1", 2100).await;
    let good = SecureServer::start("127.0.0.1", 2100).await;
    let answer = ask(good.trusting(&good), LONG).await;
    assert_eq!(answer.verdict, Verdict::Pass, "{}", answer.detail);

    let expired = SecureServer::start("127.0.0.1", 2021).await;
    let misnamed = SecureServer::start("elsewhere.example", 2100).await;
    for (why, probe) in [
        ("another's", good.trusting(&other)),
        ("expired", expired.trusting(&expired)),
        ("for another name", misnamed.trusting(&misnamed)),
    ] {
        let answer = ask(probe, LONG).await;
        let verdict = Verdict::unknown(Why::CertificateNotTrusted);
        assert_eq!(answer.verdict, verdict, "{why}: {}", answer.detail);
    }
}

#[tokio::test]
async fn a_renewed_ca_file_is_read_again() {
    let server = SecureServer::start("127.0.0.1", 2100).await;
    let other = SecureServer::start("127.0.0.1", 2100).await;
    let probe = Box::new(server.trusting(&other));
    let mut prober = prober(ProbeTarget::Http(probe), LONG);
    let untrusted = Verdict::unknown(Why::CertificateNotTrusted);
    assert_eq!(prober.ask(Moment::ZERO).await.verdict, untrusted);
    std::fs::write(&other.certificate, "half written").unwrap();
    assert_eq!(prober.ask(Moment::ZERO).await.verdict, untrusted);
    std::fs::copy(&server.certificate, &other.certificate).unwrap();
    assert_eq!(prober.ask(Moment::ZERO).await.verdict, untrusted);
    assert_eq!(prober.ask(Moment::ZERO).await.verdict, Verdict::Pass);
}

#[tokio::test]
async fn a_server_that_does_not_speak_tls_fails_the_handshake() {
    let url = serve(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.ok();
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.ok();
    })
    .await;
    let answer = ask(get(url.replace("http:", "https:")), LONG).await;
    assert_eq!(answer.verdict, fails(FailKind::Tls), "{}", answer.detail);
}

#[test]
fn a_ca_file_that_is_of_no_use_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let build = |path: PathBuf| {
        let probe = HttpProbe { ca: Some(path), ..get("https://127.0.0.1/") };
        let target = ProbeTarget::Http(Box::new(probe));
        Prober::new(&Probe { target, timeout: LONG }).unwrap_err().to_string()
    };
    let missing = directory.path().join("missing.pem");
    let error = build(missing.clone());
    assert!(error.starts_with(&format!("cannot use ca file {}: ", missing.display())), "{error}");
    let empty = directory.path().join("empty.pem");
    std::fs::write(&empty, "no certificate").unwrap();
    assert_eq!(
        build(empty.clone()),
        format!("cannot use ca file {}: it holds no certificate in PEM form", empty.display())
    );
}

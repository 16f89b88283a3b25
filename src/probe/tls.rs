//! What the HTTP client trusts.
//!
//! Built by hand for two reasons: for plain `http://` no certificate file may be needed, and every
//! probe makes a full handshake, because a resumed one would not look at the certificate.

use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, KeyProvider, ring, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::SigningKey;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::ProbeError;

/// Whose certificates are believed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trust<'a> {
    /// Nobody's: TLS is not used.
    None,
    /// Anybody's: it is this machine.
    Anyone,
    /// Those that this PEM file vouches for.
    File(&'a Path),
    /// Those that the system vouches for.
    System,
}

/// The TLS side of a client.
pub(super) fn client_config(trust: Trust<'_>) -> Result<ClientConfig, ProbeError> {
    let provider = Arc::new(CryptoProvider { key_provider: &NoKeys, ..ring::default_provider() });
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("ring supports the default TLS versions");
    let mut config = match trust {
        Trust::Anyone => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(BelieveAnyone(provider)))
            .with_no_client_auth(),
        Trust::None | Trust::File(_) | Trust::System => {
            builder.with_root_certificates(roots(trust)?).with_no_client_auth()
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn roots(trust: Trust<'_>) -> Result<RootCertStore, ProbeError> {
    let mut roots = RootCertStore::empty();
    match trust {
        Trust::None | Trust::Anyone => {}
        // Without a single file the verdict is "not trusted", which harms nobody.
        Trust::System => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Trust::File(path) => {
            let unusable = |reason: String| ProbeError::Ca { path: path.to_owned(), reason };
            let certificates = CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|error| unusable(error.to_string()))?;
            let (good, _) = roots.add_parsable_certificates(certificates);
            if good == 0 {
                return Err(unusable("it holds no certificate in PEM form".into()));
            }
        }
    }
    Ok(roots)
}

/// A probe shows no certificate of its own; what would sign for one stays out of the program.
#[derive(Debug)]
struct NoKeys;

impl KeyProvider for NoKeys {
    fn load_private_key(
        &self,
        _: PrivateKeyDer<'static>,
    ) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        Err(rustls::Error::General("a probe has no key of its own".into()))
    }
}

/// Takes any certificate; the handshake must be sound all the same.
#[derive(Debug)]
struct BelieveAnyone(Arc<CryptoProvider>);

impl ServerCertVerifier for BelieveAnyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

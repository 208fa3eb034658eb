//! The certificate of the services with TLS, and the clients that believe it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// What it is issued for, and what clients ask for.
const NAME: &str = "mqtt.test";

/// One for all contenders: ECDSA on P-256, signed by itself.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The certificate, in PEM.
    pub chain: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
    /// Both in one file, as `HAProxy` wants them.
    pub both: PathBuf,
    /// How clients connect.
    pub clients: Tls,
}

/// How clients begin TLS.
#[derive(Clone)]
pub struct Tls {
    pub connector: TlsConnector,
    pub name: ServerName<'static>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Certificate {
    /// A new one, with its files in `directory`.
    pub fn issue(directory: &Path) -> Result<Self> {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed([NAME.to_owned()]).context("make a certificate")?;
        let (chain, key) = (cert.pem(), signing_key.serialize_pem());
        let write = |name: &str, text: &str| {
            let file = directory.join(name);
            fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
            anyhow::Ok(file)
        };
        Ok(Self {
            chain: write("tls-chain.pem", &chain)?,
            key: write("tls-key.pem", &key)?,
            both: write("tls-both.pem", &format!("{chain}{key}"))?,
            clients: Tls::trusting(cert.der().clone())?,
        })
    }
}

impl Tls {
    /// TLS 1.3 with one cipher suite and full handshakes: the same work for every contender.
    fn trusting(certificate: CertificateDer<'static>) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(certificate).context("trust the certificate")?;
        let suite = ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
        let provider = CryptoProvider { cipher_suites: vec![suite], ..ring::default_provider() };
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        let name = ServerName::try_from(NAME).context("name the service")?;
        Ok(Self { connector: Arc::new(config).into(), name })
    }
}

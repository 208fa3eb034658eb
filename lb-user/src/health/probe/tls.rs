//! TLS towards a broker.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use super::any_certificate::AnyCertificate;
use crate::config::model;

/// The TLS side of the checks of one service: certificates are read once, not once per broker.
#[derive(Clone)]
pub struct Settings {
    config: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
}

/// The TLS side of the check of one broker.
#[derive(Clone)]
pub struct Client {
    config: Arc<ClientConfig>,
    server_name: ServerName<'static>,
}

/// TLS settings that cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    #[error("cannot read the certificates in {path}: {error}")]
    CaFile { path: PathBuf, error: pem::Error },
    #[error("no certificate in {0}")]
    NoCertificate(PathBuf),
    #[error("a certificate in {path} is no certificate authority's: {error}")]
    BadCertificate { path: PathBuf, error: rustls::Error },
    #[error("this system has no certificate authorities{0}; name a ca_file")]
    NoSystemCertificates(String),
    #[error("{0:?} is neither a host name nor an address")]
    ServerName(String),
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

impl Settings {
    /// Reads the certificates that `tls` names. Blocks on the disk.
    pub fn load(tls: &model::Tls) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let config = if tls.insecure {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
                .with_no_client_auth()
        } else {
            builder.with_root_certificates(roots(tls.ca_file.as_deref())?).with_no_client_auth()
        };
        let server_name = match &tls.server_name {
            None => None,
            Some(name) => Some(
                ServerName::try_from(name.clone())
                    .map_err(|_| TlsError::ServerName(name.clone()))?,
            ),
        };
        Ok(Self { config: Arc::new(config), server_name })
    }

    /// For the broker at `address`, whose certificate must hold that address unless a name was set.
    #[must_use]
    pub fn client(&self, address: IpAddr) -> Client {
        let server_name =
            self.server_name.clone().unwrap_or_else(|| ServerName::IpAddress(address.into()));
        Client { config: Arc::clone(&self.config), server_name }
    }
}

impl Client {
    pub(super) async fn connect(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let connector = TlsConnector::from(Arc::clone(&self.config));
        connector.connect(self.server_name.clone(), stream).await
    }
}

/// The certificate authorities in `ca_file`, or else the system's. Blocks on the disk.
pub(crate) fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca_file else {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let why = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
            return Err(TlsError::NoSystemCertificates(why));
        }
        return Ok(roots);
    };
    let unreadable = |error| TlsError::CaFile { path: path.to_owned(), error };
    for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
        roots
            .add(certificate.map_err(unreadable)?)
            .map_err(|error| TlsError::BadCertificate { path: path.to_owned(), error })?;
    }
    if roots.is_empty() { Err(TlsError::NoCertificate(path.to_owned())) } else { Ok(roots) }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

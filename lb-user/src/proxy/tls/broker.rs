//! TLS towards brokers.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::{
    ClientConfig,
    crypto::ring,
    pki_types::{
        PrivateKeyDer, ServerName,
        pem::{self, PemObject},
    },
};

use super::{CertificateFiles, TlsError, certificate::chain};
use crate::health::probe::tls::{TlsError as AuthorityError, roots};

/// TLS towards the brokers of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerSettings {
    /// The authorities that brokers' certificates must lead to, PEM; `None` means the system's.
    pub ca_file: Option<PathBuf>,
    /// The name that brokers' certificates must hold, also sent as SNI; `None` means the broker's
    /// address.
    pub server_name: Option<String>,
    /// The certificate to show to brokers that ask for one.
    pub certificate: Option<CertificateFiles>,
    /// What is offered by ALPN; nothing if it is empty.
    pub alpn: Vec<Vec<u8>>,
}

/// The TLS side of connections to brokers. Their certificates are always verified.
#[derive(Clone)]
pub struct Broker {
    settings: BrokerSettings,
    connector: TlsConnector,
    server_name: Option<ServerName<'static>>,
}

impl Broker {
    /// Reads the files that `settings` name. Blocks on the disk.
    pub fn load(settings: &BrokerSettings) -> Result<Self, TlsError> {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots(settings.ca_file.as_deref())?);
        let mut config = match &settings.certificate {
            None => builder.with_no_client_auth(),
            Some(files) => {
                let key =
                    PrivateKeyDer::from_pem_file(&files.key).map_err(|error| match error {
                        pem::Error::NoItemsFound => TlsError::NoKey(files.key.clone()),
                        error => TlsError::File { path: files.key.clone(), error },
                    })?;
                let mismatch = |error| TlsError::Key { path: files.key.clone(), error };
                builder.with_client_auth_cert(chain(&files.certificate)?, key).map_err(mismatch)?
            }
        };
        config.alpn_protocols.clone_from(&settings.alpn);
        let server_name = match &settings.server_name {
            None => None,
            Some(name) => Some(
                ServerName::try_from(name.clone())
                    .map_err(|_| AuthorityError::ServerName(name.clone()))?,
            ),
        };
        let connector = TlsConnector::from(Arc::new(config));
        Ok(Self { settings: settings.clone(), connector, server_name })
    }

    /// Whether it was loaded with these settings.
    #[must_use]
    pub fn has(&self, settings: &BrokerSettings) -> bool {
        self.settings == *settings
    }

    /// Shakes hands over `stream`, which leads to the broker at `address`.
    ///
    /// # Errors
    ///
    /// If the broker's certificate does not hold its name, does not lead to an authority, or has
    /// expired; if the broker refuses; or if the connection breaks.
    pub async fn connect<IO: AsyncRead + AsyncWrite + Unpin>(
        &self,
        address: IpAddr,
        stream: IO,
    ) -> io::Result<TlsStream<IO>> {
        let own_name = || ServerName::IpAddress(address.to_canonical().into());
        let server_name = self.server_name.clone().unwrap_or_else(own_name);
        self.connector.connect(server_name, stream).await
    }
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

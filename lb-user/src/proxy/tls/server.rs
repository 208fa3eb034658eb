//! TLS towards clients.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use tokio_rustls::rustls::{
    ServerConfig,
    crypto::ring,
    server::{ProducesTickets, ServerSessionMemoryCache, StoresServerSessions},
    version::{TLS12, TLS13},
};

use super::{ServerSettings, TlsError, Version, certificate, client_auth, names::Names};

/// Sessions that can be resumed without a ticket; only TLS 1.2 clients that know no tickets need it.
const SESSIONS: usize = 1024;

/// When a file stops being valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// The file: of a certificate (with those behind it), or of a list of revoked ones.
    pub path: PathBuf,
    /// Seconds since the epoch.
    pub at: i64,
}

/// The TLS side of a service. A handshake takes the configuration of its beginning.
#[derive(Debug)]
pub struct Server(RwLock<Arc<Loaded>>);

#[derive(Debug)]
struct Loaded {
    settings: ServerSettings,
    config: Arc<ServerConfig>,
    expiries: Vec<Expiry>,
    resumption: Resumption,
}

/// What lets clients resume their sessions.
#[derive(Clone, Debug)]
struct Resumption {
    tickets: Arc<dyn ProducesTickets>,
    sessions: Arc<dyn StoresServerSessions>,
}

impl Resumption {
    fn new() -> Result<Self, TlsError> {
        Ok(Self {
            tickets: ring::Ticketer::new()?,
            sessions: ServerSessionMemoryCache::new(SESSIONS),
        })
    }
}

impl Server {
    /// Reads the files that `settings` name. Blocks on the disk.
    pub fn load(settings: &ServerSettings) -> Result<Self, TlsError> {
        Ok(Self(RwLock::new(Arc::new(load(settings, Resumption::new()?)?))))
    }

    /// Reads the files anew, which may have been replaced, and maybe other ones. On an error everything
    /// stays as it is. Blocks on the disk.
    ///
    /// Clients can resume their sessions after that, unless clients show certificates: whoever was
    /// revoked since must not come in by an old session, in which nothing is verified.
    pub fn reload(&self, settings: &ServerSettings) -> Result<(), TlsError> {
        let old = self.current();
        let keeps = settings.client == super::ClientAuth::None
            && old.settings.client == super::ClientAuth::None;
        let resumption = if keeps { old.resumption.clone() } else { Resumption::new()? };
        let new = Arc::new(load(settings, resumption)?);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    /// For the next handshake, as with `tokio_rustls::TlsAcceptor::from`.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current().config)
    }

    /// When each file stops being valid.
    #[must_use]
    pub fn expiries(&self) -> Vec<Expiry> {
        self.current().expiries.clone()
    }

    fn current(&self) -> Arc<Loaded> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn load(settings: &ServerSettings, resumption: Resumption) -> Result<Loaded, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let certificates = settings
        .certificates
        .iter()
        .map(|files| certificate::load(files, &provider))
        .collect::<Result<Vec<_>, _>>()?;
    if certificates.is_empty() {
        return Err(TlsError::Empty);
    }
    let client = client_auth::load(&settings.client, &provider)?;
    let versions = match settings.min_version {
        Version::V12 => &[&TLS13, &TLS12][..],
        Version::V13 => &[&TLS13][..],
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .with_client_cert_verifier(client.verifier)
        .with_cert_resolver(Arc::new(Names::new(&certificates)));
    config.alpn_protocols.clone_from(&settings.alpn);
    config.ticketer = Arc::clone(&resumption.tickets);
    config.session_storage = Arc::clone(&resumption.sessions);
    // An MQTT client has one connection, and needs one ticket for the next.
    config.send_tls13_tickets = 1;
    let shown = settings.certificates.iter().zip(&certificates);
    let mut expiries: Vec<Expiry> = shown
        .map(|(files, loaded)| Expiry { path: files.certificate.clone(), at: loaded.not_after })
        .collect();
    expiries.extend(client.crls.into_iter().map(|(path, at)| Expiry { path, at }));
    Ok(Loaded { settings: settings.clone(), config: Arc::new(config), expiries, resumption })
}

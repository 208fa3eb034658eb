//! TLS towards clients.

use std::path::PathBuf;
use std::sync::Arc;

use tokio_rustls::rustls::{
    ServerConfig,
    crypto::ring,
    server::{ProducesTickets, ServerSessionMemoryCache, StoresServerSessions},
    version::{TLS12, TLS13},
};

use super::{
    ClientAuth, ServerSettings, TlsError, Version, certificate, client_auth, names::Names,
};

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

/// The TLS side of a service.
#[derive(Debug)]
pub struct Server {
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
        load(settings, Resumption::new()?)
    }

    /// What comes after this one: the files are read anew, which may have been replaced, and maybe
    /// other ones. Blocks on the disk.
    ///
    /// Clients can resume the sessions that they have from this one, unless clients show certificates:
    /// whoever was revoked since must not come in by an old session, in which nothing is verified.
    pub fn successor(&self, settings: &ServerSettings) -> Result<Self, TlsError> {
        let keeps = [&self.settings, settings].iter().all(|one| one.client == ClientAuth::None);
        let resumption = if keeps { self.resumption.clone() } else { Resumption::new()? };
        load(settings, resumption)
    }

    /// Whether it was loaded with these settings.
    #[must_use]
    pub fn has(&self, settings: &ServerSettings) -> bool {
        self.settings == *settings
    }

    /// For a handshake, as with `tokio_rustls::TlsAcceptor::from`.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// When each file stops being valid.
    #[must_use]
    pub fn expiries(&self) -> &[Expiry] {
        &self.expiries
    }
}

fn load(settings: &ServerSettings, resumption: Resumption) -> Result<Server, TlsError> {
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
    Ok(Server { settings: settings.clone(), config: Arc::new(config), expiries, resumption })
}

//! TLS of the mode `mqtt`: towards clients ([`Server`]), towards brokers ([`Broker`]), and passed through,
//! with only the name read ([`hello`]).
//!
//! Files are read when settings are loaded; that blocks on the disk. A connection keeps what it began
//! with.

mod broker;
mod certificate;
mod client_auth;
mod error;
pub mod hello;
mod identity;
mod names;
mod server;
mod settings;

#[cfg(test)]
pub(in crate::proxy) mod tests;

use std::path::PathBuf;

pub use broker::{Broker, BrokerSettings};
pub use error::TlsError;
pub use identity::{ClientCertificate, ClientTls};
pub use server::{Expiry, Server};

/// The protocol that ALPN names MQTT by (RFC 7301; registered with IANA).
pub const ALPN_MQTT: &[u8] = b"mqtt";

/// TLS towards clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSettings {
    /// At least one. The first is for clients that name no server, or one that no certificate holds.
    pub certificates: Vec<CertificateFiles>,
    /// What is agreed to of what clients offer by ALPN, the preferred first; with none, ALPN is not
    /// answered. A client that offers only others is refused, as RFC 7301 (section 3.2) wants it.
    pub alpn: Vec<Vec<u8>>,
    /// The oldest version that is spoken.
    pub min_version: Version,
    /// Whether clients show certificates.
    pub client: ClientAuth,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// TLS 1.2 (RFC 5246).
    V12,
    /// TLS 1.3 (RFC 8446).
    V13,
}

/// A certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CertificateFiles {
    /// The certificate and those that lead to its authority, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

/// Whether clients show certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked.
    None,
    /// They are asked. Who shows none is let in; who shows one that is not valid is refused.
    Optional(ClientAuthorities),
    /// Who shows none is refused.
    Required(ClientAuthorities),
}

/// Whose certificates clients may show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuthorities {
    /// The authorities' certificates, PEM.
    pub ca_file: PathBuf,
    /// Their lists of revoked certificates (RFC 5280, section 5), PEM. If there is any, each authority
    /// in a client's chain must have one that has not expired.
    pub crl_files: Vec<PathBuf>,
}

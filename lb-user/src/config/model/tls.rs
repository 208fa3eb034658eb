//! TLS of a service in the mode `mqtt`: towards clients, towards brokers, and passed through.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Name;

/// TLS towards clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServerTls {
    /// At least one. The first is for clients that name no server, or one that no certificate holds.
    pub certificates: Vec<CertificateFiles>,
    /// What is agreed to of what clients offer by ALPN, the preferred first.
    pub alpn: Vec<String>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// Whether clients show certificates.
    pub client_certificates: ClientCertificates,
    /// The authorities of clients' certificates; there if and only if clients show any. Absolute.
    pub ca_file: Option<PathBuf>,
    /// Lists of revoked certificates. Absolute.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub crl_files: Vec<PathBuf>,
    /// What of a client's certificate becomes the user name of its CONNECT; `None` leaves that as it
    /// is, and so does a client without a certificate.
    pub username_from: Option<CertificateName>,
    /// The same for its Client Identifier.
    pub client_id_from: Option<CertificateName>,
}

/// A name in a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateName {
    /// The Common Name of the subject.
    CommonName,
    /// The first Subject Alternative Name.
    SubjectAltName,
}

/// A certificate with its key, PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CertificateFiles {
    /// The certificate and those that lead to its authority. Absolute.
    pub certificate_file: PathBuf,
    /// Its private key. Absolute.
    pub key_file: PathBuf,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    #[serde(rename = "1.2")]
    V12,
    /// TLS 1.3 (RFC 8446).
    #[serde(rename = "1.3")]
    V13,
}

/// Whether clients show certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientCertificates {
    /// They are not asked.
    None,
    /// They are asked. Who shows none is let in; who shows one that is not valid is refused.
    Optional,
    /// Who shows none is refused.
    Required,
}

/// TLS towards brokers, whose certificates are always verified.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BrokerTls {
    /// The authorities that brokers' certificates must lead to; `None` means the system's. Absolute.
    pub ca_file: Option<PathBuf>,
    /// The name that brokers' certificates must hold, also sent as SNI; `None` means the broker's
    /// address.
    pub server_name: Option<String>,
    /// What is shown to brokers that ask for a certificate.
    pub certificate: Option<CertificateFiles>,
}

/// Where clients go that ask for one of some names by TLS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TlsRoute {
    /// The names, lower case; `*.` at the beginning stands for one label. With none, the route is for
    /// every other name, and for clients that ask for none.
    pub server_names: Vec<String>,
    /// The backends; with none, all of the service.
    pub backends: Vec<Name>,
}

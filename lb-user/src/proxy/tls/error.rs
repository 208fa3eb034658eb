//! TLS settings that cannot be used.

use std::path::PathBuf;

use tokio_rustls::rustls::{self, pki_types::pem};

use crate::health::probe::tls::TlsError as AuthorityError;

/// Why TLS settings cannot be used: which file, and what is wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is no PEM.
    #[error("cannot read {path}: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: pem::Error,
    },
    /// There is no certificate in a file.
    #[error("no certificate in {0}")]
    NoCertificate(PathBuf),
    /// There is no key in a file, or one in a form that is not known.
    #[error("no private key in {0}")]
    NoKey(PathBuf),
    /// There is no list of revoked certificates in a file.
    #[error("no list of revoked certificates in {0}")]
    NoCrl(PathBuf),
    /// What is in a file makes no sense as a certificate.
    #[error("the certificate in {path} cannot be used: {error}")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        error: String,
    },
    /// A key of a kind that is not known.
    #[error("the private key in {path} cannot be used: {error}")]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        error: rustls::Error,
    },
    /// A key that belongs to another certificate.
    #[error("the private key in {key} does not belong to the certificate in {certificate}")]
    Mismatch {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
    /// A list of revoked certificates that cannot be read.
    #[error("the list of revoked certificates in {path} cannot be used: {error}")]
    Crl {
        /// The file.
        path: PathBuf,
        /// Why.
        error: String,
    },
    /// The authorities that certificates must lead to.
    #[error(transparent)]
    Authorities(#[from] AuthorityError),
    /// No certificate is configured.
    #[error("no certificate to show to clients")]
    Empty,
    /// Anything else that is refused.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

impl TlsError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::File { .. } => {
                "check the path, that the user who runs mqlb may read the file, and that it is PEM"
            }
            Self::NoCertificate(_) | Self::Empty => {
                "the file must hold a block that begins with BEGIN CERTIFICATE, the server's own \
                 certificate first"
            }
            Self::NoKey(_) => {
                "the file must hold a block that begins with BEGIN PRIVATE KEY (or RSA or EC PRIVATE \
                 KEY), not encrypted"
            }
            Self::NoCrl(_) | Self::Crl { .. } => {
                "the file must hold a block that begins with BEGIN X509 CRL; `openssl crl -in FILE \
                 -text` shows it"
            }
            Self::Certificate { .. } => "`openssl x509 -in FILE -text` shows what is in it",
            Self::Key { .. } => "use an RSA, ECDSA (P-256, P-384) or Ed25519 key",
            Self::Mismatch { .. } => {
                "compare `openssl x509 -in CERTIFICATE -noout -pubkey` with `openssl pkey -in KEY \
                 -pubout`"
            }
            Self::Authorities(_) => {
                "`ca_file` must hold certificates of authorities, each in a block that begins with \
                 BEGIN CERTIFICATE"
            }
            Self::Setup(_) => "this combination of settings is not possible",
        }
    }
}

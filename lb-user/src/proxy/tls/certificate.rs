//! A certificate with its key, read from files.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::{
    Error,
    crypto::CryptoProvider,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    sign::CertifiedKey,
};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::{CertificateFiles, TlsError};

/// A certificate that can be shown.
pub(super) struct Loaded {
    pub(super) key: Arc<CertifiedKey>,
    /// The DNS names that it holds, lower case.
    pub(super) names: Vec<String>,
    /// The end of the earliest certificate of its chain, in seconds since the epoch.
    pub(super) not_after: i64,
}

/// Reads the files. Blocks on the disk.
pub(super) fn load(
    files: &CertificateFiles,
    provider: &CryptoProvider,
) -> Result<Loaded, TlsError> {
    let chain = chain(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::NoKey(files.key.clone()),
        error => TlsError::File { path: files.key.clone(), error },
    })?;
    let (names, not_after) = read(&chain, &files.certificate)?;
    let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        Error::InconsistentKeys(_) => {
            TlsError::Mismatch { certificate: files.certificate.clone(), key: files.key.clone() }
        }
        error => TlsError::Key { path: files.key.clone(), error },
    })?;
    Ok(Loaded { key: Arc::new(key), names, not_after })
}

/// The certificates in a file, at least one.
pub(super) fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |error| TlsError::File { path: path.to_owned(), error };
    let chain: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(unreadable)?
        .collect::<Result<_, _>>()
        .map_err(unreadable)?;
    if chain.is_empty() { Err(TlsError::NoCertificate(path.to_owned())) } else { Ok(chain) }
}

/// The names in the first certificate of a chain, and when the first of all ends.
fn read(chain: &[CertificateDer<'_>], path: &Path) -> Result<(Vec<String>, i64), TlsError> {
    let bad = |error: String| TlsError::Certificate { path: path.to_owned(), error };
    let mut names = Vec::new();
    let mut not_after = i64::MAX;
    for (place, der) in chain.iter().enumerate() {
        let (_, one) = X509Certificate::from_der(der).map_err(|error| bad(error.to_string()))?;
        not_after = not_after.min(one.validity().not_after.timestamp());
        if place == 0 {
            let found = one.subject_alternative_name().map_err(|error| bad(error.to_string()))?;
            let all = found.iter().flat_map(|found| &found.value.general_names);
            names.extend(all.filter_map(|name| match name {
                GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
                _ => None,
            }));
        }
    }
    Ok((names, not_after))
}

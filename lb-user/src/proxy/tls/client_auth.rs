//! Verifying the certificates of clients.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::{
    crypto::CryptoProvider,
    pki_types::{CertificateRevocationListDer, pem::PemObject},
    server::{VerifierBuilderError, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use super::{ClientAuth, ClientAuthorities, TlsError};
use crate::health::probe::tls::roots;

/// The verifier, and when each list of revoked certificates expires.
pub(super) struct Verifier {
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    pub(super) crls: Vec<(std::path::PathBuf, i64)>,
}

/// Reads the files. Blocks on the disk.
pub(super) fn load(
    client: &ClientAuth,
    provider: &Arc<CryptoProvider>,
) -> Result<Verifier, TlsError> {
    match client {
        ClientAuth::None => {
            Ok(Verifier { verifier: WebPkiClientVerifier::no_client_auth(), crls: Vec::new() })
        }
        ClientAuth::Optional(authorities) => verifier(authorities, provider, false),
        ClientAuth::Required(authorities) => verifier(authorities, provider, true),
    }
}

fn verifier(
    authorities: &ClientAuthorities,
    provider: &Arc<CryptoProvider>,
    required: bool,
) -> Result<Verifier, TlsError> {
    let roots = Arc::new(roots(Some(&authorities.ca_file))?);
    let mut builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider))
        // An expired list says nothing of who was revoked since (RFC 5280, section 6.3.3).
        .enforce_revocation_expiration();
    if !required {
        builder = builder.allow_unauthenticated();
    }
    let mut crls = Vec::new();
    for path in &authorities.crl_files {
        let lists = lists(path)?;
        for list in &lists {
            crls.push((path.clone(), next_update(list, path)?));
        }
        builder = builder.with_crls(lists);
    }
    let last = authorities.crl_files.last().unwrap_or(&authorities.ca_file).clone();
    let verifier = builder.build().map_err(|error| match error {
        VerifierBuilderError::NoRootAnchors => TlsError::NoCertificate(authorities.ca_file.clone()),
        error => TlsError::Crl { path: last, error: error.to_string() },
    })?;
    Ok(Verifier { verifier, crls })
}

fn lists(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let unreadable = |error| TlsError::File { path: path.to_owned(), error };
    let lists: Vec<_> = CertificateRevocationListDer::pem_file_iter(path)
        .map_err(unreadable)?
        .collect::<Result<_, _>>()
        .map_err(unreadable)?;
    if lists.is_empty() { Err(TlsError::NoCrl(path.to_owned())) } else { Ok(lists) }
}

/// When a list expires, in seconds since the epoch.
fn next_update(list: &CertificateRevocationListDer<'_>, path: &Path) -> Result<i64, TlsError> {
    let bad = |error: String| TlsError::Crl { path: path.to_owned(), error };
    let (_, list) =
        CertificateRevocationList::from_der(list).map_err(|error| bad(error.to_string()))?;
    list.next_update()
        .map(|time| time.timestamp())
        .ok_or_else(|| bad("it does not say when the next one comes".into()))
}

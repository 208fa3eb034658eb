//! Which certificate is shown to which client.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_rustls::rustls::{
    SignatureScheme,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::certificate::Loaded;

/// Certificates by the names that they hold. A name may have several, of different kinds of keys; the
/// first that the client can verify is shown.
#[derive(Debug)]
pub(super) struct Names {
    /// The default, and others with the same names.
    default: Vec<Arc<CertifiedKey>>,
    exact: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// By what stands behind `*.`.
    wildcard: HashMap<String, Vec<Arc<CertifiedKey>>>,
}

impl Names {
    /// The first of `all` is the default, together with those that hold the same first name.
    pub(super) fn new(all: &[Loaded]) -> Self {
        let mut names =
            Self { default: Vec::new(), exact: HashMap::new(), wildcard: HashMap::new() };
        let default = all.first().map(|one| &one.names);
        for one in all {
            if Some(&one.names) == default {
                names.default.push(Arc::clone(&one.key));
            }
            for name in &one.names {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut names.wildcard, parent),
                    None => (&mut names.exact, name.as_str()),
                };
                map.entry(name.to_owned()).or_default().push(Arc::clone(&one.key));
            }
        }
        names
    }

    /// An exact name goes before a wildcard, which stands for one label (RFC 6125, section 6.4.3).
    fn find(
        &self,
        server_name: Option<&str>,
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let name = server_name.map(str::to_ascii_lowercase).unwrap_or_default();
        let parent = name.split_once('.').map(|(_, parent)| parent);
        let found = self.exact.get(&name).or_else(|| self.wildcard.get(parent?));
        let keys = found.unwrap_or(&self.default);
        let fits = |one: &&Arc<CertifiedKey>| one.key.choose_scheme(schemes).is_some();
        keys.iter().find(fits).or(keys.first()).map(Arc::clone)
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(hello.server_name(), hello.signature_schemes())
    }
}

//! Where the brokers of a service are asked for their loads.

use std::sync::Arc;

use super::spec::ServiceSpec;
use crate::load::source::{Source, SourceError};

/// The source that `spec` asks for, if any: `known` if it is the same, else a new one, with its files read.
pub fn prepare(
    spec: &ServiceSpec,
    known: Option<Arc<Source>>,
) -> Result<Option<Arc<Source>>, SourceError> {
    let Some(wanted) = &spec.settings.load else { return Ok(None) };
    let (service, proxy_header) = (spec.name.as_str(), spec.settings.send_proxy_protocol);
    if let Some(known) = known.filter(|known| known.is_of(wanted, service, proxy_header)) {
        return Ok(Some(known));
    }
    Source::load(wanted, service, proxy_header).map(|source| Some(Arc::new(source)))
}

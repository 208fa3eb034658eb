//! Where the brokers of a service are asked for their loads.

use std::sync::Arc;

use super::{header_of_our_own, spec::ServiceSpec};
use crate::load::source::{Source, SourceError};

/// The source that `spec` asks for, if any: `known` if it is the same, else a new one, with its files read.
pub fn prepare(
    spec: &ServiceSpec,
    known: Option<Arc<Source>>,
) -> Result<Option<Arc<Source>>, SourceError> {
    let Some(wanted) = &spec.settings.load else { return Ok(None) };
    let (service, preamble) = (spec.name.as_str(), header_of_our_own(&spec.settings));
    if let Some(known) = known.filter(|known| known.is_of(wanted, service, &preamble)) {
        return Ok(Some(known));
    }
    Source::load(wanted, service, preamble).map(|source| Some(Arc::new(source)))
}

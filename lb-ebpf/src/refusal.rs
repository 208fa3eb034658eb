//! How a service refuses, by its configuration.

use lb_common::{
    backend::{Backend, backend_flags},
    service::{Service, service_flags},
    verdict::Verdict,
};

use crate::{admission::Overload, parse::Segment, tables::Tables};

/// A connection attempt that no backend can take.
#[inline(always)]
pub(crate) const fn no_backend(service: &Service) -> Verdict {
    if service.flags & service_flags::RESET_WITHOUT_BACKEND != 0 {
        Verdict::NoBackendReset
    } else {
        Verdict::NoBackendDrop
    }
}

/// A segment of no known flow.
#[inline(always)]
pub(crate) const fn unknown_flow(service: &Service) -> Verdict {
    if service.flags & service_flags::RESET_UNKNOWN_FLOW != 0 {
        Verdict::UnknownFlowReset
    } else {
        Verdict::UnknownFlowDrop
    }
}

/// A SYN of a source that the service does not let in, or not so often.
#[inline(always)]
pub(crate) fn unadmitted(
    segment: &Segment,
    service: &Service,
    tables: &impl Tables,
) -> Result<(), Verdict> {
    if service.flags & service_flags::ADMITS == 0 {
        return Ok(());
    }
    tables.refuses(service.id, segment.source).map_or(Ok(()), Err)
}

/// A new connection for a backend that takes no more of them now.
#[inline(always)]
pub(crate) fn overloaded(
    id: u32,
    backend: &Backend,
    service: &Service,
    tables: &impl Tables,
) -> Result<(), Verdict> {
    if backend.flags & backend_flags::LIMITED == 0 {
        return Ok(());
    }
    match tables.overload(id) {
        None => Ok(()),
        Some(Overload::Paced) => Err(Verdict::BackendPaced),
        Some(Overload::Full) if service.flags & service_flags::RESET_WITHOUT_BACKEND != 0 => {
            Err(Verdict::BackendFullReset)
        }
        Some(Overload::Full) => Err(Verdict::BackendFullDrop),
    }
}

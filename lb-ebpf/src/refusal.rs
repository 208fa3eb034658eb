//! How a service refuses, by its configuration.

use lb_common::{
    service::{Service, service_flags},
    verdict::Verdict,
};

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

//! The services. What they carry is the sum over their backends, and is not repeated here.

use super::metric::{Metric, Values};
use crate::control::report::ServiceState;

pub(super) const METRICS: &[Metric] = &[
    Metric::gauge(
        "mqlb_service_info",
        &["service", "vip", "port", "mode", "check"],
        "A service: where clients connect to, how packets are forwarded, how brokers are checked; \
         always 1.",
        Values::OfServices(|service, samples| {
            let mode = service.mode.name();
            let (vip, port) = (service.vip.to_string(), service.port.to_string());
            samples.put(&[&vip, &port, mode, &service.check], 1_u64);
        }),
    ),
    Metric::gauge(
        "mqlb_service_state",
        &["service", "state"],
        "1 for the state that a service is in, 0 for the others.",
        Values::OfServices(|service, samples| samples.put_state(STATES, service.state)),
    ),
];

const STATES: &[(ServiceState, &str)] = &[
    (ServiceState::Ok, "ok"),
    (ServiceState::Degraded, "degraded"),
    (ServiceState::LastKnownGood, "last_known_good"),
    (ServiceState::Refusing, "refusing"),
];

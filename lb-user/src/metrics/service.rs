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
    Metric::counter(
        "mqlb_service_clients_refused_total",
        &["service", "reason"],
        "In the mode mqtt: clients that were not let in, by reason.",
        Values::OfServices(|service, samples| {
            let Some(proxy) = &service.proxy else { return };
            for (reason, clients) in &proxy.refusals {
                samples.put(&[reason], *clients);
            }
        }),
    ),
    Metric::gauge(
        "mqlb_service_clients_waiting",
        &["service"],
        "In the mode mqtt: clients whose CONNECT has not arrived.",
        Values::OfServices(|service, samples| {
            if let Some(proxy) = &service.proxy {
                samples.put(&[], proxy.waiting);
            }
        }),
    ),
    Metric::gauge(
        "mqlb_service_certificate_expiry_seconds",
        &["service", "file"],
        "In the mode mqtt: when a certificate that clients are shown ends, or a list of revoked ones; \
         seconds since 1970.",
        Values::OfServices(|service, samples| {
            let Some(proxy) = &service.proxy else { return };
            for (file, ends) in &proxy.certificates {
                samples.put(&[file], u64::try_from(*ends).unwrap_or_default());
            }
        }),
    ),
    Metric::gauge(
        "mqlb_service_slots",
        &["service", "state"],
        "Slots of the ring, of 65537, by state, where brokers answer directly: in_transition (new \
         connections go elsewhere than older ones), looked_up (tables are asked), learning \
         (connections from before are being noted).",
        Values::OfServices(|service, samples| {
            let Some(slots) = service.slots else { return };
            samples.put(&["in_transition"], u64::from(slots.in_transition));
            samples.put(&["looked_up"], u64::from(slots.looked_up));
            samples.put(&["learning"], u64::from(slots.learning));
        }),
    ),
];

const STATES: &[(ServiceState, &str)] = &[
    (ServiceState::Ok, "ok"),
    (ServiceState::Degraded, "degraded"),
    (ServiceState::LastKnownGood, "last_known_good"),
    (ServiceState::Refusing, "refusing"),
];

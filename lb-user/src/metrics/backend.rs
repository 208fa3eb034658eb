//! The backends: what they carry, whether they are up, and what share they get.

use super::metric::{Metric, Value, Values};
use crate::control::report::{BackendState, HealthState};

const LABELS: &[&str] = &["service", "backend"];
const WITH_DIRECTION: &[&str] = &["service", "backend", "direction"];

pub(super) const METRICS: &[Metric] = &[
    Metric::gauge(
        "mqlb_backend_info",
        &["service", "backend", "address", "port"],
        "Where a backend listens; always 1.",
        Values::OfBackends(|backend, samples| {
            samples.put(&[&backend.address.to_string(), &backend.port.to_string()], 1_u64);
        }),
    ),
    Metric::gauge(
        "mqlb_backend_connections",
        LABELS,
        "Connections that are open now.",
        Values::OfBackends(|backend, samples| samples.put(&[], backend.traffic.open)),
    ),
    Metric::counter(
        "mqlb_backend_connection_attempts_total",
        LABELS,
        "Connection attempts given to the backend.",
        Values::OfBackends(|backend, samples| samples.put(&[], backend.traffic.attempted)),
    ),
    Metric::counter(
        "mqlb_backend_connections_opened_total",
        LABELS,
        "Connections whose TCP handshake was completed.",
        Values::OfBackends(|backend, samples| samples.put(&[], backend.traffic.opened)),
    ),
    Metric::counter(
        "mqlb_backend_connections_refused_total",
        &["service", "backend", "reason"],
        "New connections refused: paced (more in that time than the backend takes); full (as many as \
         it takes are open).",
        Values::OfBackends(|backend, samples| {
            samples.put(&["paced"], backend.traffic.paced);
            samples.put(&["full"], backend.traffic.full);
        }),
    ),
    Metric::gauge(
        "mqlb_backend_connections_limit",
        LABELS,
        "The most connections that the backend takes, where that is limited.",
        Values::OfBackends(|backend, samples| {
            if let Some(connections) = backend.limits.connections {
                samples.put(&[], connections);
            }
        }),
    ),
    Metric::gauge(
        "mqlb_backend_new_connections_per_second_limit",
        LABELS,
        "The most new connections per second that the backend is given now, where that is limited.",
        Values::OfBackends(|backend, samples| {
            if let Some(rate) = backend.limits.new_per_second_now {
                samples.put(&[], rate);
            }
        }),
    ),
    Metric::counter(
        "mqlb_backend_connacks_total",
        &["service", "backend", "result"],
        "Answers to a CONNECT that passed by: accepted; refused (a reason that lies with the client); \
         unavailable (the broker cannot serve now); missing (no CONNACK).",
        Values::OfBackends(|backend, samples| {
            let connacks = backend.traffic.connacks;
            samples.put(&["accepted"], connacks.accepted);
            samples.put(&["refused"], connacks.refused);
            samples.put(&["unavailable"], connacks.unavailable);
            samples.put(&["missing"], connacks.missing);
        }),
    ),
    Metric::counter(
        "mqlb_backend_connections_closed_total",
        LABELS,
        "Connections that ended by FIN or RST; idle ones that were forgotten are not among them.",
        Values::OfBackends(|backend, samples| samples.put(&[], backend.traffic.closed)),
    ),
    Metric::counter(
        "mqlb_backend_packets_total",
        WITH_DIRECTION,
        "Packets forwarded.",
        Values::OfBackends(|backend, samples| {
            samples.put(&["to_backend"], backend.traffic.packets_to_backend);
            samples.put(&["to_client"], backend.traffic.packets_to_client);
        }),
    ),
    Metric::counter(
        "mqlb_backend_bytes_total",
        WITH_DIRECTION,
        "Bytes of the packets forwarded, IP headers included.",
        Values::OfBackends(|backend, samples| {
            samples.put(&["to_backend"], backend.traffic.bytes_to_backend);
            samples.put(&["to_client"], backend.traffic.bytes_to_client);
        }),
    ),
    Metric::gauge(
        "mqlb_backend_weight",
        LABELS,
        "The weight in force.",
        Values::OfBackends(|backend, samples| samples.put(&[], backend.weight)),
    ),
    Metric::gauge(
        "mqlb_backend_ring_ratio",
        LABELS,
        "The share of the service's new connections that the backend gets, 0 to 1.",
        Values::OfBackends(|backend, samples| samples.put(&[], backend.share)),
    ),
    Metric::gauge(
        "mqlb_backend_state",
        &["service", "backend", "state"],
        "1 for the state that a backend is in, 0 for the others.",
        Values::OfBackends(|backend, samples| samples.put_state(STATES, backend.state)),
    ),
    Metric::gauge(
        "mqlb_backend_up",
        LABELS,
        "Whether the health checks say that the backend is up; none for one that is not checked.",
        Values::OfBackends(|backend, samples| {
            if backend.health != HealthState::Unchecked {
                samples.put(&[], backend.health == HealthState::Up);
            }
        }),
    ),
    Metric::counter(
        "mqlb_backend_ejections_total",
        LABELS,
        "How often the backend was taken out because it refused too many clients.",
        Values::OfBackends(|backend, samples| samples.put(&[], backend.ejections)),
    ),
    Metric::gauge(
        "mqlb_backend_load",
        LABELS,
        "What the broker says of its own load, in the unit of its source; none while it is not known, \
         and where the policy does not ask.",
        Values::OfBackends(|backend, samples| {
            if let Some(load) = backend.load.as_ref().and_then(|load| load.value) {
                samples.put(&[], load);
            }
        }),
    ),
    Metric::gauge(
        "mqlb_backend_load_known",
        LABELS,
        "Whether the broker's own load is known, so that it counts; none where the policy does not ask.",
        Values::OfBackends(|backend, samples| {
            if let Some(load) = &backend.load {
                samples.put(&[], load.value.is_some());
            }
        }),
    ),
    Metric::counter(
        "mqlb_backend_load_reads_total",
        LABELS,
        "Readings of the broker's own load that ended.",
        Values::OfBackends(|backend, samples| {
            if let Some(load) = &backend.load {
                samples.put(&[], load.reads);
            }
        }),
    ),
    Metric::counter(
        "mqlb_backend_load_reads_failed_total",
        LABELS,
        "Readings of the broker's own load that failed: no answer, or no load in it.",
        Values::OfBackends(|backend, samples| {
            if let Some(load) = &backend.load {
                samples.put(&[], load.failed_reads);
            }
        }),
    ),
    Metric::gauge(
        "mqlb_backend_health_changed_timestamp_seconds",
        LABELS,
        "Unix time since which the health checks say what they say.",
        Values::OfBackends(|backend, samples| {
            if let Some(time) = backend.health_changed_at_s {
                samples.put(&[], time);
            }
        }),
    ),
    Metric::counter(
        "mqlb_backend_checks_total",
        LABELS,
        "Health checks that ended.",
        Values::OfBackends(|backend, samples| {
            if backend.health != HealthState::Unchecked {
                samples.put(&[], backend.checks.0);
            }
        }),
    ),
    Metric::counter(
        "mqlb_backend_checks_failed_total",
        LABELS,
        "Health checks that failed, through the backend's fault.",
        Values::OfBackends(|backend, samples| {
            if backend.health != HealthState::Unchecked {
                samples.put(&[], backend.checks.1);
            }
        }),
    ),
    Metric::gauge(
        "mqlb_backend_check_consecutive_failures",
        LABELS,
        "Failed health checks in a row, up to now.",
        Values::OfBackends(|backend, samples| {
            if backend.health != HealthState::Unchecked {
                samples.put(&[], backend.consecutive_failures);
            }
        }),
    ),
    Metric::gauge(
        "mqlb_backend_check_duration_seconds",
        LABELS,
        "How long the last successful health check took.",
        Values::OfBackends(|backend, samples| {
            if let Some(latency) = backend.check_latency_us {
                samples.put(&[], Value::seconds_of_us(latency));
            }
        }),
    ),
];

const STATES: &[(BackendState, &str)] = &[
    (BackendState::Active, "active"),
    (BackendState::Draining, "draining"),
    (BackendState::Drained, "drained"),
    (BackendState::Down, "down"),
    (BackendState::Checking, "checking"),
    (BackendState::Ejected, "ejected"),
    (BackendState::LastKnownGood, "last_known_good"),
];

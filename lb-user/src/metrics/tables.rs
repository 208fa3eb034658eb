//! How full the tables of the data plane are.

use super::metric::{Metric, Values};

pub(super) const METRICS: &[Metric] = &[
    Metric::gauge(
        "mqlb_table_entries",
        &["table"],
        "Entries of a table; those of flows and pending as of the last sweep.",
        Values::Once(|status, samples| {
            let tables = &status.tables;
            samples.put(&["flows"], tables.flows);
            samples.put(&["pending"], tables.pending);
            samples.put(&["backends"], tables.backends);
        }),
    ),
    Metric::gauge(
        "mqlb_table_entries_limit",
        &["table"],
        "The most entries that a table can have.",
        Values::Once(|status, samples| {
            let tables = &status.tables;
            samples.put(&["flows"], tables.flows_limit);
            samples.put(&["pending"], tables.pending_limit);
            samples.put(&["backends"], tables.backends_limit);
        }),
    ),
    Metric::gauge(
        "mqlb_source_ports_in_use",
        &["broker"],
        "Source ports towards a broker that a flow has or had lately, as of the last sweep.",
        Values::Once(|status, samples| {
            for broker in &status.tables.brokers {
                samples.put(&[&broker.address.to_string()], broker.ports_in_use);
            }
        }),
    ),
    Metric::gauge(
        "mqlb_source_ports_limit",
        &["broker"],
        "Source ports towards a broker, over all of the balancer's addresses.",
        Values::Once(|status, samples| {
            for broker in &status.tables.brokers {
                samples.put(&[&broker.address.to_string()], broker.ports);
            }
        }),
    ),
];

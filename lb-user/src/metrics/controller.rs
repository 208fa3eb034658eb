//! The controller: what runs, and whether it does as it is told.

use lb_common::layout;

use super::metric::{Metric, Value, Values};

pub(super) const METRICS: &[Metric] = &[
    Metric::gauge(
        "mqlb_build_info",
        &["version", "layout"],
        "The version of the controller, and that of the layout of its pinned tables; always 1.",
        Values::Once(|status, samples| {
            samples.put(&[&status.version, &layout::VERSION.to_string()], 1_u64);
        }),
    ),
    Metric::gauge(
        "mqlb_interface_info",
        &["interface"],
        "An interface that the XDP program is attached to; always 1.",
        Values::Once(|status, samples| {
            for interface in &status.interfaces {
                samples.put(&[interface], 1_u64);
            }
        }),
    ),
    Metric::gauge(
        "mqlb_config_last_reload_successful",
        &[],
        "Whether the configuration was accepted when it was read last.",
        Values::Once(|status, samples| {
            samples.put(&[], status.config_file.last_read_succeeded);
        }),
    ),
    Metric::gauge(
        "mqlb_config_last_reload_success_timestamp_seconds",
        &[],
        "Unix time at which the configuration was accepted last.",
        Values::Once(|status, samples| {
            samples.put(&[], status.config_file.accepted_at_s);
        }),
    ),
    Metric::gauge(
        "mqlb_config_changed_by_command",
        &[],
        "Whether changes are in force that were made by command and that the file does not say.",
        Values::Once(|status, samples| samples.put(&[], status.changed_by_command)),
    ),
    Metric::counter(
        "mqlb_changes_total",
        &["result"],
        "Changes of the data plane's tables: reloads, commands, health and clearing up.",
        Values::Once(|status, samples| {
            let changes = status.changes;
            samples.put(&["success"], changes.made);
            samples.put(&["failure"], changes.failed);
        }),
    ),
    Metric::gauge(
        "mqlb_last_change_duration_seconds",
        &[],
        "How long the last change of the data plane's tables took that succeeded.",
        Values::Once(|status, samples| {
            samples.put(&[], Value::seconds_of_us(status.changes.last_took_us));
        }),
    ),
    Metric::gauge(
        "mqlb_last_sweep_duration_seconds",
        &[],
        "How long the last collection of idle connections took.",
        Values::Once(|status, samples| {
            samples.put(&[], Value::seconds_of_us(status.tables.last_sweep_us));
        }),
    ),
];

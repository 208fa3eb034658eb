//! Metrics in the text format that Prometheus, and whatever reads its format, scrapes.
//!
//! Every metric is one entry of a list, with its name, its help and where its values come from:
//! nothing is registered or counted here, a scrape reads what the controller knows at that moment.
//! `docs/metrics.md` explains each of them; tests keep the two equal.
//!
//! Source: <https://prometheus.io/docs/instrumenting/exposition_formats/>, version 0.0.4.

mod backend;
mod controller;
mod metric;
mod packets;
mod process;
mod service;
mod tables;
mod text;

#[cfg(test)]
mod documented;
#[cfg(test)]
mod tests;

pub use process::Process;

use crate::control::report::Status;
use metric::Metric;

/// The media type of what [`render`] returns.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Every metric there is, in the order in which they are rendered.
fn all() -> impl Iterator<Item = &'static Metric> {
    let lists = [
        controller::METRICS,
        packets::METRICS,
        tables::METRICS,
        service::METRICS,
        backend::METRICS,
        process::METRICS,
    ];
    lists.into_iter().flatten()
}

/// All metrics, as text: what the controller says about itself and the data plane, and what the
/// kernel says about the controller's process.
#[must_use]
pub fn render(status: &Status, process: &Process) -> String {
    let mut text = String::new();
    for metric in all() {
        metric.render(status, process, &mut text);
    }
    text
}

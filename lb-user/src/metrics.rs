//! The state of the balancer in the text format of Prometheus.

use std::fmt::Write;

use crate::control::report::{BackendReport, Status};

/// The media type of [`render`]'s text: the exposition format, version 0.0.4.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The metrics of `status`.
#[must_use]
pub fn render(status: &Status) -> String {
    let mut text = String::new();
    family(&mut text, "mqlb_packets_total", "counter", "Packets by verdict.");
    for (verdict, packets) in &status.verdicts {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "mqlb_packets_total{{verdict=\"{verdict}\"}} {packets}");
    }
    family(&mut text, "mqlb_backend_connections", "gauge", "Connections that are open.");
    for backend in status.services.iter().flat_map(|service| &service.backends) {
        let BackendReport { service, name, traffic, .. } = backend;
        let labels = format!("service=\"{service}\",backend=\"{name}\"");
        let _ = writeln!(text, "mqlb_backend_connections{{{labels}}} {}", traffic.open);
    }
    text
}

fn family(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

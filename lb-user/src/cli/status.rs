//! `mqlb status`

use std::{fmt::Write, time::Duration};

use lb_common::verdict::{Action, Verdict};

use super::{Outcome, output::Output, service};
use crate::api::{
    client::Client,
    types::{BackendReport, Status},
};

/// Shows how it is going.
pub(super) async fn status(client: &Client, output: Output) -> Outcome {
    let status = client.status().await?;
    if output.json { output.data(&status) } else { output.text(&render(&status, output.colour)) }
}

fn render(status: &Status, colour: bool) -> String {
    let mut text = String::new();
    let uptime = humantime::format_duration(Duration::from_secs(status.uptime_s));
    let tables = &status.tables;
    let open: u64 = status.services.iter().map(|service| service.traffic.open).sum();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "mqlb {}, process {}, up {uptime}", status.version, status.pid);
    let _ = writeln!(text, "configuration  {}", status.config);
    if status.changed_by_command {
        let _ = writeln!(text, "               changed by command: see `mqlb reload --dry-run`");
    }
    let interfaces = status.interfaces.join(", ");
    let interfaces = if interfaces.is_empty() { "none" } else { &interfaces };
    let _ = writeln!(text, "interfaces     {interfaces}");
    let _ = writeln!(
        text,
        "connections    {open} open; table: {} of {}, handshakes {} of {}, backends {} of {}",
        tables.flows,
        tables.flows_limit,
        tables.pending,
        tables.pending_limit,
        tables.backends,
        tables.backends_limit
    );
    for (title, actions) in [
        ("forwarded", &[Action::Forward][..]),
        ("answered", &[Action::Reply]),
        ("dropped", &[Action::Drop]),
        ("to the kernel", &[Action::Pass]),
    ] {
        let _ = writeln!(text, "{title:14} {}", verdicts(status, actions));
    }
    text.push('\n');
    text.push_str(&service::table(&status.services).render(colour));
    text.push_str(&unknown_loads(status));
    text
}

/// A line for each backend whose load should be known and is not.
fn unknown_loads(status: &Status) -> String {
    let backends = status.services.iter().flat_map(|service| &service.backends);
    let line = |backend: &BackendReport| {
        let load = backend.load.as_ref().filter(|load| load.value.is_none())?;
        let why = load.last_error.as_deref().unwrap_or("it has not been read yet");
        let (service, name) = (&backend.service, &backend.name);
        Some(format!("the load of {service}/{name} is not known: {why}\n"))
    };
    let lines: String = backends.filter_map(line).collect();
    if lines.is_empty() { lines } else { format!("\n{lines}") }
}

/// Packets by verdict, of those verdicts that lead to one of `actions`.
fn verdicts(status: &Status, actions: &[Action]) -> String {
    let of_action = Verdict::ALL.iter().filter(|verdict| actions.contains(&verdict.action()));
    let counted = of_action.filter_map(|verdict| {
        let packets = status.verdicts.get(verdict.name()).filter(|packets| **packets > 0)?;
        Some(format!("{} {packets}", verdict.name()))
    });
    let counted: Vec<String> = counted.collect();
    if counted.is_empty() { "none".to_owned() } else { counted.join(", ") }
}

//! `mqlb service list`

use std::net::SocketAddr;

use super::{
    Outcome,
    output::Output,
    table::{Cell, Table},
};
use crate::api::{
    client::Client,
    types::{ServiceReport, ServiceState},
};

/// Lists the services.
pub(super) async fn list(client: &Client, output: Output) -> Outcome {
    let services = client.services().await?;
    if output.json { output.data(&services) } else { output.table(&table(&services)) }
}

/// The services, a line each.
pub(super) fn table(services: &[ServiceReport]) -> Table {
    let mut table =
        Table::new(&["SERVICE", "ADDRESS", "MODE", "STATE", "ACCEPTING", "CHECK", "OPEN", "TOTAL"]);
    for service in services {
        let accepting = service.backends.iter().filter(|backend| backend.slots > 0).count();
        table.row(vec![
            Cell::text(&service.name),
            Cell::text(SocketAddr::new(service.vip, service.port)),
            Cell::text(service.mode.name()),
            state(service.state),
            Cell::text(format!("{accepting} of {}", service.backends.len())),
            Cell::text(&service.check),
            Cell::number(open(service)),
            Cell::number(service.traffic.opened),
        ]);
    }
    table
}

/// Connections; with a `+` if there may be more, which no table has to tell apart.
fn open(service: &ServiceReport) -> String {
    let more = if service.slots.is_some() { "+" } else { "" };
    format!("{}{more}", service.traffic.open)
}

fn state(state: ServiceState) -> Cell {
    match state {
        ServiceState::Ok => Cell::good("ok"),
        ServiceState::Degraded => Cell::warning("degraded"),
        ServiceState::LastKnownGood => Cell::bad("last known good"),
        ServiceState::Refusing => Cell::bad("refusing"),
    }
}

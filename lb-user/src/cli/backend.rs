//! `mqlb backend`

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{
    Outcome,
    args::{BackendRef, NewRef, Place},
    failure::Failure,
    output::Output,
    table::{Cell, Table},
};
use crate::{
    api::{
        client::Client,
        types::{
            BackendFilter, BackendReport, BackendState, EjectedReport, HealthState, NewBackend,
        },
    },
    config::model::Weight,
};

/// Lists the backends.
pub(super) async fn list(client: &Client, output: Output, service: Option<String>) -> Outcome {
    let backends = client.backends(&BackendFilter { service }).await?;
    if output.json { output.data(&backends) } else { output.table(&table(&backends)) }
}

/// Adds a backend.
pub(super) async fn add(
    client: &Client,
    output: Output,
    backend: &NewRef,
    place: Place,
    weight: Weight,
) -> Outcome {
    let Place { address, port } = place;
    let new = NewBackend { name: backend.name.clone(), address, port, weight: Some(weight) };
    output.changed(&client.add(&backend.service, &new).await?)
}

/// Drains a backend and, if wanted, waits until it has no connections left.
pub(super) async fn drain(
    client: &Client,
    output: Output,
    backend: &BackendRef,
    wait: bool,
    timeout: Option<Duration>,
) -> Outcome {
    let BackendRef { service, name } = backend;
    let mut changed = client.drain(service, name, true).await?;
    if wait {
        wait_until_empty(client, output, backend, timeout).await?;
        changed.backend = Some(client.backend(service, name).await?);
        changed.message = format!("{service}/{name} is drained: no connections are left");
    } else if let Some(report) = &changed.backend {
        changed.message = format!("{}, connections left: {}", changed.message, left(report));
    }
    output.changed(&changed)
}

async fn wait_until_empty(
    client: &Client,
    output: Output,
    backend: &BackendRef,
    timeout: Option<Duration>,
) -> Outcome {
    const LOOK_EVERY: Duration = Duration::from_secs(1);
    let BackendRef { service, name } = backend;
    let began = Instant::now();
    let mut shown = None;
    let mut empty = false;
    loop {
        let report = client.backend(service, name).await?;
        let (open, known) = (report.traffic.open, report.open_known_in_s == Some(0));
        if report.state == BackendState::Drained {
            // Twice: a handshake that was under way becomes a connection a moment later.
            if empty {
                return Ok(());
            }
            empty = true;
        } else if report.state == BackendState::Draining {
            empty = false;
        } else {
            let error = format!("{service}/{name} is not drained any more");
            return Err(Failure::failed(&error, "somebody else has undrained it meanwhile"));
        }
        if shown != Some((open, known)) && (open > 0 || !known) {
            output.message(&format!("{service}/{name}: connections left: {}", left(&report)));
            shown = Some((open, known));
        }
        if (open > 0 || !known) && timeout.is_some_and(|timeout| began.elapsed() >= timeout) {
            let error = format!("{service}/{name} still has connections: {}", left(&report));
            let hint = "it stays drained; wait again, or `mqlb backend remove` resets them";
            return Err(Failure::failed(&error, hint));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// How many connections are left, as far as it is known.
fn left(report: &BackendReport) -> String {
    let open = report.traffic.open;
    match report.open_known_in_s {
        Some(0) => open.to_string(),
        Some(seconds) => {
            let left = humantime::format_duration(Duration::from_secs(seconds));
            format!("{open} known so far, all of them in {left}")
        }
        None => format!("{open} known, and those that no table has to tell apart"),
    }
}

/// The backends, a line each.
fn table(backends: &[BackendReport]) -> Table {
    let mut table = Table::new(&[
        "BACKEND",
        "ADDRESS",
        "STATE",
        "HEALTH",
        "WEIGHT",
        "SHARE",
        "OPEN",
        "TOTAL",
        "LAST ERROR",
    ]);
    for backend in backends {
        table.row(vec![
            Cell::text(format!("{}/{}", backend.service, backend.name)),
            Cell::text(SocketAddr::new(backend.address, backend.port)),
            state(backend.state),
            health(backend),
            Cell::number(backend.weight),
            Cell::number(format!("{:.1}%", backend.share * 100.0)),
            Cell::number(open(backend)),
            Cell::number(backend.traffic.opened),
            Cell::text(trouble(backend)),
        ]);
    }
    table
}

/// Why it is out for refusing clients, or why its last check failed.
fn trouble(backend: &BackendReport) -> String {
    let Some(EjectedReport { left_s, refused, answers, .. }) = backend.ejected else {
        return backend.last_error.clone().unwrap_or_default();
    };
    let left = humantime::format_duration(Duration::from_secs(left_s));
    format!("refused {refused} of {answers} clients; back in {left}")
}

/// Connections; with a `+` if there may be more, which no table has to tell apart.
fn open(backend: &BackendReport) -> String {
    let more = if backend.open_known_in_s == Some(0) { "" } else { "+" };
    format!("{}{more}", backend.traffic.open)
}

fn state(state: BackendState) -> Cell {
    match state {
        BackendState::Active => Cell::good("active"),
        BackendState::Draining => Cell::warning("draining"),
        BackendState::Drained => Cell::warning("drained"),
        BackendState::Down => Cell::bad("down"),
        BackendState::Ejected => Cell::bad("ejected"),
        BackendState::Checking => Cell::warning("checking"),
        BackendState::LastKnownGood => Cell::bad("last known good"),
    }
}

fn health(backend: &BackendReport) -> Cell {
    let since = backend.health_since_s.map_or_else(String::new, |seconds| {
        format!(" {}", humantime::format_duration(Duration::from_secs(seconds)))
    });
    match backend.health {
        HealthState::Unchecked => Cell::text("unchecked"),
        HealthState::Unknown => Cell::warning("unknown"),
        HealthState::Up => Cell::good(format!("up{since}")),
        HealthState::Down => Cell::bad(format!("down{since}")),
    }
}

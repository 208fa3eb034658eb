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
    load::number,
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

/// The place of what brokers tell of their loads: beside their connections.
const LOAD: usize = 8;

/// What the broker says of its load.
fn load(backend: &BackendReport) -> Cell {
    let Some(load) = &backend.load else { return Cell::number("-") };
    load.value.map_or_else(|| Cell::warning("unknown"), |load| Cell::number(number::short(load)))
}

/// The backends, a line each.
fn table(backends: &[BackendReport]) -> Table {
    let mut titles = vec![
        "BACKEND",
        "ADDRESS",
        "STATE",
        "HEALTH",
        "WEIGHT",
        "SHARE",
        "NEW/S",
        "OPEN",
        "TOTAL",
        "LAST ERROR",
    ];
    // Few have it.
    let with_load = backends.iter().any(|backend| backend.load.is_some());
    if with_load {
        titles.insert(LOAD, "LOAD");
    }
    let mut table = Table::new(&titles);
    for backend in backends {
        let mut row = vec![
            Cell::text(format!("{}/{}", backend.service, backend.name)),
            Cell::text(SocketAddr::new(backend.address, backend.port)),
            state(backend.state),
            health(backend),
            Cell::number(backend.weight),
            Cell::number(format!("{:.1}%", backend.share * 100.0)),
            Cell::number(new_per_second(backend)),
            Cell::number(open(backend)),
            Cell::number(backend.traffic.opened),
            Cell::text(trouble(backend)),
        ];
        if with_load {
            row.insert(LOAD, load(backend));
        }
        table.row(row);
    }
    table
}

/// How many new connections per second it is given at most.
fn new_per_second(backend: &BackendReport) -> String {
    match (backend.limits.new_per_second_now, backend.limits.new_per_second) {
        (Some(now), Some(full)) if now < full => format!("{now} of {full}"),
        (_, full) => full.map_or_else(|| "-".to_owned(), |full| full.to_string()),
    }
}

/// Why it is out for refusing clients, or why its last check failed, or the last reading of its load.
fn trouble(backend: &BackendReport) -> String {
    let Some(EjectedReport { left_s, refused, answers, .. }) = backend.ejected else {
        let of_load = || Some(format!("load: {}", backend.load.as_ref()?.last_error.as_ref()?));
        return backend.last_error.clone().or_else(of_load).unwrap_or_default();
    };
    let left = humantime::format_duration(Duration::from_secs(left_s));
    format!("refused {refused} of {answers} clients; back in {left}")
}

/// Connections; with a `+` if there may be more, which no table has to tell apart.
fn open(backend: &BackendReport) -> String {
    let more = if backend.open_known_in_s == Some(0) { "" } else { "+" };
    let limit = backend.limits.connections.map_or_else(String::new, |most| format!(" of {most}"));
    format!("{}{more}{limit}", backend.traffic.open)
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

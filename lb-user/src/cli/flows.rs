//! `mqlb flows`

use std::time::Duration;

use super::{
    Outcome,
    args::FlowsArgs,
    output::Output,
    table::{Cell, Table},
};
use crate::api::{
    client::Client,
    types::{FlowFilter, FlowReport, Flows},
};

/// Lists or counts connections.
pub(super) async fn flows(client: &Client, output: Output, args: FlowsArgs) -> Outcome {
    let backend = args.backend.map(|backend| (backend.service, backend.name));
    let (service, backend) = match backend {
        Some((service, name)) => (Some(service), Some(name)),
        None => (args.service, None),
    };
    let limit = Some(if args.count { 0 } else { args.limit });
    let filter = FlowFilter { service, backend, client: args.client, limit };
    let flows = client.flows(&filter).await?;
    if output.json {
        return output.data(&flows);
    }
    if args.count {
        return output.table(&counts(&flows));
    }
    output.table(&list(&flows.flows))?;
    if flows.count > flows.flows.len() as u64 {
        let shown = flows.flows.len();
        let total = flows.count;
        output.message(&format!("{shown} of {total} shown; --limit N shows more, --count counts"));
    }
    Ok(())
}

fn counts(flows: &Flows) -> Table {
    let mut table = Table::new(&["BACKEND", "CONNECTIONS"]);
    for (backend, count) in &flows.by_backend {
        table.row(vec![Cell::text(backend), Cell::number(count)]);
    }
    table.row(vec![Cell::text("total"), Cell::number(flows.count)]);
    table
}

fn list(flows: &[FlowReport]) -> Table {
    let named = flows.iter().any(|flow| flow.client_id.is_some());
    let asked = flows.iter().any(|flow| flow.server_name.is_some());
    let mut columns = vec!["CLIENT", "BACKEND", "SOURCE", "STATE", "IDLE", "TIMEOUT"];
    columns.extend(named.then_some(["CLIENT ID", "USER"]).into_iter().flatten());
    columns.extend(asked.then_some("SERVER NAME"));
    let mut table = Table::new(&columns);
    for flow in flows {
        let service = flow.service.as_ref().map_or("(removed)", AsRef::as_ref);
        let backend = flow.backend.as_ref().map_or("(removed)", AsRef::as_ref);
        let duration = |seconds| humantime::format_duration(Duration::from_secs(seconds));
        let mut row = vec![
            Cell::text(flow.client),
            Cell::text(format!("{service}/{backend}")),
            Cell::text(flow.source.map_or_else(|| "?".to_owned(), |source| source.to_string())),
            Cell::text(if flow.closed { "closed" } else { "open" }),
            Cell::text(duration(flow.idle_s)),
            Cell::text(duration(flow.idle_timeout_s)),
        ];
        // Whatever a client calls itself, it shall not write to somebody's terminal.
        let said =
            |text: &Option<String>| text.as_deref().unwrap_or("-").escape_debug().to_string();
        if named {
            row.extend([Cell::text(said(&flow.client_id)), Cell::text(said(&flow.username))]);
        }
        if asked {
            row.push(Cell::text(said(&flow.server_name)));
        }
        table.row(row);
    }
    table
}

//! `mqlb service rebalance`

use std::{
    io::{IsTerminal as _, Write as _},
    num::NonZeroU32,
    time::Duration,
};

use super::{
    Outcome,
    args::RebalanceArgs,
    failure::Failure,
    output::Output,
    table::{Cell, Table},
};
use crate::{
    api::{
        client::Client,
        types::{RebalanceOrder, RebalanceReport},
    },
    proxy::rebalancing::Ended,
};

const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Characters of the progress bar.
const BAR: u32 = 40;

/// Begins a rebalancing and watches it, or says what it would do, or ends it.
pub(super) async fn rebalance(client: &Client, output: Output, args: RebalanceArgs) -> Outcome {
    let service = args.service.as_str();
    if args.stop {
        let report = client.rebalancing(service, true).await?;
        return end(output, service, &report);
    }
    let order = RebalanceOrder {
        dry_run: args.dry_run,
        rate: NonZeroU32::new(args.rate).unwrap_or(NonZeroU32::MIN),
        tolerance_percent: args.tolerance,
        keep_sessions: args.keep_sessions,
    };
    let begun = client.rebalance(service, &order).await?;
    if args.dry_run || args.no_wait {
        return plan(output, service, &begun);
    }
    let shows = !output.json && std::io::stderr().is_terminal();
    let report = loop {
        let report = client.rebalancing(service, false).await?;
        if shows {
            // Nobody is left to be told if this fails.
            let _ = write!(std::io::stderr(), "\r{}", bar(report.moved, report.moves));
        }
        if report.end.is_some() {
            break report;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    if shows {
        let _ = writeln!(std::io::stderr());
    }
    end(output, service, &report)
}

fn plan(output: Output, service: &str, report: &RebalanceReport) -> Outcome {
    if output.json {
        return output.data(report);
    }
    let mut table = Table::new(&["BACKEND", "OPEN", "SHARE", "TO MOVE"]);
    for one in &report.backends {
        table.row(vec![
            Cell::text(format!("{service}/{}", one.name)),
            Cell::number(one.connections),
            Cell::number(one.share),
            Cell::number(one.surplus),
        ]);
    }
    output.table(&table)?;
    let took = humantime::format_duration(Duration::from_secs(report.seconds.into()));
    output.text(&match report.moves {
        0 => format!("{service} is balanced: nothing to move\n"),
        moves => format!("{moves} connections to move, in {took} or more\n"),
    })
}

fn end(output: Output, service: &str, report: &RebalanceReport) -> Outcome {
    if output.json {
        return output.data(report);
    }
    let moved = report.moved;
    match report.end {
        Some(Ended::Balanced) => {
            output.text(&format!("{service} is balanced: {moved} connections were moved\n"))
        }
        Some(Ended::OnlySessions) => output.text(&format!(
            "{service}: {moved} connections were moved; clients with sessions stay\n"
        )),
        Some(Ended::Futile) => {
            let error = format!("{moved} clients of {service} were moved, and came back");
            let hint = "choose a policy that looks at connections, such as least_connections, or \
                        weights that fit the one there is";
            Err(Failure::failed(&error, hint))
        }
        Some(Ended::Stopped) | None => {
            output.text(&format!("{service}: stopped after {moved} of {}\n", report.moves))
        }
    }
}

/// A line that takes the place of the one before.
fn bar(moved: u32, all: u32) -> String {
    let part = u64::from(moved.min(all)) * u64::from(BAR);
    let done = part.checked_div(all.into()).unwrap_or(BAR.into()) as usize;
    let (full, empty) = ("#".repeat(done), ".".repeat(BAR as usize - done));
    format!("[{full}{empty}] {moved} of {all} connections moved")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_as_long_whatever_it_shows() {
        assert_eq!(bar(0, 10), format!("[{}] 0 of 10 connections moved", ".".repeat(40)));
        let half = format!("[{}{}] 5 of 10 connections moved", "#".repeat(20), ".".repeat(20));
        assert_eq!(bar(5, 10), half);
        for (moved, moves) in [(12, 10), (0, 0), (u32::MAX, u32::MAX)] {
            assert!(bar(moved, moves).starts_with(&format!("[{}]", "#".repeat(40))));
        }
    }
}

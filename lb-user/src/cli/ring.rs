//! `mqlb ring`

use std::{path::PathBuf, str::FromStr};

use clap::Subcommand;

use super::{
    Outcome,
    args::{BackendRef, NewRef, Place, weight},
    failure::Failure,
    output::Output,
    table::{Cell, Table},
};
use crate::{
    api::{
        client::Client,
        types::{RingChange, RingCommand, RingDiffReport, ServiceMoves},
    },
    config::{self, model::Weight},
};

#[derive(Debug, Subcommand)]
pub(super) enum RingSubcommand {
    /// Say what a change would move, without making it
    Diff(DiffArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mqlb ring diff                            what `mqlb reload` would move
  mqlb ring diff --add mqtt/broker-4=10.0.1.14:1883
  mqlb ring diff --drain mqtt/broker-1 --weight mqtt/broker-2=50
  mqlb ring diff new.yaml                   what a reload would move with this file

Nothing is changed. Slots that get another owner are a share of the new connections; connections
that are open stay where they are, but for those of removed backends, which are reset. New backends
are counted as if they were up, all others as they are now.")]
pub(super) struct DiffArgs {
    /// Configuration file that would be reloaded; the one of the running mqlb if nothing is named
    #[arg(value_name = "FILE",
          conflicts_with_all = ["add", "weight", "drain", "undrain", "remove"])]
    file: Option<PathBuf>,
    /// A backend would be added
    #[arg(long, value_name = "SERVICE/BACKEND=ADDRESS[:PORT]")]
    add: Vec<Pair<NewRef, Place>>,
    /// A backend, one of --add for instance, would get this weight
    #[arg(long, value_name = "SERVICE/BACKEND=N")]
    weight: Vec<Pair<BackendRef, NewWeight>>,
    /// A backend would be drained
    #[arg(long, value_name = "SERVICE/BACKEND")]
    drain: Vec<BackendRef>,
    /// A backend would not be drained any more
    #[arg(long, value_name = "SERVICE/BACKEND")]
    undrain: Vec<BackendRef>,
    /// A backend would be removed
    #[arg(long, value_name = "SERVICE/BACKEND")]
    remove: Vec<BackendRef>,
}

/// Two things with an equals sign between.
#[derive(Clone, Debug)]
struct Pair<A, B>(A, B);

impl<A, B> FromStr for Pair<A, B>
where
    A: FromStr<Err = String>,
    B: FromStr<Err = String>,
{
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((left, right)) = text.split_once('=') else {
            return Err(format!("{text:?} lacks the = behind the backend"));
        };
        Ok(Self(left.parse()?, right.parse()?))
    }
}

#[derive(Clone, Copy, Debug)]
struct NewWeight(Weight);

impl FromStr for NewWeight {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        weight(text).map(Self)
    }
}

/// Says what a change would move.
pub(super) async fn diff(client: &Client, output: Output, args: DiffArgs) -> Outcome {
    let report = client.ring_diff(&change(args)?).await?;
    if output.json {
        return output.data(&report);
    }
    for note in &report.notes {
        output.message(&format!("note: {note}"));
    }
    if report.services.is_empty() {
        output.message("nothing would move");
        return Ok(());
    }
    output.text(&text(&report, output.colour))
}

fn change(args: DiffArgs) -> Result<RingChange, Failure> {
    if let Some(path) = args.file {
        // Its mistakes are named here, with the name of the file; mqlb may not be able to read it.
        config::load(&path)?;
        let file = std::fs::read_to_string(&path)
            .map_err(|error| Failure::wrong(&error, "name a file that can be read"))?;
        return Ok(RingChange { file: Some(file), commands: Vec::new() });
    }
    let add = args.add.into_iter().map(|Pair(backend, place)| RingCommand::Add {
        service: backend.service,
        name: backend.name,
        address: place.address,
        port: place.port,
        weight: None,
    });
    let weight = args.weight.into_iter().map(|Pair(backend, weight)| RingCommand::Weight {
        service: backend.service,
        name: backend.name,
        weight: weight.0,
    });
    let drain = args
        .drain
        .into_iter()
        .map(|BackendRef { service, name }| RingCommand::Drain { service, name });
    let undrain = args
        .undrain
        .into_iter()
        .map(|BackendRef { service, name }| RingCommand::Undrain { service, name });
    let remove = args
        .remove
        .into_iter()
        .map(|BackendRef { service, name }| RingCommand::Remove { service, name });
    let commands = add.chain(weight).chain(drain).chain(undrain).chain(remove).collect();
    Ok(RingChange { file: None, commands })
}

fn text(report: &RingDiffReport, colour: bool) -> String {
    let parts = report.services.iter().map(|moves| {
        format!("{}{}{}", headline(moves), table(moves).render(colour), connections(moves))
    });
    parts.collect::<Vec<_>>().join("\n")
}

fn headline(moves: &ServiceMoves) -> String {
    let ServiceMoves { service, moved, slots, .. } = moves;
    let share = f64::from(*moved) / f64::from((*slots).max(1)) * 100.0;
    format!("{service}: {moved} of {slots} slots get another owner ({share:.1}%)\n")
}

fn table(moves: &ServiceMoves) -> Table {
    let mut table =
        Table::new(&["BACKEND", "SLOTS", "THEN", "GAINS", "LOSES", "CONNECTIONS", "NOTE"]);
    for backend in &moves.backends {
        let note = match (backend.removed, backend.slots_before) {
            (true, _) => Cell::bad("removed: its connections are reset"),
            (false, 0) if backend.slots_after > 0 => Cell::good("begins"),
            (false, 1..) if backend.slots_after == 0 => Cell::warning("gets no new connections"),
            _ => Cell::text(""),
        };
        let more = if moves.connections.complete { "" } else { "+" };
        table.row(vec![
            Cell::text(format!("{}/{}", moves.service, backend.name)),
            Cell::number(backend.slots_before),
            Cell::number(backend.slots_after),
            Cell::number(backend.gains),
            Cell::number(backend.loses),
            Cell::number(format!("{}{more}", backend.connections)),
            note,
        ]);
    }
    table
}

fn connections(moves: &ServiceMoves) -> String {
    let all = &moves.connections;
    let stay = all.known.saturating_sub(all.reset);
    let mut text = format!(
        "open connections: {stay} stay, {} of them would go elsewhere if they came back; {} are reset\n",
        all.on_moved_slots, all.reset
    );
    if !all.complete {
        text += "brokers answer directly: these are the connections that a table holds; of the \
                 others, those of removed backends are reset, and all others stay\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::types::{BackendMoves, ConnectionMoves},
        config::model::Mode,
    };

    fn backend(name: &str, before: u32, after: u32, removed: bool) -> BackendMoves {
        BackendMoves {
            name: name.parse().unwrap(),
            slots_before: before,
            slots_after: after,
            gains: after.saturating_sub(before),
            loses: before.saturating_sub(after),
            connections: 10,
            removed,
        }
    }

    fn report(complete: bool) -> RingDiffReport {
        let moves = ServiceMoves {
            service: "mqtt".parse().unwrap(),
            mode: Mode::Nat,
            slots: 65_537,
            moved: 21_846,
            backends: vec![
                backend("b1", 32_769, 0, true),
                backend("b2", 32_768, 43_691, false),
                backend("b3", 0, 21_846, false),
            ],
            connections: ConnectionMoves { known: 30, on_moved_slots: 7, reset: 10, complete },
        };
        RingDiffReport { services: vec![moves], notes: vec![] }
    }

    #[test]
    fn a_change_is_shown_by_service_and_backend() {
        assert_eq!(
            text(&report(true), false),
            "mqtt: 21846 of 65537 slots get another owner (33.3%)\n\
             BACKEND  SLOTS   THEN  GAINS  LOSES  CONNECTIONS  NOTE\n\
             mqtt/b1  32769      0      0  32769           10  removed: its connections are reset\n\
             mqtt/b2  32768  43691  10923      0           10\n\
             mqtt/b3      0  21846  21846      0           10  begins\n\
             open connections: 20 stay, 7 of them would go elsewhere if they came back; 10 are reset\n"
        );
    }

    #[test]
    fn what_no_table_holds_is_said_to_be_missing() {
        let text = text(&report(false), false);
        assert!(text.contains("10+") && text.contains("a table holds"), "{text}");
    }
}

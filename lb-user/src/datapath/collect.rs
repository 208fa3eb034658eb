//! Takes entries out of the tables of flows: those whose time is over, and those of a backend
//! that is removed. One system call serves thousands of entries.

use std::collections::BTreeMap;

use lb_common::{
    flow::{Flow, FlowKey},
    port::{Port, port_flags},
};

use super::{
    known::Known,
    orphans::{Named, Suspects},
    sweep::{self, Claim, PortState, Stage},
    table::Table,
    tables::Tables,
};
use crate::control::datapath::{DatapathError, SweepReport};

/// What one pass over a table found.
#[derive(Debug, Default)]
struct Pass {
    left: u64,
    open: BTreeMap<u32, u64>,
    expired: BTreeMap<u32, u64>,
}

/// One pass over both tables and all ports.
pub(super) fn everything(
    tables: &Tables,
    known: &Known,
    suspects: &mut Suspects,
    now: u32,
) -> Result<SweepReport, DatapathError> {
    let mut named = Named::default();
    let handshakes = pass(&tables.pending, known, Stage::Handshake, now, Some(&mut named))?;
    // After the handshakes: a flow that is promoted meanwhile is found in the second table.
    let connections = pass(&tables.flows, known, Stage::Connection, now, Some(&mut named))?;
    let mut next = Suspects::default();
    let found: u64 = known
        .ports
        .iter()
        .map(|(peer, ports)| suspects.look(*peer, ports, &named, now, &mut next))
        .sum();
    *suspects = next;
    if found > 0 {
        tracing::info!(ports = found, "freed source ports that no flow had");
    }
    let rest = known.settings.rest_ticks;
    let taken = |ports: &[Port]| ports.iter().filter(|p| sweep::is_taken(p, now, rest)).count();
    Ok(SweepReport {
        ports: known.ports.iter().map(|(peer, ports)| (*peer, taken(ports) as u64)).collect(),
        flows: connections.left,
        pending: handshakes.left,
        expired: connections.expired,
        open: connections.open,
    })
}

/// One pass over the handshakes; returns how many are left.
pub(super) fn handshakes(tables: &Tables, known: &Known, now: u32) -> Result<u64, DatapathError> {
    Ok(pass(&tables.pending, known, Stage::Handshake, now, None)?.left)
}

fn pass(
    table: &Table<FlowKey, Flow>,
    known: &Known,
    stage: Stage,
    now: u32,
    mut named: Option<&mut Named>,
) -> Result<Pass, DatapathError> {
    let mut pass = Pass::default();
    let mut gone = Vec::new();
    table.visit(|keys, flows| {
        gone.clear();
        for (key, flow) in keys.iter().zip(flows) {
            let place = known.place(flow);
            let over = sweep::is_over(flow, now, known.settings.closed_ticks);
            if over && release(known, place, key, flow, stage, now) {
                gone.push(*key);
                if !flow.is_closed() {
                    *pass.expired.entry(flow.backend()).or_default() += 1;
                }
                continue;
            }
            pass.left += 1;
            if !flow.is_closed() {
                *pass.open.entry(flow.backend()).or_default() += 1;
            }
            if let (Some(named), Some((peer, index))) = (named.as_deref_mut(), place) {
                named.note(peer, index);
            }
        }
        table.remove_batch(&gone).map(drop)
    })?;
    Ok(pass)
}

/// Lets the port of an entry rest; whether the entry may be removed now.
///
/// The port comes first: who takes it away removes the entry, the fast path or this one, and a
/// crash in between leaves an entry that the next pass finds.
fn release(
    known: &Known,
    place: Option<(u32, usize)>,
    key: &FlowKey,
    flow: &Flow,
    stage: Stage,
    now: u32,
) -> bool {
    let Some(port) = place.and_then(|place| known.port(place)) else { return true };
    match sweep::claim(&PortState::read(port), key, flow, stage, now) {
        Claim::Own(owner) => sweep::rest(port, owner, now),
        Claim::Lost => true,
        Claim::Leaving => false,
    }
}

/// Removes every entry of `backend` and lets its ports rest.
pub(super) fn purge(
    tables: &Tables,
    known: &Known,
    backend: u32,
    now: u32,
) -> Result<(), DatapathError> {
    purge_table(&tables.pending, known, backend, Stage::Handshake, now)?;
    purge_table(&tables.flows, known, backend, Stage::Connection, now)?;
    let Some(entry) = known.backends.get(&backend) else { return Ok(()) };
    // Ports that lost their entry, by a crash for instance: the number must leave no trace.
    for port in known.ports_of(entry).flat_map(|table| table.iter()) {
        let owner = port.owner();
        if owner.has(port_flags::CLAIMED) && owner.backend() == backend {
            sweep::rest(port, owner, now);
        }
    }
    Ok(())
}

fn purge_table(
    table: &Table<FlowKey, Flow>,
    known: &Known,
    backend: u32,
    stage: Stage,
    now: u32,
) -> Result<(), DatapathError> {
    let mut gone = Vec::new();
    table.visit(|keys, flows| {
        gone.clear();
        for (key, flow) in keys.iter().zip(flows) {
            if flow.backend() == backend {
                release(known, known.place(flow), key, flow, stage, now);
                gone.push(*key);
            }
        }
        table.remove_batch(&gone).map(drop)
    })
}

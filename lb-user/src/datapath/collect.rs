//! Takes entries out of the tables of flows: those whose time is over, and those of a backend
//! that is removed. One system call serves thousands of entries.

use std::collections::BTreeMap;

use lb_common::{
    flow::{Flow, FlowKey},
    port::{Port, port_flags},
    ring::Slot,
};

use super::{
    known::Known,
    orphans::{Named, Suspects},
    sweep::{self, Claim, PortState, Stage},
    table::Table,
};
use crate::{
    control::datapath::{DatapathError, SweepReport},
    ring::transition::SlotSet,
};

/// A table of flows, as far as it is collected.
pub(super) trait Entries {
    /// Calls `visit` with all entries, some thousands at a time, in no order.
    fn visit(
        &self,
        visit: impl FnMut(&[FlowKey], &[Flow]) -> Result<(), DatapathError>,
    ) -> Result<(), DatapathError>;

    /// Removes `keys`; those that are gone already do not matter. Returns how many were there.
    fn remove_batch(&self, keys: &[FlowKey]) -> Result<u64, DatapathError>;
}

impl Entries for Table<FlowKey, Flow> {
    fn visit(
        &self,
        visit: impl FnMut(&[FlowKey], &[Flow]) -> Result<(), DatapathError>,
    ) -> Result<(), DatapathError> {
        self.visit(visit)
    }

    fn remove_batch(&self, keys: &[FlowKey]) -> Result<u64, DatapathError> {
        self.remove_batch(keys)
    }
}

/// The tables that flows lie in.
#[derive(Debug)]
pub(super) struct FlowTables<'a, T> {
    /// Handshakes under way.
    pub pending: &'a T,
    /// Connections.
    pub flows: &'a T,
    /// Connections of backends that their slots are leaving.
    pub learned: &'a T,
}

/// Says which slot a flow falls into; `None` if its service's brokers do not answer directly.
pub(super) type SlotOf<'a> = &'a dyn Fn(&FlowKey) -> Option<(u32, Slot)>;

/// A purge needs a second pass if a packet was removing an entry during the first; a third, never.
const MOST_PASSES: u32 = 4;

/// What one pass over a table found.
#[derive(Debug, Default)]
struct Pass {
    left: u64,
    open: BTreeMap<u32, u64>,
    expired: BTreeMap<u32, u64>,
}

/// What is noted of the entries that are left.
#[derive(Debug, Default)]
struct Notes {
    /// Source ports that they name.
    named: Named,
    /// Slots that they fall into, by service, where brokers answer directly.
    occupied: BTreeMap<u32, SlotSet>,
}

/// One pass over the tables and all ports.
pub(super) fn everything(
    tables: &FlowTables<'_, impl Entries>,
    known: &Known,
    suspects: &mut Suspects,
    slot_of: SlotOf<'_>,
    now: u32,
) -> Result<SweepReport, DatapathError> {
    let mut notes = Notes::default();
    let mut over = |table, stage| {
        let noting = Noting { notes: &mut notes, slot_of, learned: tables.learned };
        pass(table, known, stage, now, Some(noting))
    };
    let handshakes = over(tables.pending, Stage::Handshake)?;
    // After the handshakes: a flow that is promoted meanwhile is found in the second table.
    let mut connections = over(tables.flows, Stage::Connection)?;
    let learned = over(tables.learned, Stage::Learned)?;
    connections.left += learned.left;
    for (id, open) in learned.open {
        *connections.open.entry(id).or_default() += open;
    }
    let Notes { named, occupied } = notes;
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
        occupied,
    })
}

/// One pass over the handshakes; returns how many are left.
pub(super) fn handshakes(
    pending: &impl Entries,
    known: &Known,
    now: u32,
) -> Result<u64, DatapathError> {
    Ok(pass(pending, known, Stage::Handshake, now, None)?.left)
}

/// What [`pass`] needs to note entries that are left.
struct Noting<'a, T> {
    notes: &'a mut Notes,
    slot_of: SlotOf<'a>,
    learned: &'a T,
}

fn pass<T: Entries>(
    table: &T,
    known: &Known,
    stage: Stage,
    now: u32,
    mut noting: Option<Noting<'_, T>>,
) -> Result<Pass, DatapathError> {
    let mut pass = Pass::default();
    let mut gone = Gone::new(table, known, stage, now);
    let mut agreed = Vec::new();
    table.visit(|keys, flows| {
        for (key, flow) in keys.iter().zip(flows) {
            let place = known.place(flow);
            let over = if known.is_direct(flow) {
                sweep::is_direct_over(flow, stage, now, known.settings.pending_ticks)
            } else {
                sweep::is_over(flow, now, known.settings.closed_ticks)
            };
            if over && gone.add(key, flow, place) {
                if !flow.is_closed() {
                    *pass.expired.entry(flow.backend()).or_default() += 1;
                }
                continue;
            }
            if let Some(Noting { notes, slot_of, .. }) = &mut noting
                && !notes.keep(key, flow, stage, place, slot_of(key))
            {
                agreed.push(*key);
                gone.add(key, flow, None);
                continue;
            }
            pass.left += 1;
            if !flow.is_closed() {
                *pass.open.entry(flow.backend()).or_default() += 1;
            }
        }
        // What was learned of an older connection from the same port must not speak for this one.
        if let Some(Noting { learned, .. }) = &noting
            && stage == Stage::Connection
        {
            learned.remove_batch(&agreed)?;
        }
        agreed.clear();
        gone.remove()
    })?;
    Ok(pass)
}

impl Notes {
    /// Notes an entry; false if it need not stay, because the ring says the same.
    fn keep(
        &mut self,
        key: &FlowKey,
        flow: &Flow,
        stage: Stage,
        place: Option<(u32, usize)>,
        slot: Option<(u32, Slot)>,
    ) -> bool {
        if let Some((peer, index)) = place {
            self.named.note(peer, index);
        }
        let Some((number, slot)) = slot else { return true };
        let stable = slot.base() == slot.current();
        if stable && slot.base() == flow.backend() && stage != Stage::Handshake {
            return false;
        }
        self.occupied.entry(key.service).or_default().insert(number);
        true
    }
}

/// Removes every entry of `backend` and lets its ports rest.
///
/// The ring leads to others by now, the backend's entry says that it refuses, and every packet is
/// through that may have read that entry before: no flow is added any more. `settle` waits until
/// every packet is through that is under way when it is called.
pub(super) fn purge(
    tables: &FlowTables<'_, impl Entries>,
    known: &Known,
    backend: u32,
    now: u32,
    mut settle: impl FnMut() -> Result<(), DatapathError>,
) -> Result<(), DatapathError> {
    // What a packet under way removes itself is left to it: under the same key another flow may
    // lie by now. It is gone once that packet is through.
    let mut passes = 0;
    while remove_all(tables, known, backend, now)? > 0 {
        passes += 1;
        if passes == MOST_PASSES {
            return Err(DatapathError::Refused(format!(
                "backend {backend} still has flows after {MOST_PASSES} passes over the tables"
            )));
        }
        settle()?;
    }
    let Some(entry) = known.backends.get(&backend) else { return Ok(()) };
    // Ports that lost their entry, by a crash for instance.
    for port in known.ports_of(entry).flat_map(|table| table.iter()) {
        let owner = port.owner();
        if owner.has(port_flags::CLAIMED) && owner.backend() == backend && sweep::take(port, owner)
        {
            port.rest(now);
        }
    }
    Ok(())
}

/// Removes the entries of `backend`, but for those that a packet under way removes; returns how
/// many those are.
fn remove_all(
    tables: &FlowTables<'_, impl Entries>,
    known: &Known,
    backend: u32,
    now: u32,
) -> Result<u64, DatapathError> {
    let mut left = 0;
    let all = [
        (tables.pending, Stage::Handshake),
        (tables.flows, Stage::Connection),
        (tables.learned, Stage::Learned),
    ];
    for (table, stage) in all {
        let mut gone = Gone::new(table, known, stage, now);
        table.visit(|keys, flows| {
            for (key, flow) in keys.iter().zip(flows).filter(|(_, flow)| flow.backend() == backend)
            {
                left += u64::from(!gone.add(key, flow, known.place(flow)));
            }
            gone.remove()
        })?;
    }
    Ok(left)
}

/// Entries on their way out.
///
/// First their ports are taken from them: who takes a port removes the entry, the fast path or
/// this one. Then the entries are removed, and only then the ports rest. A crash in between leaves
/// entries and ports that the next pass finds, and never a port that two flows use.
struct Gone<'a, T> {
    table: &'a T,
    known: &'a Known,
    stage: Stage,
    now: u32,
    keys: Vec<FlowKey>,
    ports: Vec<&'a Port>,
}

impl<'a, T: Entries> Gone<'a, T> {
    const fn new(table: &'a T, known: &'a Known, stage: Stage, now: u32) -> Self {
        Self { table, known, stage, now, keys: Vec::new(), ports: Vec::new() }
    }

    /// Takes the port from an entry, which is removed then; false if the fast path does it.
    fn add(&mut self, key: &FlowKey, flow: &Flow, place: Option<(u32, usize)>) -> bool {
        if let Some(port) = place.and_then(|place| self.known.port(place)) {
            match sweep::claim(&PortState::read(port), key, flow, self.stage, self.now) {
                Claim::Own(owner) if sweep::take(port, owner) => self.ports.push(port),
                Claim::Own(_) | Claim::Leaving => return false,
                Claim::Lost => {}
            }
        }
        self.keys.push(*key);
        true
    }

    fn remove(&mut self) -> Result<(), DatapathError> {
        self.table.remove_batch(&self.keys)?;
        self.keys.clear();
        for port in self.ports.drain(..) {
            port.rest(self.now);
        }
        Ok(())
    }
}

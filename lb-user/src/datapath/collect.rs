//! Takes the entries out of the tables of flows whose time is over, and counts the others. One system
//! call serves thousands of entries.

use std::collections::BTreeMap;

use lb_common::{
    flow::{Flow, FlowKey},
    port::Port,
    ring::Slot,
    settings::Settings,
};

use super::{
    known::{Entry, Known, Places},
    orphans::{Named, Suspects},
    removal::Leaving,
    sweep::{self, Stage},
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

/// What one pass over a table found.
#[derive(Debug, Default)]
struct Pass {
    left: u64,
    open: Tally,
    expired: Tally,
}

/// Numbers of connections, by backend.
#[derive(Debug, Default)]
struct Tally(Vec<u64>);

impl Tally {
    /// Counts a connection, if it is open and of a backend that there is.
    fn count(&mut self, entry: &Entry<'_>) {
        if entry.flow.is_closed() || entry.backend.is_none() {
            return;
        }
        let place = entry.flow.backend() as usize;
        if place >= self.0.len() {
            self.0.resize(place + 1, 0);
        }
        if let Some(count) = self.0.get_mut(place) {
            *count += 1;
        }
    }

    fn add(&mut self, other: &Self) {
        if other.0.len() > self.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (sum, more) in self.0.iter_mut().zip(&other.0) {
            *sum += more;
        }
    }
}

impl From<Tally> for BTreeMap<u32, u64> {
    fn from(tally: Tally) -> Self {
        (0..).zip(tally.0).filter(|(_, count)| *count > 0).collect()
    }
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
    let places = Places::of(known);
    let mut over = |table, stage| {
        let noting = Noting { notes: &mut notes, slot_of, learned: tables.learned };
        pass(table, &places, stage, now, Some(noting))
    };
    let handshakes = over(tables.pending, Stage::Handshake)?;
    // After the handshakes: a flow that is promoted meanwhile is found in the second table.
    let mut connections = over(tables.flows, Stage::Connection)?;
    let learned = over(tables.learned, Stage::Learned)?;
    connections.left += learned.left;
    connections.open.add(&learned.open);
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
        expired: connections.expired.into(),
        open: connections.open.into(),
        occupied,
    })
}

/// One pass over the handshakes; returns how many are left.
pub(super) fn handshakes(
    pending: &impl Entries,
    known: &Known,
    now: u32,
) -> Result<u64, DatapathError> {
    Ok(pass(pending, &Places::of(known), Stage::Handshake, now, None)?.left)
}

/// What [`pass`] needs to note entries that are left.
struct Noting<'a, T> {
    notes: &'a mut Notes,
    slot_of: SlotOf<'a>,
    learned: &'a T,
}

fn pass<T: Entries>(
    table: &T,
    places: &Places<'_>,
    stage: Stage,
    now: u32,
    mut noting: Option<Noting<'_, T>>,
) -> Result<Pass, DatapathError> {
    let mut pass = Pass::default();
    let mut leaving = Leaving::new(table, stage, now);
    let (mut over, mut stays, mut agreed) = (Vec::new(), Vec::new(), Vec::new());
    table.visit(|keys, flows| {
        for (key, flow) in keys.iter().zip(flows) {
            let entry = places.entry(*key, *flow);
            let list =
                if is_over(&entry, stage, now, places.settings) { &mut over } else { &mut stays };
            list.push(entry);
        }
        leaving.add(&over, places, |entry, goes| {
            if goes { pass.expired.count(entry) } else { stays.push(*entry) }
        });
        for entry in stays.drain(..) {
            if let Some(Noting { notes, slot_of, .. }) = &mut noting
                && !notes.keep(&entry, stage, slot_of(&entry.key))
            {
                agreed.push(entry.key);
                continue;
            }
            pass.left += 1;
            pass.open.count(&entry);
        }
        over.clear();
        if let Some(Noting { learned, .. }) = &noting {
            if stage == Stage::Connection {
                // What was learned of an older connection from the same port must not speak for
                // this one.
                learned.remove_batch(&agreed)?;
            }
            table.remove_batch(&agreed)?;
            agreed.clear();
        }
        leaving.remove()
    })?;
    Ok(pass)
}

fn is_over(entry: &Entry<'_>, stage: Stage, now: u32, settings: &Settings) -> bool {
    if entry.is_direct() {
        sweep::is_direct_over(&entry.flow, stage, now, settings.pending_ticks)
    } else {
        sweep::is_over(&entry.flow, now, settings.closed_ticks)
    }
}

impl Notes {
    /// Notes an entry; false if it need not stay, because the ring says the same.
    fn keep(&mut self, entry: &Entry<'_>, stage: Stage, slot: Option<(u32, Slot)>) -> bool {
        if let Some(place) = entry.place {
            self.named.note(place.peer, place.index);
        }
        let Some((number, slot)) = slot else { return true };
        let stable = slot.base() == slot.current();
        if stable && slot.base() == entry.flow.backend() && stage != Stage::Handshake {
            return false;
        }
        self.occupied.entry(entry.key.service).or_default().insert(number);
        true
    }
}

//! Removes entries from the tables of flows, and lets their source ports rest: of flows whose time is
//! over, and of a backend that is removed.

use lb_common::{
    flow::FlowKey,
    port::{Port, port_flags},
};

use super::{
    collect::{Entries, FlowTables},
    known::{Entry, Known, Places},
    sweep::{self, Claim, PortState, Stage},
};
use crate::control::datapath::DatapathError;

/// A purge needs a second pass if a packet was removing an entry during the first; a third, never.
const MOST_PASSES: u32 = 4;

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
    let places = Places::of(known);
    let all = [
        (tables.pending, Stage::Handshake),
        (tables.flows, Stage::Connection),
        (tables.learned, Stage::Learned),
    ];
    for (table, stage) in all {
        let mut leaving = Leaving::new(table, stage, now);
        let mut entries = Vec::new();
        table.visit(|keys, flows| {
            let its = keys.iter().zip(flows).filter(|(_, flow)| flow.backend() == backend);
            entries.extend(its.map(|(key, flow)| places.entry(*key, *flow)));
            leaving.add(&entries, &places, |_, goes| left += u64::from(!goes));
            entries.clear();
            leaving.remove()
        })?;
    }
    Ok(left)
}

/// Entries on their way out.
///
/// First their ports are taken from them: who takes a port removes the entry, the fast path or
/// this one. Then the entries are removed, and only then the ports rest. A crash in between leaves
/// entries and ports that the next pass finds, and never a port that two flows use.
pub(super) struct Leaving<'a, T> {
    table: &'a T,
    stage: Stage,
    now: u32,
    /// The ports of the entries that are added, as they were read.
    read: Vec<Option<(&'a Port, PortState)>>,
    keys: Vec<FlowKey>,
    ports: Vec<&'a Port>,
}

impl<'a, T: Entries> Leaving<'a, T> {
    pub(super) const fn new(table: &'a T, stage: Stage, now: u32) -> Self {
        Self { table, stage, now, read: Vec::new(), keys: Vec::new(), ports: Vec::new() }
    }

    /// Takes the ports from `entries`, which are removed then; tells of each whether it is, or
    /// whether the fast path removes it.
    pub(super) fn add(
        &mut self,
        entries: &[Entry<'a>],
        places: &Places<'a>,
        mut tell: impl FnMut(&Entry<'a>, bool),
    ) {
        // All are read before the first is taken: reads wait for memory side by side, and what is
        // taken waits for all that was read before it.
        self.read.extend(entries.iter().map(|entry| {
            let port = places.port(entry.place?)?;
            Some((port, PortState::read(port)))
        }));
        for (entry, read) in entries.iter().zip(self.read.drain(..)) {
            let goes = match read {
                None => true,
                Some((port, state)) => {
                    match sweep::claim(&state, &entry.key, &entry.flow, self.stage, self.now) {
                        Claim::Own(owner) if sweep::take(port, owner) => {
                            self.ports.push(port);
                            true
                        }
                        Claim::Own(_) | Claim::Leaving => false,
                        Claim::Lost => true,
                    }
                }
            };
            if goes {
                self.keys.push(entry.key);
            }
            tell(entry, goes);
        }
    }

    /// Removes what was added.
    pub(super) fn remove(&mut self) -> Result<(), DatapathError> {
        self.table.remove_batch(&self.keys)?;
        self.keys.clear();
        for port in self.ports.drain(..) {
            port.rest(self.now);
        }
        Ok(())
    }
}

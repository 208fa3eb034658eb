//! The controller of a run: what [`crate::control`] does, on a ring of a few slots.
//!
//! Transitions, the order of edits and the collection are the controller's own. The steps around
//! them (`layout`, `transitions` and `apply` there, `edits` here) are repeated.

use std::{collections::BTreeMap, sync::atomic::Ordering::Relaxed};

use lb_common::{
    backend::{Backend, backend_flags::FORWARD},
    flow::FlowKey,
    hash::Seed,
    ring::Slot,
};
use lb_ebpf::host::golden::Net;

use super::{
    super::{
        super::{
            collect::{self, FlowTables},
            known::Known,
            orphans::Suspects,
            removal,
        },
        schedule::{grace, without_steps},
        tell,
    },
    Rules,
    brokers::{Brokers, arrival},
    world::{Collected, SLOTS, Shared},
};
use crate::{
    control::{
        datapath::Edit,
        plan::{Trust, plan},
        tables::{RingSpec, Tables},
    },
    ring::transition::{Pace, SlotSet, Slots},
};

/// See the module.
pub(super) struct Controller<'a> {
    shared: &'a Shared,
    rules: Rules,
    pace: Pace,
    pub brokers: Brokers,
    /// Rings are here only as far as the plan must know that they change.
    tables: Tables,
    slots: Slots<SLOTS>,
    known: Known,
    /// Whether a backend refuses, or was purged, since the last wait for the packets under way.
    refuses: bool,
    purged: bool,
}

impl<'a> Controller<'a> {
    pub(super) fn new(shared: &'a Shared, rules: Rules, pace: Pace, brokers: Brokers) -> Self {
        Self {
            shared,
            rules,
            pace,
            brokers,
            tables: Tables::default(),
            slots: Slots::beginning(Box::new([Slot::EMPTY; SLOTS])),
            known: Known {
                settings: shared.settings,
                backends: BTreeMap::new(),
                ports: BTreeMap::new(),
                ports_per_table: 0,
            },
            refuses: true,
            purged: true,
        }
    }

    pub(super) const fn ring(&self) -> &[Slot; SLOTS] {
        self.slots.ring()
    }

    /// Gives up dead brokers, and numbers to new ones: to be called before [`Controller::change`].
    pub(super) fn give_numbers(&mut self) {
        let Self { tables, .. } = self;
        let taken = |id| tables.backends.contains_key(&id);
        self.brokers.give_numbers(self.shared.time(), taken);
    }

    /// Makes the tables as the brokers are now, and leads new flows where `owners` says. With
    /// `failing`, the edit of that number fails, and everything is taken back; unless the change
    /// gives up some backend.
    pub(super) fn change(&mut self, owners: [u32; SLOTS], failing: Option<usize>) {
        let now = self.shared.time();
        let backends = self.brokers.backends(&self.tables.backends);
        let stays = |id| {
            let given_up = !self.rules.grace && self.brokers.is_down(id);
            !given_up && forwards(&backends, id)
        };
        let slots = self.slots.lead_to(&owners.map(Slot::stable), stays, now);
        let failing = failing.filter(|_| self.gone(&backends).is_empty());
        if self.make_or_restore(backends, &slots, failing) {
            self.clean();
        }
    }

    /// Whether no edit failed; if one did, everything is taken back.
    fn make_or_restore(
        &mut self,
        backends: BTreeMap<u32, Backend>,
        slots: &Slots<SLOTS>,
        failing: Option<usize>,
    ) -> bool {
        let before = (self.tables.backends.clone(), self.slots.clone());
        self.give_up(&backends);
        let target = self.target(backends, slots);
        if self.make(&target, slots, failing) {
            return true;
        }
        // As `Tables::reached_from` does. Who came with the change goes with it.
        let (backends, slots) = before;
        self.give_up(&backends);
        let now = self.shared.time();
        let slots = self.slots.lead_to(slots.ring(), |id| forwards(&backends, id), now);
        let target = self.target(backends, &slots);
        self.make(&target, &slots, None);
        false
    }

    /// Tells the judgement which brokers lose their connections when these are the backends.
    fn give_up(&self, backends: &BTreeMap<u32, Backend>) {
        self.shared.events.gone.lock().unwrap().extend(self.gone(backends));
    }

    fn gone(&self, backends: &BTreeMap<u32, Backend>) -> Vec<u16> {
        let goes = |(id, backend): &(&u32, &Backend)| {
            backend.flags & FORWARD != 0 && !forwards(backends, **id)
        };
        let gone = self.tables.backends.iter().filter(goes);
        gone.map(|(_, backend)| arrival(backend)).collect()
    }

    /// The tables with these backends; the plan swaps the ring if `slots` say something new.
    fn target(&self, backends: BTreeMap<u32, Backend>, slots: &Slots<SLOTS>) -> Tables {
        let mut target = Tables { backends, ..self.tables.clone() };
        let ring = target.rings.entry(Net::SERVICE);
        let ring = ring.or_insert(RingSpec { seed: Seed(0, 0), members: Vec::new(), slots: None });
        ring.seed.0 += u64::from(slots.ring() != self.slots.ring());
        target
    }

    /// Whether no edit failed.
    fn make(&mut self, target: &Tables, slots: &Slots<SLOTS>, failing: Option<usize>) -> bool {
        let edits = plan(&self.tables, target, Trust::Exact);
        let events = &self.shared.events;
        events.changes.fetch_add(u64::from(!edits.is_empty()), Relaxed);
        let made = self.carry_out(&edits, target, slots, failing);
        events.changes.fetch_add(u64::from(!edits.is_empty()), Relaxed);
        made
    }

    fn carry_out(
        &mut self,
        edits: &[Edit],
        target: &Tables,
        slots: &Slots<SLOTS>,
        failing: Option<usize>,
    ) -> bool {
        for (number, edit) in edits.iter().enumerate() {
            if failing == Some(number) {
                return false;
            }
            self.apply(edit, slots);
            self.tables.note(edit, target);
        }
        self.tables.clone_from(target);
        self.slots = slots.clone();
        true
    }

    fn apply(&mut self, edit: &Edit, slots: &Slots<SLOTS>) {
        tell(|| format!("{}: {edit}: {:?}", self.shared.time(), slots.ring()));
        match edit {
            Edit::PutRing { .. } => {
                self.shared.swap_ring(slots.ring());
                self.slots = slots.clone();
                if self.rules.swap_waits {
                    grace();
                }
            }
            Edit::PutBackend { id, backend } => {
                self.shared.put_backend(*id, backend);
                self.known.backends.insert(*id, *backend);
                self.refuses |= backend.flags & FORWARD == 0;
            }
            Edit::Purge { backend } => {
                if std::mem::take(&mut self.refuses) {
                    grace();
                }
                self.purged = true;
                let settle = || {
                    grace();
                    Ok(())
                };
                let now = self.shared.time();
                self.with_tables(|tables, known| {
                    removal::purge(tables, known, *backend, now, settle).unwrap();
                });
            }
            Edit::ClearBackend { id } => {
                if std::mem::take(&mut self.purged) {
                    grace();
                }
                self.assert_purged(*id);
                self.shared.clear_backend(*id);
                self.known.backends.remove(id);
            }
            _ => unreachable!("{edit}"),
        }
    }

    /// Panics if an entry names this backend, whose number may soon be another's.
    fn assert_purged(&self, id: u32) {
        for table in [&self.shared.pending, &self.shared.flows, &self.shared.learned] {
            let left = without_steps(|| {
                table.list().iter().any(|(_, entry)| entry.flow().backend() == id)
            });
            assert!(!left, "an entry of backend {id} is left");
        }
    }

    /// Takes away what was removed.
    pub(super) fn clean(&mut self) {
        let clean = self.tables.without_remains(self.shared.time());
        let slots = self.slots.clone();
        self.make(&clean, &slots, None);
    }

    /// Collects, and moves the slots on; with `failing`, that edit fails.
    pub(super) fn sweep(&mut self, failing: Option<usize>) {
        let now = self.shared.time();
        let ring = *self.slots.ring();
        let slot_of = |key: &FlowKey| {
            let number = self.shared.slot_number(key);
            Some((number, ring[number as usize]))
        };
        tell(|| format!("{now}: sweep of {ring:?}"));
        let report = self.with_tables(|tables, known| {
            collect::everything(tables, known, &mut Suspects::default(), &slot_of, now).unwrap()
        });
        let nothing = SlotSet::default();
        let occupied = report.occupied.get(&Net::SERVICE).filter(|_| self.rules.looks_up);
        let settled = self.slots.settle(occupied.unwrap_or(&nothing));
        let missed = self.shared.missed();
        let drains = |id| self.brokers.is_drained(id);
        let (next, begun) = settled.advance(self.pace, drains, &missed, self.shared.time());
        if next == self.slots {
            return;
        }
        if self.make_or_restore(self.tables.backends.clone(), &next, failing) {
            self.shared.clear_missed(&begun);
        }
    }

    pub(super) fn sweep_pending(&self) {
        let pending = Collected(self.shared, &self.shared.pending);
        collect::handshakes(&pending, &self.known, self.shared.time()).unwrap();
    }

    fn with_tables<T>(&self, work: impl FnOnce(&FlowTables<'_, Collected<'_>>, &Known) -> T) -> T {
        let shared = self.shared;
        let [pending, flows, learned] =
            [&shared.pending, &shared.flows, &shared.learned].map(|table| Collected(shared, table));
        let tables = FlowTables { pending: &pending, flows: &flows, learned: &learned };
        work(&tables, &self.known)
    }

    /// Another controller takes over.
    pub(super) fn restart(&mut self) {
        self.slots = Slots::read_back(Box::new(*self.slots.ring()), self.shared.time());
        (self.refuses, self.purged) = (true, true);
    }
}

fn forwards(backends: &BTreeMap<u32, Backend>, id: u32) -> bool {
    backends.get(&id).is_some_and(|backend| backend.flags & FORWARD != 0)
}

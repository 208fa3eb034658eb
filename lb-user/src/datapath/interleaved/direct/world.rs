//! The tables that packets and the controller share, with a step before every operation.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed},
    },
};

use lb_common::{
    addr::Addr,
    backend::{Backend, PeerKey, Source},
    counters::BackendCounters,
    flow::{Flow, FlowKey},
    port::Port,
    ring::{Slot, slot_of},
    service::{Service, ServiceKey, mode},
    settings::Settings,
    verdict::Verdict,
};
use lb_ebpf::{
    admission::Overload,
    fragments::{Cut, Followed, FragmentKey},
    host::golden::{Family, Net},
    packet::Ethernet,
    tables::{InsertError, Route, RouteKind, RouteQuery, Tables},
};

use super::{
    super::{
        super::collect::Entries,
        schedule::{section, step, without_steps},
        table::{FlowRef, Table},
        tell,
    },
    clients::{Around, Happened},
};
use crate::{control::datapath::DatapathError, ring::transition::SlotSet};

/// The network of all runs.
pub(super) const NET: Net = Net(Family::V4);
/// Few, so that several clients share one.
pub(super) const SLOTS: usize = 3;
/// Numbers of backends.
pub(super) const NUMBERS: usize = 12;
/// More entries of backends than any run writes.
const VERSIONS: usize = 4096;
/// Entries that the collection reads at once.
const BATCH: usize = 3;

/// What packets and controller share.
pub(super) struct Shared {
    pub settings: Settings,
    service: Service,
    ring: Mutex<[Slot; SLOTS]>,
    /// Entries of backends as they were written: a packet may still read one that was replaced.
    versions: Vec<OnceLock<Backend>>,
    written: AtomicUsize,
    /// By number: the version in force.
    backends: [AtomicUsize; NUMBERS],
    now: AtomicU32,
    /// Ticks that may pass before the controller is done with what it does.
    pub patience: AtomicU32,
    pub pending: Table,
    pub flows: Table,
    pub learned: Table,
    missed: Mutex<BTreeSet<u32>>,
    pub events: Happened,
}

/// Room of the tables of flows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub pending: usize,
    pub flows: usize,
    pub learned: usize,
}

impl Room {
    pub(super) const AMPLE: Self = Self { pending: 99, flows: 99, learned: 99 };
}

impl Shared {
    /// A service without backends.
    pub(super) fn new(room: Room, horizon: u32, pending_ticks: u32) -> Self {
        let mut world = NET.direct_world(mode::DSR);
        let Some((_, mut service)) = world.services.pop_first() else { unreachable!() };
        service.idle_ticks = horizon;
        let versions: Vec<OnceLock<Backend>> = (0..VERSIONS).map(|_| OnceLock::new()).collect();
        versions[0].get_or_init(|| NOBODY);
        Self {
            settings: Settings { pending_ticks, ..world.settings },
            service,
            ring: Mutex::new([Slot::EMPTY; SLOTS]),
            versions,
            written: AtomicUsize::new(1),
            backends: Default::default(),
            now: AtomicU32::new(world.now.get()),
            patience: AtomicU32::new(u32::MAX),
            pending: Table::new(room.pending),
            flows: Table::new(room.flows),
            learned: Table::new(room.learned),
            missed: Mutex::default(),
            events: Happened::default(),
        }
    }

    /// The slot of a flow.
    pub(super) fn slot_number(&self, key: &FlowKey) -> u32 {
        slot_of(self.service.flow_hash(key.client, key.port)) % SLOTS as u32
    }

    pub(super) fn time(&self) -> u32 {
        self.now.load(Relaxed)
    }

    /// Lets `ticks` pass, or what the controller needs at most for what it does.
    pub(super) fn pass(&self, ticks: u32) {
        let patience = self.patience.load(Relaxed);
        let ticks = ticks.min(patience);
        if patience < u32::MAX {
            self.patience.store(patience - ticks, Relaxed);
        }
        self.now.fetch_add(ticks, Relaxed);
    }

    pub(super) fn swap_ring(&self, ring: &[Slot; SLOTS]) {
        step();
        *self.ring.lock().unwrap() = *ring;
    }

    pub(super) fn put_backend(&self, id: u32, backend: &Backend) {
        step();
        let version = self.written.fetch_add(1, Relaxed);
        self.versions[version].get_or_init(|| *backend);
        self.backends[id as usize].store(version, Relaxed);
    }

    pub(super) fn clear_backend(&self, id: u32) {
        self.put_backend(id, &NOBODY);
    }

    pub(super) fn missed(&self) -> SlotSet {
        step();
        let mut slots = SlotSet::default();
        self.missed.lock().unwrap().iter().for_each(|slot| slots.insert(*slot));
        slots
    }

    pub(super) fn clear_missed(&self, slots: &SlotSet) {
        step();
        self.missed.lock().unwrap().retain(|slot| !slots.contains(*slot));
    }

    fn insert(&self, table: &Table, key: &FlowKey, flow: Flow) -> Result<(), InsertError> {
        let result = table.insert(key, flow, || 0);
        if result == Err(InsertError::Full) {
            self.events.full.fetch_add(1, Relaxed);
        }
        result
    }
}

impl Around for Shared {
    fn time(&self) -> u32 {
        Self::time(self)
    }

    fn horizon(&self) -> u32 {
        self.service.idle_ticks
    }

    fn events(&self) -> &Happened {
        &self.events
    }
}

/// What an array holds where nothing was written.
const NOBODY: Backend = Backend {
    address: Addr::v4([0; 4]),
    port: [0; 2],
    flags: 0,
    service: 0,
    first_peer: 0,
    pad: 0,
};

impl Tables for &Shared {
    type FlowRef = FlowRef;
    type PortRef = &'static Port;

    fn keep_cut(&self, _: Cut) -> Option<()> {
        None
    }

    fn kept_cut(&self) -> Option<Cut> {
        None
    }

    fn fragment(&self, _: &FragmentKey) -> Option<Followed> {
        None
    }

    fn note_fragment(&self, _: &FragmentKey, _: Followed) {}

    fn may_answer(&self) -> bool {
        true
    }

    fn ingress(&self) -> u32 {
        Net::LOOPBACK
    }

    fn settings(&self) -> Option<&Settings> {
        Some(&self.settings)
    }

    fn service(&self, key: &ServiceKey) -> Option<&Service> {
        (*key == self.service.key).then_some(&self.service)
    }

    fn service_by_id(&self, id: u32) -> Option<&Service> {
        (id == self.service.id).then_some(&self.service)
    }

    fn slot(&self, _: u32, slot: u32) -> Option<Slot> {
        step();
        Some(self.ring.lock().unwrap()[slot as usize % SLOTS])
    }

    fn backend(&self, id: u32) -> Option<&Backend> {
        step();
        self.versions[self.backends.get(id as usize)?.load(Relaxed)].get()
    }

    fn source(&self, _: u32) -> Option<&Source> {
        None
    }

    fn peer(&self, _: &PeerKey) -> Option<u32> {
        None
    }

    fn port(&self, _: u32, _: u32) -> Option<&'static Port> {
        None
    }

    fn pending(&self, key: &FlowKey) -> Option<FlowRef> {
        self.pending.find(key)
    }

    fn insert_pending(&self, key: &FlowKey, flow: Flow) -> Result<(), InsertError> {
        self.insert(&self.pending, key, flow)
    }

    fn remove_pending(&self, key: &FlowKey) -> bool {
        self.pending.remove(key).is_some()
    }

    fn flow(&self, key: &FlowKey) -> Option<FlowRef> {
        self.flows.find(key)
    }

    fn insert_flow(&self, key: &FlowKey, flow: Flow) -> Result<(), InsertError> {
        self.insert(&self.flows, key, flow)
    }

    fn remove_flow(&self, key: &FlowKey) -> bool {
        self.flows.remove(key).is_some()
    }

    fn learned(&self, key: &FlowKey) -> Option<FlowRef> {
        self.learned.find(key)
    }

    fn insert_learned(&self, key: &FlowKey, flow: Flow) -> Result<(), InsertError> {
        self.insert(&self.learned, key, flow)
    }

    fn note_missed(&self, _: u32, slot: u32) {
        step();
        self.missed.lock().unwrap().insert(slot % SLOTS as u32);
    }

    fn now(&self) -> u32 {
        self.time()
    }

    fn route(&self, query: &RouteQuery) -> Route {
        // The Ethernet address of a broker says which one it is.
        let octets = query.destination.octets();
        let destination = [[2, 0], [octets[12], octets[13]], [octets[14], octets[15]]];
        let ethernet =
            Ethernet { destination: destination.map(u16::from_ne_bytes), source: [0; 3] };
        Route { kind: RouteKind::Via, ifindex: 7, ethernet, mtu: 1500, on_link: true }
    }

    fn refuses(&self, _: u32, _: Addr) -> Option<Verdict> {
        None
    }

    fn overload(&self, _: u32) -> Option<Overload> {
        None
    }

    fn change_open(&self, _: u32, _: i64) {}

    fn change_counters(&self, _: u32, _: impl FnOnce(&mut BackendCounters)) {}
}

/// A table as the collection sees it.
pub(super) struct Collected<'a>(pub &'a Shared, pub &'a Table);

impl Entries for Collected<'_> {
    /// What is inserted meanwhile is not visited: the worst that may happen.
    fn visit(
        &self,
        mut visit: impl FnMut(&[FlowKey], &[Flow]) -> Result<(), DatapathError>,
    ) -> Result<(), DatapathError> {
        let all: Vec<FlowKey> = self.1.list().into_iter().map(|(key, _)| key).collect();
        for batch in all.chunks(BATCH) {
            section(|| {
                let there = batch.iter().filter_map(|key| Some((*key, self.1.find(key)?.load())));
                let (keys, flows): (Vec<_>, Vec<_>) = there.unzip();
                visit(&keys, &flows)
            })?;
        }
        Ok(())
    }

    fn remove_batch(&self, keys: &[FlowKey]) -> Result<u64, DatapathError> {
        let Self(shared, table) = self;
        let mut removed = 0;
        for key in keys {
            if let Some(entry) = table.remove(key) {
                let flow = without_steps(|| entry.flow());
                let time = shared.time();
                tell(|| format!("{time}: {:?}:{:?} removed, {flow:?}", key.client, key.port));
                removed += 1;
                *shared.events.collected.lock().unwrap().entry(*key).or_default() += 1;
            }
        }
        Ok(removed)
    }
}

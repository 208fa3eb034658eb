//! The tables that the packets and the collection share, with a step before every operation.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU32, Ordering::Relaxed},
    },
};

use lb_common::{
    addr::Addr,
    backend::{
        Backend, PeerKey, Source,
        backend_flags::{ACCEPT, FORWARD, PRESENT},
    },
    counters::BackendCounters,
    flow::{Flow, FlowKey},
    port::{Port, port_flags},
    ring::Slot,
    service::{Service, ServiceKey},
    settings::Settings,
    verdict::Verdict,
};
use lb_ebpf::{
    admission::Overload,
    fragments::{Cut, Followed, FragmentKey},
    host::{World, golden::Net},
    tables::{InsertError, Route, RouteQuery, Tables},
};

use super::super::{
    super::{
        collect::Entries,
        known::{Known, Place},
        ports::PortTable,
        sweep,
    },
    schedule::{section, step, time, without_steps},
    table::{self, Entry, FlowRef},
};
use crate::control::datapath::DatapathError;

/// What packets and collection share.
pub(super) struct Shared {
    settings: Settings,
    services: BTreeMap<ServiceKey, Service>,
    sources: BTreeMap<u32, Source>,
    peers: BTreeMap<PeerKey, u32>,
    routes: BTreeMap<Addr, Route>,
    /// By number: the entry for each combination of flags that it may have.
    backends: BTreeMap<u32, Vec<Backend>>,
    flags: BTreeMap<u32, AtomicU32>,
    /// By number: connections opened less those that ended.
    pub open: BTreeMap<u32, AtomicI64>,
    pub ring: AtomicU32,
    pub now: AtomicU32,
    pub known: Known,
    pub pending: Table,
    pub flows: Table,
    /// Always empty: all brokers here answer by way of the balancer.
    pub learned: Table,
    /// What happened to entries: for the judgement.
    pub story: Mutex<Vec<Life>>,
}

/// An entry from its insertion to its removal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    pub key: FlowKey,
    pub flow: Flow,
    pub died: Option<u64>,
}

/// One of the two tables of flows; the number of an entry is its place in the story.
pub(super) struct Table {
    is_pending: bool,
    entries: table::Table,
    /// Entries that the collection has read when it could collect them, or a packet when they were
    /// closed: a SYN and data that come at the same time may each be taken for the first.
    judged: Mutex<BTreeSet<usize>>,
}

impl Table {
    fn new(is_pending: bool, room: usize) -> Self {
        Self { is_pending, entries: table::Table::new(room), judged: Mutex::default() }
    }

    fn note_closed(&self) {
        let all = self.list();
        let closed = all.iter().filter(|(_, entry)| entry.flow().is_closed());
        self.judged.lock().unwrap().extend(closed.map(|(_, entry)| entry.number));
    }

    /// The entries as they are, for the judgement: no step.
    pub(super) fn list(&self) -> Vec<(FlowKey, Arc<Entry>)> {
        self.entries.list()
    }
}

impl Shared {
    pub(super) fn new(mut world: World, room: [usize; 2]) -> Self {
        let others = [world.backends[&1], world.backends[&2]];
        let all = [PRESENT, PRESENT | FORWARD, PRESENT | FORWARD | ACCEPT];
        let of = |backend: Backend| all.map(|flags| Backend { flags, ..backend }).to_vec();
        let ports = u32::from(world.settings.ports);
        let table = |peer: &u32| (*peer, PortTable::in_memory(ports).unwrap());
        let known = Known {
            settings: world.settings,
            backends: std::mem::take(&mut world.backends),
            ports: world.peers.values().map(table).collect(),
            ports_per_table: ports,
        };
        Self {
            settings: world.settings,
            services: world.services,
            sources: world.sources,
            peers: world.peers,
            routes: world.routes,
            backends: BTreeMap::from([(1, of(others[0])), (2, of(others[1]))]),
            flags: [1, 2].map(|id| (id, AtomicU32::new(2))).into(),
            open: [1, 2].map(|id| (id, AtomicI64::new(0))).into(),
            ring: AtomicU32::new(1),
            now: AtomicU32::new(world.now.get()),
            known,
            pending: Table::new(true, room[0]),
            flows: Table::new(false, room[1]),
            learned: Table::new(false, 0),
            story: Mutex::default(),
        }
    }

    /// The backend takes no new connections any more.
    pub(super) fn drain(&self, id: u32) {
        step();
        self.flags[&id].fetch_min(1, Relaxed);
    }

    /// The backend refuses its flows.
    pub(super) fn remove_backend(&self, id: u32) {
        step();
        self.flags[&id].store(0, Relaxed);
    }

    pub(super) fn backend_now(&self, id: u32) -> &Backend {
        &self.backends[&id][self.flags[&id].load(Relaxed) as usize]
    }

    fn insert(&self, table: &Table, key: &FlowKey, flow: Flow) -> Result<(), InsertError> {
        table.entries.insert(key, flow, || {
            let mut story = self.story.lock().unwrap();
            story.push(Life { key: *key, flow, died: None });
            story.len() - 1
        })
    }

    fn remove(&self, table: &Table, key: &FlowKey) -> bool {
        let Some(entry) = table.entries.remove(key) else { return false };
        self.story.lock().unwrap()[entry.number].died = Some(time());
        without_steps(|| self.judge_removal(table, key, &entry));
        true
    }

    /// Panics if the entry that was removed just now had a right to stay.
    fn judge_removal(&self, table: &Table, key: &FlowKey, entry: &Entry) {
        let flow = entry.flow();
        if table.judged.lock().unwrap().contains(&entry.number) || self.may_go(table, &flow) {
            return;
        }
        let is_same = |other: &Arc<Entry>| {
            let other = other.flow();
            (other.backend(), other.nat_port) == (flow.backend(), flow.nat_port)
        };
        let promoted = self.flows.list().iter().any(|(other, entry)| other == key && is_same(entry))
            // Or that has ended in turn.
            || self.port_of(&flow).owner().has(port_flags::RESTING);
        assert!(table.is_pending && promoted, "a live entry was removed: {key:?} {flow:?}");
    }

    /// Whether the collection may remove an entry as it is now.
    fn is_collected(&self, flow: &Flow) -> bool {
        sweep::is_over(flow, self.now.load(Relaxed), self.settings.closed_ticks)
            || self.backend_now(flow.backend()).flags & FORWARD == 0
    }

    /// Whether anybody may remove an entry as it is now.
    fn may_go(&self, table: &Table, flow: &Flow) -> bool {
        let accepts = self.backend_now(flow.backend()).flags & ACCEPT != 0;
        self.is_collected(flow) || flow.is_closed() || table.is_pending && !accepts
    }

    pub(super) fn port_of(&self, flow: &Flow) -> &Port {
        self.known.port(self.known.place(flow).unwrap()).unwrap()
    }
}

impl<'a> Tables for &'a Shared {
    type FlowRef = FlowRef;
    type PortRef = &'a Port;

    fn may_answer(&self) -> bool {
        true
    }

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

    fn ingress(&self) -> u32 {
        Net::LOOPBACK
    }

    fn settings(&self) -> Option<&Settings> {
        Some(&self.settings)
    }

    fn service(&self, key: &ServiceKey) -> Option<&Service> {
        self.services.get(key)
    }

    fn service_by_id(&self, id: u32) -> Option<&Service> {
        self.services.values().find(|service| service.id == id)
    }

    fn slot(&self, _: u32, _: u32) -> Option<Slot> {
        step();
        Some(Slot::stable(self.ring.load(Relaxed)))
    }

    fn backend(&self, id: u32) -> Option<&Backend> {
        // The pipeline has read the flow just now.
        without_steps(|| self.flows.note_closed());
        step();
        Some(self.backend_now(id))
    }

    fn source(&self, number: u32) -> Option<&Source> {
        self.sources.get(&number)
    }

    fn peer(&self, key: &PeerKey) -> Option<u32> {
        self.peers.get(key).copied()
    }

    fn port(&self, peer: u32, index: u32) -> Option<&'a Port> {
        self.known.port(Place { peer, index: index as usize })
    }

    fn pending(&self, key: &FlowKey) -> Option<FlowRef> {
        self.pending.entries.find(key)
    }

    fn insert_pending(&self, key: &FlowKey, flow: Flow) -> Result<(), InsertError> {
        self.insert(&self.pending, key, flow)
    }

    fn remove_pending(&self, key: &FlowKey) -> bool {
        self.remove(&self.pending, key)
    }

    fn flow(&self, key: &FlowKey) -> Option<FlowRef> {
        self.flows.entries.find(key)
    }

    fn insert_flow(&self, key: &FlowKey, flow: Flow) -> Result<(), InsertError> {
        self.insert(&self.flows, key, flow)
    }

    fn remove_flow(&self, key: &FlowKey) -> bool {
        self.remove(&self.flows, key)
    }

    fn learned(&self, _: &FlowKey) -> Option<FlowRef> {
        None
    }

    fn insert_learned(&self, _: &FlowKey, _: Flow) -> Result<(), InsertError> {
        Err(InsertError::Full)
    }

    fn note_missed(&self, _: u32, _: u32) {}

    fn now(&self) -> u32 {
        self.now.load(Relaxed)
    }

    fn route(&self, query: &RouteQuery) -> Route {
        self.routes.get(&query.destination).copied().unwrap_or(Route::NONE)
    }

    fn refuses(&self, _: u32, _: Addr) -> Option<Verdict> {
        None
    }

    fn overload(&self, _: u32) -> Option<Overload> {
        None
    }

    fn change_open(&self, backend: u32, by: i64) {
        step();
        self.open[&backend].fetch_add(by, Relaxed);
    }

    fn change_counters(&self, _: u32, _: impl FnOnce(&mut BackendCounters)) {}
}

/// A table as the collection sees it.
pub(super) struct Collected<'a>(pub &'a Shared, pub &'a Table);

impl Entries for Collected<'_> {
    fn visit(
        &self,
        mut visit: impl FnMut(&[FlowKey], &[Flow]) -> Result<(), DatapathError>,
    ) -> Result<(), DatapathError> {
        let Self(shared, table) = self;
        // One batch. It is judged and removed before the clock moves far: ports rest longer.
        section(|| {
            let mut copies = Vec::new();
            for (key, entry) in table.list() {
                let flow = entry.flow();
                if without_steps(|| shared.is_collected(&flow)) {
                    table.judged.lock().unwrap().insert(entry.number);
                }
                copies.push((key, flow));
            }
            let (keys, flows): (Vec<_>, Vec<_>) = copies.into_iter().unzip();
            visit(&keys, &flows)
        })
    }

    fn remove_batch(&self, keys: &[FlowKey]) -> Result<u64, DatapathError> {
        let Self(shared, table) = self;
        Ok(keys.iter().filter(|key| shared.remove(table, key)).count() as u64)
    }
}

//! The tables in memory.

use core::cell::{Cell, RefCell};
use core::ops::Deref;
use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    rc::Rc,
    vec::Vec,
};

use lb_common::{
    addr::Addr,
    admission::{Admission, ListKey, Listed, RateKey},
    backend::{Backend, PeerKey, Source},
    counters::BackendCounters,
    flow::{Flow, FlowCell, FlowKey},
    load::{Load, LoadLimits},
    port::Port,
    rate::Bucket,
    ring::Slot,
    service::{Service, ServiceKey},
    settings::Settings,
    ticks,
    verdict::Verdict,
};

use crate::{
    Outcome,
    admission::{self, Gate, Overload, Scope},
    fragments::{Cut, Followed, FragmentKey},
    host::Bytes,
    process,
    tables::{InsertError, Route, RouteQuery, Tables},
};

/// Everything the pipeline can ask for. What the controller writes is plain; what packets change
/// is behind cells.
#[derive(Debug, Default)]
pub struct World {
    /// The interface that frames come in by.
    pub ingress: u32,
    /// See [`Tables::settings`].
    pub settings: Settings,
    /// Services, by their address.
    pub services: BTreeMap<ServiceKey, Service>,
    /// The one slot that a ring consists of here, by service; see [`World::slots`].
    pub rings: BTreeMap<u32, Slot>,
    /// Slots that differ from the rest of their ring, by service and slot.
    pub slots: BTreeMap<(u32, u32), Slot>,
    /// Backends by number.
    pub backends: BTreeMap<u32, Backend>,
    /// Source addresses by number.
    pub sources: BTreeMap<u32, Source>,
    /// Peers and their numbers.
    pub peers: BTreeMap<PeerKey, u32>,
    /// What new connections must pass, by service.
    pub admissions: BTreeMap<u32, Admission>,
    /// Lists of sources.
    pub lists: BTreeMap<ListKey, Listed>,
    /// What backends may take, by number.
    pub load_limits: BTreeMap<u32, LoadLimits>,
    /// Ways on, by destination; without an entry there is none.
    pub routes: BTreeMap<Addr, Route>,
    /// The largest IP packet that any way takes.
    pub mtu: u16,
    /// How many packets may still be answered with ICMP errors.
    pub answers: Cell<u32>,
    /// Room of the pending table.
    pub pending_room: usize,
    /// Room of the connection table.
    pub flows_room: usize,
    /// Room of the table of learned flows.
    pub learned_room: usize,
    /// The clock.
    pub now: Cell<u32>,
    /// Handshakes under way.
    pub pending: RefCell<BTreeMap<FlowKey, Rc<FlowCell>>>,
    /// Connections.
    pub flows: RefCell<BTreeMap<FlowKey, Rc<FlowCell>>>,
    /// Connections of backends that their slots are leaving.
    pub learned: RefCell<BTreeMap<FlowKey, Rc<FlowCell>>>,
    /// Slots, by service, with connections that could not be learned.
    pub missed: RefCell<BTreeSet<(u32, u32)>>,
    /// Source ports by peer.
    pub ports: RefCell<BTreeMap<u32, Rc<Vec<Port>>>>,
    /// Buckets of sources and of prefixes.
    pub buckets: RefCell<BTreeMap<(Scope, RateKey), Rc<Bucket>>>,
    /// What backends have taken.
    pub loads: RefCell<BTreeMap<u32, Rc<Load>>>,
    /// The first fragment under way.
    pub cut: Cell<Option<Cut>>,
    /// Where first fragments went.
    pub fragments: RefCell<BTreeMap<FragmentKey, Followed>>,
    /// Counters by backend.
    pub counters: RefCell<BTreeMap<u32, BackendCounters>>,
    /// Counters by verdict.
    pub verdicts: RefCell<BTreeMap<&'static str, u64>>,
}

impl World {
    /// A world with what the controller has written in this one, and nothing else.
    #[must_use]
    pub fn emptied(&self) -> Self {
        Self {
            ingress: self.ingress,
            settings: self.settings,
            services: self.services.clone(),
            rings: self.rings.clone(),
            slots: self.slots.clone(),
            backends: self.backends.clone(),
            sources: self.sources.clone(),
            peers: self.peers.clone(),
            routes: self.routes.clone(),
            mtu: self.mtu,
            answers: self.answers.clone(),
            pending_room: self.pending_room,
            flows_room: self.flows_room,
            learned_room: self.learned_room,
            now: self.now.clone(),
            ..Self::default()
        }
    }

    /// Sends a frame through the pipeline and counts its verdict, as the XDP program does.
    pub fn run(&self, bytes: &mut Bytes) -> Outcome {
        let outcome = process(bytes, self);
        *self.verdicts.borrow_mut().entry(outcome.verdict.name()).or_default() += 1;
        outcome
    }

    /// How many packets had this verdict.
    #[must_use]
    pub fn count_of(&self, verdict: Verdict) -> u64 {
        self.verdicts.borrow().get(verdict.name()).copied().unwrap_or(0)
    }

    /// What a backend has taken.
    #[must_use]
    pub fn load_of(&self, backend: u32) -> Rc<Load> {
        Rc::clone(self.loads.borrow_mut().entry(backend).or_default())
    }

    /// The counters of a backend.
    #[must_use]
    pub fn counters_of(&self, backend: u32) -> BackendCounters {
        self.counters.borrow().get(&backend).copied().unwrap_or_default()
    }
}

/// A port in the table of its peer.
#[derive(Clone, Debug)]
pub struct PortRef(Rc<Vec<Port>>, usize);

impl Deref for PortRef {
    type Target = Port;

    fn deref(&self) -> &Port {
        &self.0[self.1]
    }
}

type FlowTable = RefCell<BTreeMap<FlowKey, Rc<FlowCell>>>;

fn insert(table: &FlowTable, room: usize, key: &FlowKey, flow: Flow) -> Result<(), InsertError> {
    let mut table = table.borrow_mut();
    if table.contains_key(key) {
        return Err(InsertError::Exists);
    }
    if table.len() >= room {
        return Err(InsertError::Full);
    }
    table.insert(*key, Rc::new(flow.into()));
    Ok(())
}

impl Tables for World {
    type FlowRef = Rc<FlowCell>;
    type PortRef = PortRef;

    fn ingress(&self) -> u32 {
        self.ingress
    }

    fn settings(&self) -> Option<&Settings> {
        (self.settings.ports != 0).then_some(&self.settings)
    }

    fn service(&self, key: &ServiceKey) -> Option<&Service> {
        self.services.get(key)
    }

    fn service_by_id(&self, id: u32) -> Option<&Service> {
        self.services.values().find(|service| service.id == id)
    }

    fn slot(&self, service: u32, slot: u32) -> Option<Slot> {
        self.slots.get(&(service, slot)).or_else(|| self.rings.get(&service)).copied()
    }

    fn backend(&self, id: u32) -> Option<&Backend> {
        self.backends.get(&id)
    }

    fn source(&self, number: u32) -> Option<&Source> {
        self.sources.get(&number)
    }

    fn peer(&self, key: &PeerKey) -> Option<u32> {
        self.peers.get(key).copied()
    }

    fn port(&self, peer: u32, index: u32) -> Option<PortRef> {
        if index >= u32::from(self.settings.ports) || !self.peers.values().any(|&p| p == peer) {
            return None;
        }
        let size = usize::from(self.settings.ports);
        let mut ports = self.ports.borrow_mut();
        let table = ports
            .entry(peer)
            .or_insert_with(|| Rc::new((0..size).map(|_| Port::default()).collect()));
        Some(PortRef(Rc::clone(table), index as usize))
    }

    fn pending(&self, key: &FlowKey) -> Option<Rc<FlowCell>> {
        self.pending.borrow().get(key).cloned()
    }

    fn insert_pending(&self, key: &FlowKey, flow: Flow) -> Result<(), InsertError> {
        insert(&self.pending, self.pending_room, key, flow)
    }

    fn remove_pending(&self, key: &FlowKey) -> bool {
        self.pending.borrow_mut().remove(key).is_some()
    }

    fn flow(&self, key: &FlowKey) -> Option<Rc<FlowCell>> {
        self.flows.borrow().get(key).cloned()
    }

    fn insert_flow(&self, key: &FlowKey, flow: Flow) -> Result<(), InsertError> {
        insert(&self.flows, self.flows_room, key, flow)
    }

    fn remove_flow(&self, key: &FlowKey) -> bool {
        self.flows.borrow_mut().remove(key).is_some()
    }

    fn learned(&self, key: &FlowKey) -> Option<Rc<FlowCell>> {
        self.learned.borrow().get(key).cloned()
    }

    fn insert_learned(&self, key: &FlowKey, flow: Flow) -> Result<(), InsertError> {
        insert(&self.learned, self.learned_room, key, flow)
    }

    fn note_missed(&self, service: u32, slot: u32) {
        self.missed.borrow_mut().insert((service, slot));
    }

    fn now(&self) -> u32 {
        self.now.get()
    }

    fn route(&self, query: &RouteQuery) -> Route {
        match self.routes.get(&query.destination) {
            Some(_) if query.ip_len > self.mtu => Route::too_big(self.mtu),
            Some(route) => *route,
            None => Route::NONE,
        }
    }

    fn may_answer(&self) -> bool {
        let left = self.answers.get();
        self.answers.set(left.saturating_sub(1));
        left > 0
    }

    fn keep_cut(&self, cut: Cut) -> Option<()> {
        self.cut.set(Some(cut));
        Some(())
    }

    fn kept_cut(&self) -> Option<Cut> {
        self.cut.get()
    }

    fn fragment(&self, key: &FragmentKey) -> Option<Followed> {
        self.fragments.borrow().get(key).copied()
    }

    fn note_fragment(&self, key: &FragmentKey, followed: Followed) {
        self.fragments.borrow_mut().insert(*key, followed);
    }

    fn refuses(&self, service: u32, client: Addr) -> Option<Verdict> {
        admission::refuses(service, client, self)
    }

    fn overload(&self, backend: u32) -> Option<Overload> {
        admission::overload(backend, self)
    }

    fn change_open(&self, backend: u32, by: i64) {
        self.load_of(backend).change(by);
    }

    fn change_counters(&self, backend: u32, change: impl FnOnce(&mut BackendCounters)) {
        change(self.counters.borrow_mut().entry(backend).or_default());
    }
}

impl Gate for World {
    type BucketRef = Rc<Bucket>;
    type LoadRef = Rc<Load>;

    fn admission(&self, service: u32) -> Option<&Admission> {
        self.admissions.get(&service)
    }

    fn listed(&self, key: &ListKey) -> Listed {
        let mine = |(prefix, _): &(&ListKey, &Listed)| {
            prefix.service == key.service && prefix.contains(key.address)
        };
        let longest = self.lists.iter().filter(mine).max_by_key(|(key, _)| key.address_bits());
        longest.map_or(Listed::NOWHERE, |(_, listed)| *listed)
    }

    fn bucket(&self, scope: Scope, key: &RateKey) -> Option<Rc<Bucket>> {
        self.buckets.borrow().get(&(scope, *key)).cloned()
    }

    fn begin(&self, scope: Scope, key: &RateKey, bucket: Bucket) -> Result<(), InsertError> {
        match self.buckets.borrow_mut().entry((scope, *key)) {
            Entry::Occupied(_) => Err(InsertError::Exists),
            Entry::Vacant(place) => {
                place.insert(Rc::new(bucket));
                Ok(())
            }
        }
    }

    fn load_limits(&self, backend: u32) -> Option<&LoadLimits> {
        self.load_limits.get(&backend)
    }

    fn load(&self, backend: u32) -> Option<Rc<Load>> {
        Some(self.load_of(backend))
    }

    fn change_counters(&self, backend: u32, change: impl FnOnce(&mut BackendCounters)) {
        Tables::change_counters(self, backend, change);
    }

    fn clock_ns(&self) -> u64 {
        u64::from(self.now.get()) << ticks::SHIFT
    }
}

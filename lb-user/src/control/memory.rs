//! Tables in memory, for tests: refuses whatever would leave the data plane inconsistent.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use lb_common::{
    backend::{
        Backend, PeerKey, Source,
        backend_flags::{ACCEPT, DIRECT, FORWARD, PRESENT},
    },
    counters::BackendCounters,
    flow::{Flow, FlowKey},
    ring::Ring,
    service::{Service, ServiceKey},
    settings::Settings,
    verdict,
};

use super::{
    datapath::{Datapath, DatapathError, Edit, SweepReport},
    direct::DirectRings,
};
use crate::ring::{tests::shares, transition::SlotSet};

/// The tables.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    pub settings: Settings,
    pub sources: BTreeMap<u32, Source>,
    pub services: BTreeMap<ServiceKey, Service>,
    pub by_id: BTreeMap<u32, Service>,
    pub rings: BTreeMap<u32, Box<Ring>>,
    pub owners: BTreeMap<u32, Vec<u32>>,
    pub backends: BTreeMap<u32, Backend>,
    pub peers: BTreeMap<PeerKey, u32>,
    pub flows: BTreeMap<FlowKey, Flow>,
    /// By verdict; none is 0.
    pub verdicts: Vec<u64>,
    pub counters: BTreeMap<u32, BackendCounters>,
    pub edits: usize,
    /// The edits, counted from 0, that fail.
    pub failing: std::ops::Range<usize>,
    /// Those that fail have done the first of their writes, or their only one.
    pub fails_half_made: bool,
}

impl Memory {
    /// Panics unless a packet that came now would find everything it needs.
    pub fn check(&self) {
        for (id, owners) in &self.owners {
            for owner in owners {
                let backend = self.backends[owner];
                let needed = PRESENT | FORWARD | ACCEPT;
                assert_eq!(backend.flags & needed, needed, "in ring {id}: {owner}");
                assert_eq!(backend.service, *id, "backend {owner}");
            }
        }
        for service in self.services.values() {
            assert!(self.rings.contains_key(&service.id), "{service:?} has no ring");
            assert_eq!(self.by_id.get(&service.id), Some(service));
            assert!(self.settings.ports > 0, "a service, but no settings");
        }
        for (id, backend) in &self.backends {
            assert!(backend.flags & PRESENT != 0, "backend {id}");
            if backend.flags & DIRECT != 0 {
                continue;
            }
            for number in 0..u32::from(self.settings.sources_v4 + self.settings.sources_v6) {
                let source = self.sources[&number].address;
                if source.is_v4() == backend.address.is_v4() {
                    let (broker, port) = (backend.address, backend.port);
                    let key = PeerKey::new(broker, port, source);
                    assert_eq!(self.peers.get(&key), Some(&(backend.first_peer + number)));
                }
            }
        }
        for flow in self.flows.values() {
            assert!(self.backends.contains_key(&flow.backend()), "{flow:?} of nobody");
        }
    }

    fn make(&mut self, edit: &Edit) {
        match edit {
            Edit::PutSettings(settings) => self.settings = *settings,
            Edit::PutSource { number, source } => {
                self.sources.insert(*number, *source);
            }
            Edit::PutBackend { id, backend } => {
                self.backends.insert(*id, *backend);
            }
            Edit::ClearBackend { id } => {
                self.backends.remove(id);
            }
            Edit::PutPeer { key, peer } => {
                self.peers.insert(*key, *peer);
            }
            Edit::RemovePeer { key, .. } => {
                self.peers.remove(key);
            }
            Edit::PutRing { service, ring } => {
                self.rings.insert(*service, ring.clone());
                self.owners.insert(*service, shares(ring).into_keys().collect());
            }
            Edit::RemoveRing { service } => {
                self.rings.remove(service);
                self.owners.remove(service);
            }
            Edit::PutService(service) => {
                self.services.insert(service.key, *service);
                self.by_id.insert(service.id, *service);
            }
            Edit::RemoveService { key, id } => {
                self.services.remove(key);
                self.by_id.remove(id);
            }
            Edit::ClearService { id } => {
                assert!(self.services.values().all(|service| service.id != *id), "in use: {id}");
                self.by_id.remove(id);
            }
            Edit::Purge { backend } => {
                let flags = self.backends[backend].flags;
                assert_eq!(flags & (FORWARD | ACCEPT), 0, "it must refuse before");
                self.flows.retain(|_, flow| flow.backend() != *backend);
            }
        }
    }

    /// The first write of an edit.
    fn begin(&mut self, edit: &Edit) {
        match edit {
            Edit::PutService(service) => {
                self.by_id.insert(service.id, *service);
            }
            Edit::RemoveService { key, .. } => {
                self.services.remove(key);
            }
            _ => self.make(edit),
        }
    }
}

impl Datapath for Memory {
    fn apply(&mut self, edit: &Edit) -> Result<(), DatapathError> {
        self.edits += 1;
        if self.failing.contains(&(self.edits - 1)) {
            if self.fails_half_made {
                self.begin(edit);
            }
            return Err(DatapathError::Refused(format!("no: {edit}")));
        }
        self.make(edit);
        self.check();
        Ok(())
    }

    fn verdicts(&self) -> Result<Vec<u64>, DatapathError> {
        let mut verdicts = self.verdicts.clone();
        verdicts.resize(verdict::COUNT, 0);
        Ok(verdicts)
    }

    fn backend_counters(&self, ids: &[u32]) -> Result<Vec<BackendCounters>, DatapathError> {
        Ok(ids.iter().map(|id| self.counters.get(id).copied().unwrap_or_default()).collect())
    }

    fn sweep(&mut self, _: u32, _: &DirectRings) -> Result<SweepReport, DatapathError> {
        let mut report = SweepReport { flows: self.flows.len() as u64, ..SweepReport::default() };
        for flow in self.flows.values() {
            *report.open.entry(flow.backend()).or_default() += 1;
            let backend = self.backends[&flow.backend()];
            let peer = backend.first_peer + u32::from(flow.source);
            *report.ports.entry(peer).or_default() += 1;
        }
        Ok(report)
    }

    fn sweep_pending(&mut self, _: u32) -> Result<u64, DatapathError> {
        Ok(0)
    }

    fn flows(&self, visit: &mut dyn FnMut(&FlowKey, &Flow)) -> Result<(), DatapathError> {
        self.flows.iter().for_each(|(key, flow)| visit(key, flow));
        Ok(())
    }

    fn flow(&self, key: &FlowKey) -> Result<Option<Flow>, DatapathError> {
        Ok(self.flows.get(key).copied())
    }

    fn pending_flow(&self, _: &FlowKey) -> Result<Option<Flow>, DatapathError> {
        Ok(None)
    }

    fn learned_flow(&self, _: &FlowKey) -> Result<Option<Flow>, DatapathError> {
        Ok(None)
    }

    fn ring(&self, service: u32) -> Result<Option<Box<Ring>>, DatapathError> {
        Ok(self.rings.get(&service).cloned())
    }

    fn missed(&self, _: u32) -> SlotSet {
        SlotSet::default()
    }

    fn clear_missed(&mut self, _: u32, _: &SlotSet) {}
}

/// Tables that a test looks into while a controller owns them.
impl Datapath for Arc<Mutex<Memory>> {
    fn apply(&mut self, edit: &Edit) -> Result<(), DatapathError> {
        self.lock().unwrap().apply(edit)
    }

    fn verdicts(&self) -> Result<Vec<u64>, DatapathError> {
        self.lock().unwrap().verdicts()
    }

    fn backend_counters(&self, ids: &[u32]) -> Result<Vec<BackendCounters>, DatapathError> {
        self.lock().unwrap().backend_counters(ids)
    }

    fn sweep(&mut self, now: u32, direct: &DirectRings) -> Result<SweepReport, DatapathError> {
        self.lock().unwrap().sweep(now, direct)
    }

    fn sweep_pending(&mut self, now: u32) -> Result<u64, DatapathError> {
        self.lock().unwrap().sweep_pending(now)
    }

    fn flows(&self, visit: &mut dyn FnMut(&FlowKey, &Flow)) -> Result<(), DatapathError> {
        Datapath::flows(&*self.lock().unwrap(), visit)
    }

    fn flow(&self, key: &FlowKey) -> Result<Option<Flow>, DatapathError> {
        self.lock().unwrap().flow(key)
    }

    fn pending_flow(&self, key: &FlowKey) -> Result<Option<Flow>, DatapathError> {
        self.lock().unwrap().pending_flow(key)
    }

    fn learned_flow(&self, key: &FlowKey) -> Result<Option<Flow>, DatapathError> {
        self.lock().unwrap().learned_flow(key)
    }

    fn ring(&self, service: u32) -> Result<Option<Box<Ring>>, DatapathError> {
        self.lock().unwrap().ring(service)
    }

    fn missed(&self, service: u32) -> SlotSet {
        self.lock().unwrap().missed(service)
    }

    fn clear_missed(&mut self, service: u32, slots: &SlotSet) {
        self.lock().unwrap().clear_missed(service, slots);
    }
}

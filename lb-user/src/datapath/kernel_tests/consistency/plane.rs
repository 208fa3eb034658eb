//! The data plane of a run: that of the controller, but for the time, which may be let pass, and for
//! edits that fail when they are told to.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use aya::programs::{TestRun, TestRunOptions};
use lb_common::{
    admission::{ListKey, Listed},
    counters::BackendCounters,
    flow::{Flow, FlowKey},
    hash::Seed,
    ring::{Ring, slot_of},
    verdict::{Action, Verdict},
};

use lb_ebpf::host::Frame;

use super::super::{
    super::{PROGRAM, Xdp, loader, now},
    Datapath, Edit,
};
use crate::{
    control::{
        datapath::{DatapathError, SweepReport},
        direct::DirectRings,
    },
    ring::transition::SlotSet,
};

/// Ticks that were let pass beside those that have passed.
static PASSED: AtomicU32 = AtomicU32::new(0);

/// The clock of the run.
pub(super) fn tick() -> u32 {
    now() + PASSED.load(Relaxed)
}

/// See the module.
pub(super) struct Plane {
    /// `None` between one controller and the next.
    xdp: Option<Xdp>,
    verdicts: Vec<u64>,
    /// The edit, counted from now, that fails.
    pub failing: Option<u32>,
}

impl Plane {
    pub(super) fn new(xdp: Xdp) -> Self {
        let verdicts = xdp.verdicts().unwrap();
        Self { xdp: Some(xdp), verdicts, failing: None }
    }

    pub(super) fn xdp(&self) -> &Xdp {
        self.xdp.as_ref().unwrap()
    }

    fn xdp_mut(&mut self) -> &mut Xdp {
        self.xdp.as_mut().unwrap()
    }

    /// Lets go of the tables, which stay.
    pub(super) fn let_go(&mut self) {
        self.xdp = None;
    }

    /// Sends a frame through the program: its verdict, and the frame afterwards.
    pub(super) fn run(&mut self, frame: &[u8]) -> (Verdict, Vec<u8>) {
        let mut output = vec![0; frame.len() + 256];
        let programs = self.xdp().programs.clone();
        let mut programs = programs.lock();
        let program = loader::program(&mut programs, PROGRAM).unwrap();
        let result = program.test_run(TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut output),
            ..TestRunOptions::default()
        });
        let action = match result.unwrap().return_value {
            1 => Action::Drop,
            2 => Action::Pass,
            3 => Action::Reply,
            _ => Action::Forward,
        };
        let verdicts = self.xdp().verdicts().unwrap();
        // A packet of the kernel's own may have come by, with another one.
        let is_it = |verdict: &Verdict| {
            let at = *verdict as usize;
            verdict.action() == action && verdicts[at] > self.verdicts[at]
        };
        let verdict = Verdict::ALL.iter().copied().find(is_it).unwrap();
        self.verdicts = verdicts;
        (verdict, output)
    }

    /// Lets ticks pass: everything in the tables is older, and the clock of the run is ahead.
    pub(super) fn pass(&self, ticks: u32) {
        let tables = &self.xdp().tables;
        for table in [&tables.pending, &tables.flows, &tables.learned] {
            let older = |flow: &Flow| Flow { last_seen: flow.last_seen - ticks, ..*flow };
            let mut entries = Vec::new();
            let visited = table.visit(|keys, flows| {
                entries.extend(keys.iter().copied().zip(flows.iter().map(older)));
                Ok(())
            });
            visited.unwrap();
            for (key, flow) in &entries {
                table.put(key, flow).unwrap();
            }
        }
        PASSED.fetch_add(ticks, Relaxed);
    }

    /// What the tables say of the flow of a segment.
    pub(super) fn place(&self, frame: &Frame) -> String {
        let tables = &self.xdp().tables;
        let Ok(Some(settings)) = tables.settings.get(&0) else { return String::new() };
        let Ok(Some(service)) = tables.service_by_id.get(&0) else { return String::new() };
        let (client, port) = (frame.source.0.into(), frame.source.1.to_be_bytes());
        let hash = service.flow_hash(Seed(settings.seed0, settings.seed1), client, port);
        let slot = slot_of(hash);
        let key = FlowKey::new(client, port, service.id);
        let ring = self.xdp().ring(service.id).unwrap().unwrap();
        let [pending, flow, learned] =
            [&tables.pending, &tables.flows, &tables.learned].map(|table| table.get(&key).unwrap());
        format!(
            "{:?}, pending {pending:?}, flow {flow:?}, learned {learned:?}",
            ring[slot as usize]
        )
    }

    /// The keys of all entries, those that are in several tables several times.
    pub(super) fn keys(&self) -> Vec<FlowKey> {
        let tables = &self.xdp().tables;
        let mut all = Vec::new();
        for table in [&tables.pending, &tables.flows, &tables.learned] {
            let visited = table.visit(|keys, _| {
                all.extend_from_slice(keys);
                Ok(())
            });
            visited.unwrap();
        }
        all
    }
}

/// The tick by which the entries were seen, at a tick of the run.
fn of_entries(tick: u32) -> u32 {
    tick - PASSED.load(Relaxed)
}

impl Datapath for Arc<Mutex<Plane>> {
    fn apply(&mut self, edit: &Edit) -> Result<(), DatapathError> {
        let mut plane = self.lock().unwrap();
        match plane.failing {
            Some(0) => {
                plane.failing = None;
                return Err(DatapathError::Refused("it is to fail".to_owned()));
            }
            Some(left) => plane.failing = Some(left - 1),
            None => {}
        }
        plane.xdp_mut().apply(edit)
    }

    fn prepare(&mut self, edits: &[Edit]) -> Result<(), DatapathError> {
        self.lock().unwrap().xdp_mut().prepare(edits)
    }

    fn lists(&self) -> Result<BTreeMap<ListKey, Listed>, DatapathError> {
        self.lock().unwrap().xdp().lists()
    }

    fn verdicts(&self) -> Result<Vec<u64>, DatapathError> {
        self.lock().unwrap().xdp().verdicts()
    }

    fn backend_counters(&self, ids: &[u32]) -> Result<Vec<BackendCounters>, DatapathError> {
        self.lock().unwrap().xdp().backend_counters(ids)
    }

    fn sweep(&mut self, now: u32, direct: &DirectRings) -> Result<SweepReport, DatapathError> {
        self.lock().unwrap().xdp_mut().sweep(of_entries(now), direct)
    }

    fn sweep_pending(&mut self, now: u32) -> Result<u64, DatapathError> {
        self.lock().unwrap().xdp_mut().sweep_pending(of_entries(now))
    }

    fn flows(&self, visit: &mut dyn FnMut(&FlowKey, &Flow)) -> Result<(), DatapathError> {
        self.lock().unwrap().xdp().flows(visit)
    }

    fn flow(&self, key: &FlowKey) -> Result<Option<Flow>, DatapathError> {
        self.lock().unwrap().xdp().flow(key)
    }

    fn pending_flow(&self, key: &FlowKey) -> Result<Option<Flow>, DatapathError> {
        self.lock().unwrap().xdp().pending_flow(key)
    }

    fn learned_flow(&self, key: &FlowKey) -> Result<Option<Flow>, DatapathError> {
        self.lock().unwrap().xdp().learned_flow(key)
    }

    fn ring(&self, service: u32) -> Result<Option<Box<Ring>>, DatapathError> {
        self.lock().unwrap().xdp().ring(service)
    }

    fn missed(&self, service: u32) -> SlotSet {
        self.lock().unwrap().xdp().missed(service)
    }

    fn clear_missed(&mut self, service: u32, slots: &SlotSet) {
        self.lock().unwrap().xdp_mut().clear_missed(service, slots);
    }
}

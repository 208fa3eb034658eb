//! The data plane of a balancer without interfaces, whose services are all in the mode `mqtt`: there
//! is none.

use std::collections::BTreeMap;

use lb_common::{
    admission::{ListKey, Listed},
    counters::BackendCounters,
    flow::{Flow, FlowKey},
    ring::Ring,
    verdict::Verdict,
};

use super::{
    datapath::{Datapath, DatapathError, Edit, SweepReport},
    direct::DirectRings,
};
use crate::ring::transition::SlotSet;

/// Takes every edit, and forwards nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoDataPlane;

impl Datapath for NoDataPlane {
    fn apply(&mut self, edit: &Edit) -> Result<(), DatapathError> {
        match edit {
            // Interfaces cannot come by a reload.
            Edit::PutService(_) => Err(DatapathError::Refused(
                "without interfaces there are only services in the mode mqtt".to_owned(),
            )),
            _ => Ok(()),
        }
    }

    fn verdicts(&self) -> Result<Vec<u64>, DatapathError> {
        Ok(vec![0; Verdict::ALL.len()])
    }

    fn backend_counters(&self, ids: &[u32]) -> Result<Vec<BackendCounters>, DatapathError> {
        Ok(vec![BackendCounters::default(); ids.len()])
    }

    fn sweep(&mut self, _: u32, _: &DirectRings) -> Result<SweepReport, DatapathError> {
        Ok(SweepReport::default())
    }

    fn sweep_pending(&mut self, _: u32) -> Result<u64, DatapathError> {
        Ok(0)
    }

    fn flows(&self, _: &mut dyn FnMut(&FlowKey, &Flow)) -> Result<(), DatapathError> {
        Ok(())
    }

    fn flow(&self, _: &FlowKey) -> Result<Option<Flow>, DatapathError> {
        Ok(None)
    }

    fn pending_flow(&self, _: &FlowKey) -> Result<Option<Flow>, DatapathError> {
        Ok(None)
    }

    fn learned_flow(&self, _: &FlowKey) -> Result<Option<Flow>, DatapathError> {
        Ok(None)
    }

    fn lists(&self) -> Result<BTreeMap<ListKey, Listed>, DatapathError> {
        Ok(BTreeMap::new())
    }

    fn ring(&self, _: u32) -> Result<Option<Box<Ring>>, DatapathError> {
        Ok(None)
    }

    fn missed(&self, _: u32) -> SlotSet {
        SlotSet::default()
    }

    fn clear_missed(&mut self, _: u32, _: &SlotSet) {}
}

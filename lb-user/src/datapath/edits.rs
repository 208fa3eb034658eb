//! Changes of the tables, as the controller plans them.

use std::{collections::BTreeMap, time::Duration};

use lb_common::{
    admission::{ListKey, Listed},
    backend::{Backend, backend_flags::FORWARD},
    counters::BackendCounters,
    flow::{Flow, FlowKey},
    ring::Ring,
    service::{Service, ServiceKey},
    settings::Settings,
    trace::TraceFilter,
    verdict,
};

use super::{
    Xdp, collect,
    known::Known,
    peers, removal, rings,
    settling::{Change, Settling},
    tables::Tables,
    trace,
};
use crate::{
    control::{
        datapath::{Datapath, DatapathError, Edit, Preparation, SweepReport},
        direct::DirectRings,
        trace::TraceSource,
    },
    ring::transition::SlotSet,
};

impl Datapath for Xdp {
    fn apply(&mut self, edit: &Edit) -> Result<(), DatapathError> {
        let Self { tables, known, pins, settling, .. } = self;
        match edit {
            Edit::PutSettings(settings) => put_settings(tables, known, settings),
            Edit::PutSource { number, source } => tables.sources.put(number, source),
            Edit::PutBackend { id, backend } => {
                put_backend(tables, known, *id, backend)?;
                if backend.flags & FORWARD == 0 {
                    settling.begin(Change::Refusal);
                }
                Ok(())
            }
            Edit::ClearBackend { id } => {
                // The number may soon be another's, and a packet under way may have read it from
                // an entry or a port that has been purged since.
                settling.wait_once(Change::Purge)?;
                clear_backend(tables, known, *id)
            }
            Edit::PutAdmission { service, admission } => tables.admissions.put(service, admission),
            Edit::PutListed { key, listed } => tables.lists.put(key, *listed),
            Edit::RemoveListed { key } => tables.lists.remove(key),
            Edit::PutLoadLimits { id, limits } => tables.load_limits.put(id, limits),
            Edit::PutPeer { key, peer } => peers::put(tables, known, pins, key, *peer),
            Edit::RemovePeer { key, peer } => peers::remove(tables, known, pins, key, *peer),
            Edit::PutRing { service, ring } => rings::put(tables, pins, *service, ring),
            Edit::RemoveRing { service } => rings::remove(tables, pins, *service),
            Edit::PutService(service) => put_service(tables, service),
            Edit::RemoveService { key, id } => remove_service(tables, settling, key, *id),
            Edit::ClearService { id } => {
                // As when it is removed.
                settling.wait()?;
                tables.service_by_id.zero(id)
            }
            Edit::Purge { backend } => {
                settling.wait_once(Change::Refusal)?;
                settling.begin(Change::Purge);
                let settle = || settling.wait();
                removal::purge(&tables.of_flows(), known, *backend, super::now(), settle)
            }
        }
    }

    fn prepare(&mut self, edits: &[Edit]) -> Result<(), DatapathError> {
        let peers = edits.iter().filter_map(|edit| match edit {
            Edit::PutPeer { peer, .. } => Some(*peer),
            _ => None,
        });
        peers::create_tables(&self.tables, &mut self.known, &self.pins, peers.collect())
    }

    fn verdicts(&self) -> Result<Vec<u64>, DatapathError> {
        (0..verdict::COUNT as u32)
            .map(|index| Ok(self.tables.verdicts.get(index)?.iter().sum()))
            .collect()
    }

    fn backend_counters(&self, ids: &[u32]) -> Result<Vec<BackendCounters>, DatapathError> {
        let sum = |id: &u32| {
            let mut sum = BackendCounters::default();
            for cpu in &self.tables.backend_counters.get(*id)? {
                sum.add(cpu);
            }
            Ok(sum)
        };
        ids.iter().map(sum).collect()
    }

    fn sweep(&mut self, now: u32, direct: &DirectRings) -> Result<SweepReport, DatapathError> {
        let slot_of = |key: &FlowKey| direct.place(key);
        let Self { tables, known, suspects, .. } = self;
        let before = tables.loads.counted(&known.backends);
        let report = collect::everything(&tables.of_flows(), known, suspects, &slot_of, now)?;
        tables.loads.correct(&before, &report);
        Ok(report)
    }

    fn sweep_pending(&mut self, now: u32) -> Result<u64, DatapathError> {
        collect::handshakes(&self.tables.pending, &self.known, now)
    }

    fn flows(&self, visit: &mut dyn FnMut(&FlowKey, &Flow)) -> Result<(), DatapathError> {
        for table in [&self.tables.flows, &self.tables.learned] {
            table.visit(|keys, flows| {
                keys.iter().zip(flows).for_each(|(key, flow)| visit(key, flow));
                Ok(())
            })?;
        }
        Ok(())
    }

    fn flow(&self, key: &FlowKey) -> Result<Option<Flow>, DatapathError> {
        self.tables.flows.get(key)
    }

    fn pending_flow(&self, key: &FlowKey) -> Result<Option<Flow>, DatapathError> {
        self.tables.pending.get(key)
    }

    fn learned_flow(&self, key: &FlowKey) -> Result<Option<Flow>, DatapathError> {
        self.tables.learned.get(key)
    }

    fn lists(&self) -> Result<BTreeMap<ListKey, Listed>, DatapathError> {
        self.tables.lists.read()
    }

    fn ring(&self, service: u32) -> Result<Option<Box<Ring>>, DatapathError> {
        rings::read(&self.tables, &self.pins, service)
    }

    fn missed(&self, service: u32) -> SlotSet {
        self.tables.missed.of(service)
    }

    fn clear_missed(&mut self, service: u32, slots: &SlotSet) {
        self.tables.missed.clear(service, slots);
    }

    fn trace_preparation(&self) -> Option<Preparation> {
        let programs = self.programs.clone();
        Some(Box::new(move || trace::prepare(&mut programs.lock())))
    }

    fn start_trace(
        &mut self,
        filter: &TraceFilter,
        lasts: Duration,
    ) -> Result<Box<dyn TraceSource>, DatapathError> {
        trace::start(&mut self.programs.lock(), &self.pins, filter, lasts)
    }

    fn stop_trace(&mut self) -> Result<(), DatapathError> {
        trace::stop(&mut self.programs.lock(), &self.pins)
    }
}

fn put_settings(
    tables: &Tables,
    known: &mut Known,
    settings: &Settings,
) -> Result<(), DatapathError> {
    // A flow names its port by number, a table holds it by its distance from the first: with
    // another first port every flow would name another's.
    let first_settings = known.settings.ports == 0;
    let same_range = (first_settings || settings.first_port == known.settings.first_port)
        && u32::from(settings.ports) == known.ports_per_table;
    if !known.ports.is_empty() && !same_range {
        return Err(DatapathError::Refused(
            "the range of source ports (nat.ports) cannot change while there are tables of ports\n\
             hint: put it back, or, at the price of every connection, `mqlb detach` and start again"
                .to_owned(),
        ));
    }
    tables.settings.put(&0, settings)?;
    known.settings = *settings;
    Ok(())
}

fn put_backend(
    tables: &Tables,
    known: &mut Known,
    id: u32,
    backend: &Backend,
) -> Result<(), DatapathError> {
    tables.backends.put(&id, backend)?;
    known.backends.insert(id, *backend);
    Ok(())
}

fn clear_backend(tables: &Tables, known: &mut Known, id: u32) -> Result<(), DatapathError> {
    tables.backends.zero(&id)?;
    known.backends.remove(&id);
    tables.loads.clear(id);
    tables.backend_counters.clear(id)
}

fn put_service(tables: &Tables, service: &Service) -> Result<(), DatapathError> {
    tables.service_by_id.put(&service.id, service)?;
    // Last: from now on segments to this VIP are ours.
    tables.services.put(&service.key, service)?;
    tables.forget_known()
}

fn remove_service(
    tables: &Tables,
    settling: &Settling,
    key: &ServiceKey,
    id: u32,
) -> Result<(), DatapathError> {
    tables.services.remove(key)?;
    tables.forget_known()?;
    // A packet under way may still read the service that it has found.
    settling.wait()?;
    tables.service_by_id.zero(&id)
}

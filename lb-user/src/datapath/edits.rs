//! Changes of the tables, as the controller plans them.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_ARRAY;
use lb_common::{
    backend::Backend,
    counters::BackendCounters,
    flow::{Flow, FlowKey},
    ring::Ring,
    service::{Service, ServiceKey},
    settings::Settings,
    verdict,
};

use super::{
    Xdp, collect,
    known::Known,
    peers,
    settling::Settling,
    sys::{self, Shape},
    tables::Tables,
};
use crate::control::datapath::{Datapath, DatapathError, Edit, SweepReport};

impl Datapath for Xdp {
    fn apply(&mut self, edit: &Edit) -> Result<(), DatapathError> {
        let Self { tables, known, pins, settling, .. } = self;
        match edit {
            Edit::PutSettings(settings) => put_settings(tables, known, settings),
            Edit::PutSource { number, source } => tables.sources.put(number, source),
            Edit::PutBackend { id, backend } => put_backend(tables, known, *id, backend),
            Edit::ClearBackend { id } => {
                // The number may soon be another's, and a packet under way may have read it from
                // an entry or a port that has been purged since.
                settling.wait_once()?;
                clear_backend(tables, known, *id)
            }
            Edit::PutPeer { key, peer } => peers::put(tables, known, pins, key, *peer),
            Edit::RemovePeer { key, peer } => peers::remove(tables, known, pins, key, *peer),
            Edit::PutRing { service, ring } => put_ring(tables, *service, ring),
            Edit::RemoveRing { service } => tables.rings.remove(service),
            Edit::PutService(service) => put_service(tables, service),
            Edit::RemoveService { key, id } => remove_service(tables, settling, key, *id),
            Edit::Purge { backend } => {
                settling.begin();
                let settle = || settling.wait();
                collect::purge(&tables.of_flows(), known, *backend, super::now(), settle)
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

    fn sweep(&mut self, now: u32) -> Result<SweepReport, DatapathError> {
        collect::everything(&self.tables.of_flows(), &self.known, &mut self.suspects, now)
    }

    fn sweep_pending(&mut self, now: u32) -> Result<u64, DatapathError> {
        collect::handshakes(&self.tables.pending, &self.known, now)
    }

    fn flows(&self, visit: &mut dyn FnMut(&FlowKey, &Flow)) -> Result<(), DatapathError> {
        self.tables.flows.visit(|keys, flows| {
            keys.iter().zip(flows).for_each(|(key, flow)| visit(key, flow));
            Ok(())
        })
    }

    fn flow(&self, key: &FlowKey) -> Result<Option<Flow>, DatapathError> {
        self.tables.flows.get(key)
    }

    fn pending_flow(&self, key: &FlowKey) -> Result<Option<Flow>, DatapathError> {
        self.tables.pending.get(key)
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
    tables.backend_counters.clear(id)
}

/// A ring is never edited: a new one takes the place of the old one in one pointer swap, and the
/// kernel returns when no packet is under way on the old one any more.
fn put_ring(tables: &Tables, service: u32, ring: &Ring) -> Result<(), DatapathError> {
    const SHAPE: Shape = Shape {
        kind: BPF_MAP_TYPE_ARRAY as u32,
        key_bytes: size_of::<u32>() as u32,
        value_bytes: size_of::<Ring>() as u32,
        entries: 1,
        flags: 0,
    };
    let filled = || -> io::Result<_> {
        let map = sys::create_map("RINGS.inner", &SHAPE, None)?;
        let only = 0u32;
        // SAFETY: the map was made with keys and values of these sizes.
        unsafe { sys::update(map.as_fd(), &raw const only, &raw const *ring) }?;
        Ok(map)
    };
    let map = filled().map_err(|error| {
        tables.rings.error(format!("make the ring of service {service}"), error)
    })?;
    tables.rings.put(&service, &map.as_raw_fd().cast_unsigned())
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

//! All tables of the data plane, opened by their pins.

use lb_common::{
    admission::Admission,
    backend::{Backend, PeerKey, Source},
    counters::BackendCounters,
    flow::{Flow, FlowKey},
    layout::maps,
    load::LoadLimits,
    service::{Service, ServiceKey},
    settings::Settings,
};

use super::{
    StartError,
    collect::FlowTables,
    lists::Lists,
    loads::Loads,
    missed::Missed,
    pins::Pins,
    table::{PerCpuTable, Table},
};
use crate::control::datapath::DatapathError;

/// The tables; for each see [`lb_common::layout::maps`].
#[derive(Debug)]
pub(super) struct Tables {
    pub settings: Table<u32, Settings>,
    pub services: Table<ServiceKey, Service>,
    pub generation: Table<u32, u32>,
    pub service_by_id: Table<u32, Service>,
    /// The values are maps: written as file descriptors.
    pub rings: Table<u32, u32>,
    pub backends: Table<u32, Backend>,
    pub sources: Table<u32, Source>,
    pub peers: Table<PeerKey, u32>,
    /// The values are maps: written as file descriptors.
    pub ports: Table<u32, u32>,
    pub pending: Table<FlowKey, Flow>,
    pub flows: Table<FlowKey, Flow>,
    pub learned: Table<FlowKey, Flow>,
    pub missed: Missed,
    pub admissions: Table<u32, Admission>,
    pub lists: Lists,
    pub load_limits: Table<u32, LoadLimits>,
    pub loads: Loads,
    pub verdicts: PerCpuTable<u64>,
    pub backend_counters: PerCpuTable<BackendCounters>,
}

impl Tables {
    pub(super) fn open(pins: &Pins) -> Result<Self, StartError> {
        Ok(Self {
            settings: Table::open(pins, maps::SETTINGS)?,
            services: Table::open(pins, maps::SERVICES)?,
            generation: Table::open(pins, maps::GENERATION)?,
            service_by_id: Table::open(pins, maps::SERVICE_BY_ID)?,
            rings: Table::open(pins, maps::RINGS)?,
            backends: Table::open(pins, maps::BACKENDS)?,
            sources: Table::open(pins, maps::SOURCES)?,
            peers: Table::open(pins, maps::PEERS)?,
            ports: Table::open(pins, maps::PORTS)?,
            pending: Table::open(pins, maps::PENDING)?,
            flows: Table::open(pins, maps::FLOWS)?,
            learned: Table::open(pins, maps::LEARNED)?,
            missed: Missed::open(pins)?,
            admissions: Table::open(pins, maps::ADMISSIONS)?,
            lists: Lists::open(pins)?,
            load_limits: Table::open(pins, maps::LOAD_LIMITS)?,
            loads: Loads::open(pins)?,
            verdicts: PerCpuTable::open(pins, maps::VERDICTS)?,
            backend_counters: PerCpuTable::open(pins, maps::BACKEND_COUNTERS)?,
        })
    }

    /// From now on each CPU looks services and peers up anew (`lb-ebpf/src/known.rs`). To be called
    /// after every addition and every removal.
    pub(super) fn forget_known(&self) -> Result<(), DatapathError> {
        let generation = self.generation.get(&0)?.unwrap_or_default();
        self.generation.put(&0, &generation.wrapping_add(1))
    }

    /// Those that flows lie in.
    pub(super) const fn of_flows(&self) -> FlowTables<'_, Table<FlowKey, Flow>> {
        FlowTables { pending: &self.pending, flows: &self.flows, learned: &self.learned }
    }
}

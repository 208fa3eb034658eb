//! The tables of the program: written, and emptied again.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, anyhow, ensure};
use aya::{
    Pod,
    maps::{Array, ArrayOfMaps, HashMap, Map, MapData, PerCpuArray, PerCpuValues},
    util::nr_cpus,
};
use lb_common::{
    backend::{Backend, PeerKey, Source},
    counters::BackendCounters,
    flow::{Flow, FlowKey},
    layout::{maps, sizes},
    port::{Owner, port_flags},
    ring::{MISSED_WORDS, SLOTS, Slot},
    service::{Service, ServiceKey},
    settings::Settings,
};
use lb_ebpf::host::World;

use super::Kernel;

/// `BPF_F_MMAPABLE`: the port tables are made as the controller makes them.
const MMAPABLE: u32 = 1 << 10;

/// Services and backends have smaller numbers than this, so that they are found when the tables are
/// emptied.
pub(super) const NUMBERS: u32 = 128;

impl Kernel {
    pub(super) fn empty(&mut self) -> Result<()> {
        for flows in [maps::PENDING, maps::FLOWS, maps::LEARNED] {
            remove_all::<FlowKey, Flow>(self.map(flows)?)?;
        }
        remove_all::<[u64; 5], [u64; 7]>(self.map("FRAGMENTS")?)?;
        remove_all::<ServiceKey, Service>(self.map(maps::SERVICES)?)?;
        remove_all::<PeerKey, u32>(self.map(maps::PEERS)?)?;
        for ports in self.ports.values_mut() {
            for index in 0..ports.len() {
                if ports.get(&index, 0)? != [0; 4] {
                    ports.set(index, [0; 4], 0)?;
                }
            }
        }
        let services: Vec<u32> = self.rings.keys().copied().collect();
        let mut missed: Array<_, u64> = self.map(maps::MISSED)?.try_into()?;
        for word in services.iter().flat_map(|id| id * MISSED_WORDS..(id + 1) * MISSED_WORDS) {
            missed.set(word, 0, 0)?;
        }
        let mut backends: Array<_, [u64; 4]> = self.map(maps::BACKENDS)?.try_into()?;
        for id in 0..NUMBERS {
            backends.set(id, [0; 4], 0)?;
        }
        let mut by_id: Array<_, [u64; size_of::<Service>() / 8]> =
            self.map(maps::SERVICE_BY_ID)?.try_into()?;
        for id in 0..NUMBERS {
            by_id.set(id, [0; _], 0)?;
        }
        self.empty_limits()?;
        self.reset_counters()?;
        self.allow_answers()
    }

    /// Lets so many ticks pass for everything that is in the tables.
    pub fn age(&mut self, ticks: u32) -> Result<()> {
        for table in [maps::PENDING, maps::FLOWS, maps::LEARNED] {
            let entries = self.flows(table)?;
            let mut flows: HashMap<_, FlowKey, Flow> = self.map(table)?.try_into()?;
            for (key, flow) in entries {
                let last_seen = flow.last_seen.wrapping_sub(ticks);
                flows.insert(key, Flow { last_seen, ..flow }, 0)?;
            }
        }
        for ports in self.ports.values_mut() {
            for index in 0..ports.len() {
                let [owner, client @ .., progress] = ports.get(&index, 0)?;
                let owner = Owner(owner);
                if owner.has(port_flags::RESTING) {
                    let owner = Owner::resting(owner.resting_since().wrapping_sub(ticks));
                    ports.set(index, [owner.0, client[0], client[1], progress], 0)?;
                }
            }
        }
        Ok(())
    }

    /// The source ports that flows own, by peer and index.
    pub fn claimed_ports(&self) -> Result<BTreeSet<(u32, u32)>> {
        let mut claimed = BTreeSet::new();
        for (peer, ports) in &self.ports {
            for index in 0..ports.len() {
                let [owner, ..] = ports.get(&index, 0)?;
                if Owner(owner).has(port_flags::CLAIMED) {
                    claimed.insert((*peer, index));
                }
            }
        }
        Ok(claimed)
    }

    fn reset_counters(&mut self) -> Result<()> {
        let mut verdicts: PerCpuArray<_, u64> = self.map(maps::VERDICTS)?.try_into()?;
        for index in 0..verdicts.len() {
            verdicts.set(index, on_every_cpu(0)?, 0)?;
        }
        let mut counters: PerCpuArray<_, BackendCounters> =
            self.map(maps::BACKEND_COUNTERS)?.try_into()?;
        for id in 0..NUMBERS {
            counters.set(id, on_every_cpu(BackendCounters::default())?, 0)?;
        }
        Ok(())
    }

    /// Forgets how many packets were answered with ICMP errors.
    pub fn allow_answers(&mut self) -> Result<()> {
        let mut budget: PerCpuArray<_, [u64; 2]> = self.map("BUDGET")?.try_into()?;
        budget.set(0, on_every_cpu([0; 2])?, 0)?;
        Ok(())
    }

    /// Writes what the controller writes; flows stay as they are.
    pub fn write(&mut self, world: &World) -> Result<()> {
        let mut settings: Array<_, Settings> = self.map(maps::SETTINGS)?.try_into()?;
        settings.set(0, world.settings, 0)?;
        let mut services: HashMap<_, ServiceKey, Service> = self.map(maps::SERVICES)?.try_into()?;
        for (key, service) in &world.services {
            services.insert(key, service, 0)?;
        }
        let mut generation: Array<_, u32> = self.map(maps::GENERATION)?.try_into()?;
        generation.set(0, generation.get(&0, 0)? + 1, 0)?;
        let mut by_id: Array<_, Service> = self.map(maps::SERVICE_BY_ID)?.try_into()?;
        for service in world.services.values() {
            ensure!(service.id < NUMBERS, "service {}: `empty` would not find it", service.id);
            by_id.set(service.id, service, 0)?;
        }
        let mut sources: Array<_, Source> = self.map(maps::SOURCES)?.try_into()?;
        for (number, source) in &world.sources {
            sources.set(*number, source, 0)?;
        }
        let mut backends: Array<_, Backend> = self.map(maps::BACKENDS)?.try_into()?;
        for (id, backend) in &world.backends {
            ensure!(*id < NUMBERS, "backend {id}: `empty` would not find it");
            backends.set(*id, backend, 0)?;
        }
        self.write_peers(world)?;
        self.write_limits(world)?;
        self.write_rings(world)
    }

    fn write_peers(&mut self, world: &World) -> Result<()> {
        for (key, peer) in &world.peers {
            let mut peers: HashMap<_, PeerKey, u32> = self.map(maps::PEERS)?.try_into()?;
            peers.insert(key, peer, 0)?;
            if self.ports.contains_key(peer) {
                continue;
            }
            let ports = Array::create(sizes::PORTS.try_into()?, MMAPABLE)?;
            let mut tables: ArrayOfMaps<_, Array<MapData, [u64; 4]>> =
                self.map(maps::PORTS)?.try_into()?;
            tables.set(*peer, &ports, 0)?;
            self.ports.insert(*peer, ports);
        }
        Ok(())
    }

    fn write_rings(&mut self, world: &World) -> Result<()> {
        for (service, slot) in &world.rings {
            let mut ring = vec![*slot; SLOTS];
            let of_service = (*service, 0)..(service + 1, 0);
            for ((_, place), slot) in world.slots.range(of_service) {
                ring[*place as usize] = *slot;
            }
            let ring: Box<[Slot; SLOTS]> =
                ring.try_into().ok().context("a ring has as many slots as it has")?;
            if let Some(inner) = self.rings.get_mut(service) {
                inner.set(0, *ring, 0)?;
                continue;
            }
            let mut inner: Array<MapData, [Slot; SLOTS]> = Array::create(1, 0)?;
            inner.set(0, *ring, 0)?;
            let mut rings: ArrayOfMaps<_, Array<MapData, [Slot; SLOTS]>> =
                self.map(maps::RINGS)?.try_into()?;
            rings.set(*service, &inner, 0)?;
            self.rings.insert(*service, inner);
        }
        Ok(())
    }
}

fn on_every_cpu<T: Pod>(value: T) -> Result<PerCpuValues<T>> {
    let cpus = nr_cpus().map_err(|(what, error)| anyhow!("{what}: {error}"))?;
    Ok(PerCpuValues::try_from(vec![value; cpus])?)
}

pub(super) fn remove_all<K: Pod, V: Pod>(map: &mut Map) -> Result<()> {
    let mut map: HashMap<_, K, V> = map.try_into()?;
    let keys = map.keys().collect::<Result<Vec<K>, _>>()?;
    keys.iter().try_for_each(|key| Ok(map.remove(key)?))
}

//! The pinned tables of a running data plane, filled with connections that nobody opened: a
//! million of them through the handshake would take the benchmarks longer than all they measure.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use aya::{
    Pod,
    maps::{Array, HashMap, Map, MapData, PerCpuArray},
};
use lb_common::{
    addr::Addr,
    backend::{Backend, PeerKey},
    flow::{Flow, FlowKey},
    layout::maps,
    port::{Owner, port_flags},
    ring::{Ring, Slot},
    service::{Service, ServiceKey},
    verdict::Verdict,
};

/// The tables under a directory of pins.
#[derive(Debug)]
pub struct Tables {
    pins: PathBuf,
}

/// A connection, and what the tables say about it.
#[derive(Debug, Clone, Copy)]
pub struct Connection {
    pub key: FlowKey,
    pub flow: Flow,
    /// The peer that its source port belongs to.
    pub peer: u32,
    /// Distance of its source port from the first one.
    pub port_index: u32,
}

impl Tables {
    /// The tables that are pinned under `pins`, the `pin_dir` of the configuration.
    #[must_use]
    pub fn new(pins: impl Into<PathBuf>) -> Self {
        Self { pins: pins.into() }
    }

    /// The table with this name (see [`maps`]).
    pub fn open(&self, name: &str) -> Result<Map> {
        open(&self.pins.join("maps").join(name))
    }

    /// A table as a hash.
    pub fn hash<K: Pod, V: Pod>(&self, name: &str) -> Result<HashMap<MapData, K, V>> {
        self.open(name)?.try_into().with_context(|| format!("{name} is no hash of these types"))
    }

    /// The source ports of a peer.
    pub fn ports(&self, peer: u32) -> Result<Array<MapData, [u64; 4]>> {
        let map = open(&self.pins.join("ports").join(peer.to_string()))?;
        map.try_into().context("a table of source ports is an array")
    }

    /// The service at `vip`.
    pub fn service(&self, vip: SocketAddr) -> Result<Service> {
        let services: HashMap<_, ServiceKey, Service> = self.hash(maps::SERVICES)?;
        let key = ServiceKey::tcp(vip.ip().into(), vip.port().to_be_bytes());
        services.get(&key, 0).with_context(|| format!("the service at {vip}"))
    }

    /// The number of the backend of `service` at `broker`.
    pub fn backend(&self, service: u32, broker: SocketAddr) -> Result<(u32, Backend)> {
        let backends: Array<_, Backend> = self.open(maps::BACKENDS)?.try_into()?;
        let address = Addr::from(broker.ip());
        for (id, backend) in (0..).zip(backends.iter()) {
            let backend = backend?;
            let port = u16::from_be_bytes(backend.port);
            if (backend.service, backend.address, port) == (service, address, broker.port()) {
                return Ok((id, backend));
            }
        }
        anyhow::bail!("no backend at {broker}")
    }

    /// The number of the peer made of `broker` and a source address.
    pub fn peer(&self, broker: SocketAddr, source: IpAddr) -> Result<u32> {
        let peers: HashMap<_, PeerKey, u32> = self.hash(maps::PEERS)?;
        let key = PeerKey::new(broker.ip().into(), broker.port().to_be_bytes(), source.into());
        peers.get(&key, 0).with_context(|| format!("the peer of {broker} and {source}"))
    }

    /// Enters connections, both halves of each. Those of one peer should follow each other.
    pub fn fill(&self, connections: impl IntoIterator<Item = Connection>) -> Result<()> {
        let mut flows: HashMap<_, FlowKey, Flow> = self.hash(maps::FLOWS)?;
        let mut open: Option<(u32, Array<MapData, [u64; 4]>)> = None;
        for connection in connections {
            let Connection { key, flow, peer, port_index } = connection;
            if open.as_ref().is_none_or(|(number, _)| *number != peer) {
                open = Some((peer, self.ports(peer)?));
            }
            let Some((_, ports)) = &mut open else { continue };
            let Owner(owner) = Owner::claimed(flow.backend(), key.port);
            let owner = owner | port_flags::SYN_ACKED | port_flags::PROMOTED;
            let [first, second] = key.client.words();
            ports.set(port_index, [owner, first, second, 0], 0).context("write a source port")?;
            flows.insert(key, flow, 0).context("write a connection")?;
        }
        Ok(())
    }

    /// Changes the slots of a service where they are, which the controller never does.
    pub fn change_ring(&self, service: u32, change: impl FnMut(Slot) -> Slot + Send) -> Result<()> {
        let map = open(&self.pins.join("rings").join(service.to_string()))?;
        let mut map: Array<_, Ring> = map.try_into().context("a ring is an array")?;
        let in_place = || {
            let ring = map.get(&0, 0).context("read a ring")?.map(change);
            map.set(0, ring, 0).context("write a ring")
        };
        // A ring of half a megabyte passes over the stack, several times.
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(16 << 20);
            let changed = thread.spawn_scoped(scope, in_place)?.join();
            changed.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// The counters of all verdicts, summed over the CPUs.
    pub fn verdicts(&self) -> Result<Vec<u64>> {
        let counters: PerCpuArray<_, u64> = self.open(maps::VERDICTS)?.try_into()?;
        (0..Verdict::ALL.len() as u32)
            .map(|index| Ok(counters.get(&index, 0)?.iter().sum()))
            .collect()
    }
}

fn open(path: &Path) -> Result<Map> {
    let failed = || format!("open the table {}", path.display());
    let data = MapData::from_pin(path).with_context(failed)?;
    Map::from_map_data(data).with_context(failed)
}

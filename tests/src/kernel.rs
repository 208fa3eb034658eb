//! The XDP program in the kernel, fed by `BPF_PROG_TEST_RUN` in a network that answers its route
//! look-ups as the golden conversations expect.

mod tracing;

use std::{
    collections::BTreeMap,
    env,
    fmt::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use aya::{
    Ebpf, EbpfLoader,
    maps::{
        Array, ArrayOfMaps, HashMap, LpmTrie, Map, MapData, PerCpuArray, PerCpuValues, lpm_trie,
    },
    programs::{TestRun, TestRunOptions, Xdp},
};
use lb_common::{
    admission::{Admission, ListKey, Listed},
    backend::{Backend, PeerKey, Source},
    counters::BackendCounters,
    layout::{maps, sizes},
    load::LoadLimits,
    ring::{SLOTS, Slot},
    service::{Service, ServiceKey},
    settings::Settings,
    verdict::{Action, Verdict},
};
use lb_ebpf::host::{
    Bytes, World,
    golden::{Case, Family, GATEWAY_MAC, Net, OUR_MAC, Step, broker_mac},
};
use lb_user::datapath::pin_map_of_ports;

pub use tracing::{EVERYTHING, Traced};

use crate::{netns::Namespace, scratch::Scratch, xdp};

/// `BPF_F_MMAPABLE`: the port tables are made as the controller makes them.
const MMAPABLE: u32 = 1 << 10;

/// The interface that all routes lead out of, numbered [`Net::INTERFACE`].
const INTERFACE: &str = "golden0";

/// The object that is checked in beside its sources, or the one that `MQLB_XDP_OBJECT` names.
#[must_use]
pub fn object() -> PathBuf {
    let checked_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lb-ebpf/object/mqlb-xdp.o");
    env::var_os("MQLB_XDP_OBJECT").map_or(checked_in, PathBuf::from)
}

/// Which of the programs in the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The balancer as it is.
    Plain,
    /// The same, saying what becomes of every packet, as after `mqlb run --log-packets`: to a ring
    /// that nobody reads here; what does not fit is lost.
    Logging,
    /// That of `mqlb trace`.
    Tracing,
}

impl Program {
    const fn name(self) -> &'static str {
        match self {
            Self::Plain | Self::Logging => "mqlb",
            Self::Tracing => "mqlb_trace",
        }
    }
}

/// The program, its maps, and the network it looks its routes up in.
#[expect(missing_debug_implementations, reason = "aya's maps have none")]
pub struct Kernel {
    namespace: Namespace,
    ebpf: Ebpf,
    program: Program,
    /// The interface that frames come in by, and its own XDP program, without which no frame of a
    /// test can.
    ingress: u32,
    _receives: Option<xdp::Attached>,
    peers: BTreeMap<u32, Array<MapData, [u64; 4]>>,
}

/// What came of one frame.
#[derive(Debug)]
pub struct Run {
    /// The XDP action.
    pub action: u32,
    /// The frame afterwards.
    pub output: Bytes,
    /// Mean time per run, as the kernel measured it.
    pub duration: Duration,
}

impl Kernel {
    /// Loads the program and writes the plain tables of `world`.
    pub fn load(world: &World, which: Program) -> Result<Self> {
        let namespace = golden_network()?;
        let scratch = Scratch::new()?;
        let ports = scratch.bpffs().join(maps::PORTS);
        pin_map_of_ports(&ports, sizes::PEERS.try_into()?, sizes::PORTS.try_into()?)
            .context("make the map of source ports")?;
        let mut loader = EbpfLoader::new();
        let log_packets = u8::from(which == Program::Logging);
        loader
            .override_global("LOG_PACKETS", &log_packets, true)
            .map_pin_path(maps::PORTS, ports)
            .map_max_entries(maps::PENDING, world.pending_room.try_into()?)
            .map_max_entries(maps::FLOWS, world.flows_room.try_into()?)
            .map_max_entries(maps::LEARNED, world.learned_room.try_into()?);
        let mut ebpf = loader.load_file(object()).context("load the object")?;
        program(&mut ebpf, which)?.load().context("load the XDP program")?;
        let ingress = world.ingress;
        let receives = (ingress == Net::INTERFACE)
            .then(|| namespace.run(|| xdp::attach(INTERFACE, xdp::Verdict::Pass))?)
            .transpose()?;
        let peers = BTreeMap::new();
        let mut kernel =
            Self { namespace, ebpf, program: which, ingress, _receives: receives, peers };
        kernel.write(world)?;
        Ok(kernel)
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
            by_id.set(service.id, service, 0)?;
        }
        let mut sources: Array<_, Source> = self.map(maps::SOURCES)?.try_into()?;
        for (number, source) in &world.sources {
            sources.set(*number, source, 0)?;
        }
        let mut backends: Array<_, Backend> = self.map(maps::BACKENDS)?.try_into()?;
        for (id, backend) in &world.backends {
            backends.set(*id, backend, 0)?;
        }
        self.write_peers(world)?;
        self.write_limits(world)?;
        self.write_rings(world)
    }

    fn write_limits(&mut self, world: &World) -> Result<()> {
        let mut admissions: Array<_, Admission> = self.map(maps::ADMISSIONS)?.try_into()?;
        for (service, admission) in &world.admissions {
            admissions.set(*service, admission, 0)?;
        }
        let mut lists: LpmTrie<_, ListData, Listed> = self.map(maps::LISTS)?.try_into()?;
        for (key, listed) in &world.lists {
            lists.insert(&trie_key(key), listed, 0)?;
        }
        let mut limits: Array<_, LoadLimits> = self.map(maps::LOAD_LIMITS)?.try_into()?;
        for (backend, limit) in &world.load_limits {
            limits.set(*backend, limit, 0)?;
        }
        Ok(())
    }

    fn write_peers(&mut self, world: &World) -> Result<()> {
        for (key, peer) in &world.peers {
            if self.peers.contains_key(peer) {
                continue;
            }
            let ports = Array::create(sizes::PORTS.try_into()?, MMAPABLE)?;
            let mut tables: ArrayOfMaps<_, Array<MapData, [u64; 4]>> =
                self.map(maps::PORTS)?.try_into()?;
            tables.set(*peer, &ports, 0)?;
            let mut peers: HashMap<_, PeerKey, u32> = self.map(maps::PEERS)?.try_into()?;
            peers.insert(key, peer, 0)?;
            self.peers.insert(*peer, ports);
        }
        Ok(())
    }

    fn write_rings(&mut self, world: &World) -> Result<()> {
        for (service, slot) in &world.rings {
            let mut ring = vec![*slot; SLOTS];
            for ((of, place), slot) in &world.slots {
                if of == service {
                    ring[*place as usize] = *slot;
                }
            }
            let ring: Box<[Slot; SLOTS]> =
                ring.try_into().ok().context("a ring has as many slots as it has")?;
            let mut inner: Array<MapData, [Slot; SLOTS]> = Array::create(1, 0)?;
            inner.set(0, *ring, 0)?;
            let mut rings: ArrayOfMaps<_, Array<MapData, [Slot; SLOTS]>> =
                self.map(maps::RINGS)?.try_into()?;
            rings.set(*service, &inner, 0)?;
        }
        Ok(())
    }

    /// Sends one frame through the program, `repeat` times over the same memory.
    pub fn run(&mut self, input: &Bytes, repeat: u32) -> Result<Run> {
        let program = program(&mut self.ebpf, self.program)?;
        let mut output = vec![0; input.0.len() + 256];
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context = [0, input.0.len() as u32, 0, self.ingress, 0, 0].map(u32::to_ne_bytes);
        let context = context.concat();
        let result = self.namespace.run(|| {
            program.test_run(TestRunOptions {
                data_in: Some(&input.0),
                data_out: Some(&mut output),
                ctx_in: (self.ingress != Net::LOOPBACK).then_some(&context[..]),
                repeat,
                ..TestRunOptions::default()
            })
        })??;
        output.truncate(result.data_size_out as usize);
        Ok(Run { action: result.return_value, output: Bytes(output), duration: result.duration })
    }

    /// Plays `case` from its first step to its counters; fails where anything comes out otherwise
    /// than is written there.
    pub fn play(&mut self, case: &Case) -> Result<()> {
        for (number, step) in case.steps.iter().enumerate() {
            match step {
                Step::Change(world) => self.write(world)?,
                Step::Packet { input, verdict, output } => {
                    let run = self.run(input, 1)?;
                    let name = verdict.name();
                    ensure!(
                        run.action == self.xdp_action(*verdict),
                        "step {number}, {name}: {run:?}"
                    );
                    ensure!(
                        run.output == *output,
                        "step {number}: {:?}\nnot {output:?}",
                        run.output
                    );
                }
            }
        }
        assert_counted(&self.verdicts()?, &case.counted)
    }

    /// The counters of all verdicts, summed over the CPUs.
    pub fn verdicts(&self) -> Result<Vec<u64>> {
        let map = self.ebpf.map(maps::VERDICTS).context("the program counts verdicts")?;
        let counters: PerCpuArray<_, u64> = map.try_into()?;
        (0..Verdict::ALL.len() as u32)
            .map(|index| Ok(counters.get(&index, 0)?.iter().sum()))
            .collect()
    }

    /// The counters of a backend, summed over the CPUs.
    pub fn counters_of(&self, backend: u32) -> Result<BackendCounters> {
        let map = self.ebpf.map(maps::BACKEND_COUNTERS).context("the program counts")?;
        let counters: PerCpuArray<_, BackendCounters> = map.try_into()?;
        let values: PerCpuValues<_> = counters.get(&backend, 0)?;
        let mut sum = BackendCounters::default();
        values.iter().for_each(|value| sum.add(value));
        Ok(sum)
    }

    /// What the program returns for a verdict: `XDP_DROP`, `XDP_PASS`, `XDP_TX` or `XDP_REDIRECT`.
    #[must_use]
    pub fn xdp_action(&self, verdict: Verdict) -> u32 {
        match verdict.action() {
            Action::Drop => 1,
            Action::Pass => 2,
            Action::Reply => 3,
            Action::Forward if self.ingress == Net::INTERFACE => 3,
            Action::Forward => 4,
        }
    }

    fn map(&mut self, name: &str) -> Result<&mut Map> {
        self.ebpf.map_mut(name).with_context(|| format!("the program has a map {name}"))
    }
}

/// A prefix of a list behind its number of bits.
type ListData = [u8; 20];

fn trie_key(key: &ListKey) -> lpm_trie::Key<ListData> {
    let mut data = [0; 20];
    data[..4].copy_from_slice(&key.service.to_ne_bytes());
    data[4..].copy_from_slice(&key.address.octets());
    lpm_trie::Key::new(32 + u32::from(key.address_bits()), data)
}

fn program(ebpf: &mut Ebpf, which: Program) -> Result<&mut Xdp> {
    let program = ebpf.program_mut(which.name()).context("the object has the programs")?;
    Ok(program.try_into()?)
}

/// A namespace with the interface, addresses, routes and neighbours of the golden conversations.
fn golden_network() -> Result<Namespace> {
    let namespace = Namespace::new()?;
    let mac = |octets: [u8; 6]| octets.map(|octet| format!("{octet:02x}")).join(":");
    let mut lines = format!(
        "link set lo up\n\
         link add {INTERFACE} index {} address {} mtu 1500 type veth peer name golden1\n\
         link set golden1 up\nlink set {INTERFACE} up\n",
        Net::INTERFACE,
        mac(OUR_MAC)
    );
    for family in [Family::V4, Family::V6] {
        let net = Net(family);
        let (bits, clients, gateway) = match family {
            Family::V4 => (24, "10.77.3.0/24", "10.77.1.200"),
            Family::V6 => (48, "fd00:77:3::/48", "fd00:77:1::200"),
        };
        let nodad = if family == Family::V6 { " nodad" } else { "" };
        writeln!(lines, "address add {}/{bits} dev {INTERFACE}{nodad}", net.source().0)?;
        writeln!(lines, "route add {clients} via {gateway} dev {INTERFACE}")?;
        lines += &neighbour(gateway, &mac(GATEWAY_MAC));
        for number in [1, 2] {
            lines += &neighbour(&net.broker(number).0.to_string(), &mac(broker_mac(number)));
        }
    }
    namespace.ip(&lines)?;
    namespace.sysctl(&[("net.ipv4.ip_forward", "1"), ("net.ipv6.conf.all.forwarding", "1")])?;
    Ok(namespace)
}

fn neighbour(address: &str, mac: &str) -> String {
    format!("neighbour replace {address} lladdr {mac} dev {INTERFACE} nud permanent\n")
}

/// Fails unless the counters are exactly `expected`.
pub fn assert_counted(counters: &[u64], expected: &[(Verdict, u64)]) -> Result<()> {
    ensure!(counters.len() == Verdict::ALL.len(), "{} counters", counters.len());
    for (verdict, counter) in Verdict::ALL.iter().zip(counters) {
        let want = expected.iter().find(|(v, _)| v == verdict).map_or(0, |(_, count)| *count);
        if *counter != want {
            bail!("{} is {counter}, not {want}", verdict.name());
        }
    }
    Ok(())
}

//! The XDP program in the kernel, fed by `BPF_PROG_TEST_RUN` in a network that answers its route
//! look-ups as the golden conversations expect.

mod limits;
mod network;
mod tables;
mod tracing;

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, PerCpuValues},
    programs::{TestRun, TestRunOptions, Xdp},
};
use lb_common::{
    counters::BackendCounters,
    flow::{Flow, FlowKey},
    layout::{maps, sizes},
    ring::{MISSED_WORDS, SLOTS, Slot},
    verdict::{Action, Verdict},
};
use lb_ebpf::host::{
    Bytes, World,
    golden::{Case, Net, Step},
};
use lb_user::datapath::pin_map_of_ports;

pub use tracing::{EVERYTHING, Traced};

use self::network::{INTERFACE, golden_network};
use crate::{netns::Namespace, scratch::Scratch, xdp};

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
    room: Room,
    program: Program,
    ingress: u32,
    /// The XDP program of the interface, without which no frame of a test can come in by it.
    _receives: xdp::Attached,
    /// Ports by peer and rings by service: in their maps of maps, where a change waits until all
    /// packets under way are through.
    ports: BTreeMap<u32, Array<MapData, [u64; 4]>>,
    rings: BTreeMap<u32, Array<MapData, [Slot; SLOTS]>>,
}

/// Sizes of tables, which a program is loaded with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Room {
    pending: u32,
    flows: u32,
    learned: u32,
}

impl Room {
    fn of(world: &World) -> Result<Self> {
        Ok(Self {
            pending: world.pending_room.try_into()?,
            flows: world.flows_room.try_into()?,
            learned: world.learned_room.try_into()?,
        })
    }
}

/// Programs that were loaded for conversations, and serve for more of them.
#[expect(missing_debug_implementations, reason = "aya's maps have none")]
#[derive(Default)]
pub struct Kernels(Vec<Kernel>);

impl Kernels {
    /// Plays a conversation by a program that has the tables for it.
    pub fn play(&mut self, case: &Case) -> Result<()> {
        for kernel in &mut self.0 {
            if kernel.begin(&case.world)? {
                return kernel.play(case);
            }
        }
        self.0.push(Kernel::load(&case.world, Program::Plain)?);
        self.0.last_mut().context("it was loaded just now")?.play(case)
    }
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
        let room = Room::of(world)?;
        loader
            .override_global("LOG_PACKETS", &log_packets, true)
            .map_pin_path(maps::PORTS, ports)
            .map_max_entries(maps::PENDING, room.pending)
            .map_max_entries(maps::FLOWS, room.flows)
            .map_max_entries(maps::LEARNED, room.learned);
        let mut ebpf = loader.load_file(object()).context("load the object")?;
        program(&mut ebpf, which)?.load().context("load the XDP program")?;
        let receives = namespace.run(|| xdp::attach(INTERFACE, xdp::Verdict::Pass))??;
        let mut kernel = Self {
            namespace,
            ebpf,
            program: which,
            room,
            ingress: world.ingress,
            _receives: receives,
            ports: BTreeMap::new(),
            rings: BTreeMap::new(),
        };
        kernel.write(world)?;
        Ok(kernel)
    }

    /// Begins anew with `world`, as if it was loaded just now; `false`, and nothing done, if that
    /// takes tables of other sizes, or without something that the maps of maps have.
    pub fn begin(&mut self, world: &World) -> Result<bool> {
        let has_peer = |peer| world.peers.values().any(|of_world| of_world == peer);
        let has_ring = |service| world.rings.contains_key(service);
        let is_too_much = !self.ports.keys().all(has_peer) || !self.rings.keys().all(has_ring);
        if Room::of(world)? != self.room || is_too_much {
            return Ok(false);
        }
        self.empty().context("empty the tables")?;
        self.ingress = world.ingress;
        self.write(world)?;
        Ok(true)
    }

    /// Moves the calling thread into the network of the program, for good.
    pub fn enter(&self) -> Result<()> {
        self.namespace.enter()
    }

    /// Sends one frame through the program, `repeat` times over the same memory.
    pub fn run(&mut self, input: &Bytes, repeat: u32) -> Result<Run> {
        let namespace = self.namespace.clone();
        std::thread::scope(|scope| {
            let run = scope.spawn(|| namespace.enter().and_then(|()| self.run_here(input, repeat)));
            run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// The same on a thread that is in the network of the program.
    pub fn run_here(&mut self, input: &Bytes, repeat: u32) -> Result<Run> {
        let program = program(&mut self.ebpf, self.program)?;
        let mut output = vec![0; input.0.len() + 256];
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context = [0, input.0.len() as u32, 0, self.ingress, 0, 0].map(u32::to_ne_bytes);
        let context = context.concat();
        let result = program.test_run(TestRunOptions {
            data_in: Some(&input.0),
            data_out: Some(&mut output),
            ctx_in: (self.ingress != Net::LOOPBACK).then_some(&context[..]),
            repeat,
            ..TestRunOptions::default()
        })?;
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

    /// An entry of a table of flows.
    pub fn flow(&self, table: &str, key: &FlowKey) -> Result<Option<Flow>> {
        let map = self.ebpf.map(table).with_context(|| format!("the program has {table}"))?;
        let flows: HashMap<_, FlowKey, Flow> = map.try_into()?;
        match flows.get(key, 0) {
            Err(MapError::KeyNotFound) => Ok(None),
            found => Ok(Some(found?)),
        }
    }

    /// All entries of a table of flows.
    pub fn flows(&self, table: &str) -> Result<BTreeMap<FlowKey, Flow>> {
        let map = self.ebpf.map(table).with_context(|| format!("the program has {table}"))?;
        let flows: HashMap<_, FlowKey, Flow> = map.try_into()?;
        Ok(flows.iter().collect::<Result<_, _>>()?)
    }

    /// The slots of a service with flows that could not be learned.
    pub fn missed(&self, service: u32) -> Result<BTreeSet<u32>> {
        let map = self.ebpf.map(maps::MISSED).context("the program notes missed slots")?;
        let words: Array<_, u64> = map.try_into()?;
        let mut slots = BTreeSet::new();
        for word in 0..MISSED_WORDS {
            let bits = words.get(&(service * MISSED_WORDS + word), 0)?;
            slots.extend((0..64).filter(|bit| bits >> bit & 1 != 0).map(|bit| word * 64 + bit));
        }
        Ok(slots)
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

fn program(ebpf: &mut Ebpf, which: Program) -> Result<&mut Xdp> {
    let program = ebpf.program_mut(which.name()).context("the object has the programs")?;
    Ok(program.try_into()?)
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

//! The replaying program: what it replays, and how long a frame takes.

use std::{net::IpAddr, path::Path};

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf,
    maps::{Array, ProgramArray},
    programs::{ProgramFd, TestRun as _, TestRunOptions, Xdp},
};
use lb_common::replay::{FRAME_LEN, Plan, kind};
use lb_ebpf::{host::Frame, parse::tcp_flags};
use lb_tests::topology::Family;

use super::{
    packet::Packet,
    stage::{FIRST_PORT, Stage},
};

/// Runs whatever program is put behind it, a packet of another flow each time.
pub struct Replay {
    ebpf: Ebpf,
    nothing: ProgramFd,
}

impl Replay {
    /// Loads the replaying program from the object `path`.
    pub fn load(path: &Path) -> Result<Self> {
        let mut ebpf = Ebpf::load_file(path)
            .with_context(|| format!("load the replaying program {}", path.display()))?;
        for name in ["replay", "nothing"] {
            program(&mut ebpf, name)?.load().with_context(|| format!("load {name}"))?;
        }
        let nothing = program(&mut ebpf, "nothing")?.fd()?.try_clone()?;
        Ok(Self { ebpf, nothing })
    }

    /// From now on `packet` is replayed, of `flows` flows (a power of two).
    pub fn set(&mut self, stage: &Stage, family: Family, packet: Packet, flows: u32) -> Result<()> {
        let plan = Plan {
            frame: frame(stage, family, packet)?,
            brokers: stage.brokers(family),
            sources: stage.sources(family),
            first_client: Stage::first_client(family, packet.is_of_known_client())?.into(),
            kind: match packet {
                Packet::FromBroker => kind::FROM_BROKER,
                _ if packet.opens() => kind::FROM_CLIENT_IN_TURN,
                _ => kind::FROM_CLIENT,
            },
            flows,
            first_port: FIRST_PORT,
            is_wrapped: packet.service().is_tunnelled().into(),
            pad: [0; 4],
        };
        let plans = self.ebpf.map_mut("PLAN").context("the map PLAN")?;
        Array::<_, Plan>::try_from(plans)?.set(0, plan, 0)?;
        let progress = self.ebpf.map_mut("PROGRESS").context("the map PROGRESS")?;
        Ok(Array::<_, [u32; 2]>::try_from(progress)?.set(0, [0, 1], 0)?)
    }

    /// Nanoseconds per frame with `program` behind the replay, or with nothing.
    pub fn run(&mut self, program_fd: Option<&ProgramFd>, frames: u32) -> Result<f64> {
        let map = self.ebpf.map_mut("UNDER_TEST").context("the map UNDER_TEST")?;
        let mut under_test = ProgramArray::try_from(map)?;
        under_test.set(0, program_fd.unwrap_or(&self.nothing), 0)?;
        let input = [0; FRAME_LEN];
        let result = program(&mut self.ebpf, "replay")?.test_run(TestRunOptions {
            data_in: Some(&input),
            repeat: frames,
            ..TestRunOptions::default()
        })?;
        ensure!(result.return_value != 0, "the replaying program failed");
        Ok(result.duration.as_nanos() as f64)
    }
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    Ok(ebpf.program_mut(name).with_context(|| format!("the program {name}"))?.try_into()?)
}

/// The frame with zeros for what belongs to the flow.
fn frame(stage: &Stage, family: Family, packet: Packet) -> Result<[u64; FRAME_LEN / 8]> {
    let nobody: IpAddr = match family {
        Family::V4 => [0, 0, 0, 0].into(),
        Family::V6 => [0u16; 8].into(),
    };
    let vip = stage.vip(packet.service(), family);
    let (source, destination) = match packet {
        Packet::FromBroker => ((nobody, vip.1), (nobody, 0)),
        _ => ((nobody, 0), vip),
    };
    let flags = if packet.opens() { tcp_flags::SYN } else { tcp_flags::ACK };
    let mut frame = Frame::new(source, destination, flags);
    if !packet.opens() {
        // PINGREQ.
        frame.payload = vec![0xc0, 0];
    }
    // Ethernet pads short frames.
    let mut bytes = frame.bytes().0;
    bytes.resize(FRAME_LEN, 0);
    let words = bytes.chunks_exact(8).map(|word| word.try_into().map(u64::from_ne_bytes));
    let words: Vec<u64> = words.collect::<Result<_, _>>()?;
    words.try_into().ok().context("a frame has its length")
}

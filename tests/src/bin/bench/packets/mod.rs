//! What a packet costs in the XDP program, without everything around it.

mod packet;
mod replay;
mod stage;

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use aya::programs::ProgramFd;
use lb_common::{
    flow::{Flow, FlowKey},
    layout::maps,
    replay::{BROKERS, MAX_FLOWS, SOURCES},
};
use lb_tests::topology::Family;

use super::{
    document::Block,
    machine::pin_to_last_cpu,
    options::Options,
    statistics::{median, range},
    table::{Table, figure, verdict},
};
use packet::{AIM_IPV6, Packet, version};
use replay::Replay;
use stage::Stage;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Effort {
    /// Pairs of base line and program under test.
    rounds: usize,
    /// Frames in each.
    frames: u32,
}

const FULL: Effort = Effort { rounds: 15, frames: 1_000_000 };
const QUICK: Effort = Effort { rounds: 3, frames: 200_000 };

/// One line of the table; times in nanoseconds per frame, a sample per round.
#[derive(Debug)]
struct Line {
    family: Family,
    packet: Packet,
    flows: u32,
    /// The replay alone.
    base: Vec<f64>,
    /// The program under test, without the replay.
    net: Vec<f64>,
}

pub fn run(options: &Options, print: &dyn Fn(&str)) -> Result<Block> {
    let replay = options.replay.as_deref().context("say with `--replay FILE` what replays")?;
    print("\npackets");
    let effort = if options.quick { QUICK } else { FULL };
    // On a thread of its own, because it pins itself.
    let lines = std::thread::scope(|scope| {
        let measured = scope.spawn(|| measure(&options.mqlb, replay, effort)).join();
        measured.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    Ok(Block { name: "packets", text: table(&lines).to_string() })
}

fn table(lines: &[Line]) -> Table {
    let head = ["packet", "flows", "ns", "lowest", "highest", "of base line", "aim"];
    let mut table = Table::new(head);
    for line in lines {
        let Line { family, packet, flows, base, net } = line;
        let (lowest, highest) = range(net);
        let ns = median(net);
        table.row([
            format!("{}, {}", version(*family), packet.name()),
            flows.to_string(),
            figure(ns),
            figure(lowest),
            figure(highest),
            figure(ns / median(base)),
            aim(line, lines)
                .map_or_else(String::new, |aim| verdict(&format!("<= {}", figure(aim)), ns <= aim)),
        ]);
    }
    table
}

/// What a line may cost, in nanoseconds: in IPv6 so many times what the same costs in IPv4.
fn aim(line: &Line, lines: &[Line]) -> Option<f64> {
    let aim = line.packet.aim_ns(line.flows)?;
    if line.family == Family::V4 {
        return Some(aim);
    }
    let same = |other: &&Line| {
        (other.family, other.packet, other.flows) == (Family::V4, line.packet, line.flows)
    };
    lines.iter().find(same).map(|ipv4| median(&ipv4.net) * AIM_IPV6)
}

/// Measures all packets, of both families.
fn measure(mqlb: &Path, replay: &Path, effort: Effort) -> Result<Vec<Line>> {
    let stage = Stage::new(mqlb)?;
    pin_to_last_cpu()?;
    let program = stage.program()?.fd()?;
    let mut bench = Bench { replay: Replay::load(replay)?, stage, program, effort };
    let mut lines = Vec::new();
    for family in Family::ALL {
        // The ports are all free yet.
        lines.push(bench.opened(family, Packet::Syn)?);
        bench.stage.free_ports(family)?;
        bench.stage.fill(family)?;
        for packet in Packet::NAT {
            bench.lines(family, packet, &mut lines)?;
        }
        bench.stage.settle(family)?;
        bench.stage.move_slots(family)?;
        lines.push(bench.opened(family, Packet::MovingSyn)?);
        for packet in Packet::DIRECT {
            bench.lines(family, packet, &mut lines)?;
        }
    }
    Ok(lines)
}

struct Bench {
    replay: Replay,
    stage: Stage,
    program: ProgramFd,
    effort: Effort,
}

impl Bench {
    /// Measures a packet that leaves the tables as they are, with few and with many flows.
    fn lines(&mut self, family: Family, packet: Packet, lines: &mut Vec<Line>) -> Result<()> {
        for flows in packet.flows() {
            lines.push(self.line(family, packet, flows)?);
        }
        Ok(())
    }

    fn line(&mut self, family: Family, packet: Packet, flows: u32) -> Result<Line> {
        let Effort { rounds, frames } = self.effort;
        self.replay.set(&self.stage, family, packet, flows)?;
        self.run(true, packet, frames)?;
        let mut base = Vec::new();
        let mut net = Vec::new();
        for _ in 0..rounds {
            let alone = self.run(false, packet, frames)?;
            net.push(self.run(true, packet, frames)? - alone);
            base.push(alone);
        }
        Ok(Line { family, packet, flows, base, net })
    }

    /// Measures the SYN of new clients: fewer at a time, because each leaves a handshake.
    fn opened(&mut self, family: Family, packet: Packet) -> Result<Line> {
        const FRAMES: u32 = 30_000;
        self.replay.set(&self.stage, family, packet, MAX_FLOWS)?;
        let mut base = Vec::new();
        let mut net = Vec::new();
        for _ in 0..self.effort.rounds {
            let alone = self.run(false, packet, FRAMES)?;
            net.push(self.run(true, packet, FRAMES)? - alone);
            base.push(alone);
            self.forget_handshakes()?;
        }
        Ok(Line { family, packet, flows: FRAMES, base, net })
    }

    /// Replays `frames`, and makes sure that each got the verdict that is to be measured. What the
    /// network itself says meanwhile (ARP and its like) is counted, too.
    fn run(&mut self, under_test: bool, packet: Packet, frames: u32) -> Result<f64> {
        let verdict = packet.verdict();
        let before = self.stage.tables.verdicts()?;
        let program = under_test.then_some(&self.program);
        let replay = &mut self.replay;
        let time = self.stage.namespace().run(|| replay.run(program, frames))??;
        let after = self.stage.tables.verdicts()?;
        let counted: Vec<u64> =
            after.iter().zip(&before).map(|(after, before)| after - before).collect();
        let expected = if under_test { u64::from(frames) } else { 0 };
        let others = counted.iter().sum::<u64>() - counted[verdict as usize];
        ensure!(
            counted[verdict as usize] == expected && others < 1_000,
            "{packet:?}: {} times {}, not {expected}; {others} times something else",
            counted[verdict as usize],
            verdict.name()
        );
        Ok(time)
    }

    fn forget_handshakes(&self) -> Result<()> {
        let mut pending = self.stage.tables.hash::<FlowKey, Flow>(maps::PENDING)?;
        let keys: Vec<FlowKey> = pending.keys().collect::<Result<_, _>>()?;
        keys.iter().try_for_each(|key| pending.remove(key)).context("forget the handshakes")
    }
}

const _: () =
    assert!(BROKERS * SOURCES * (lb_common::replay::PORTS as usize) == MAX_FLOWS as usize);

//! Live frames through veth on one CPU: what mqlb sends back, beside a program that sends every frame
//! back unseen (`XDP_TX`).
//!
//! The kernel sends frames into the balancer's interface as a driver does, and on the same CPU runs
//! the program behind it; what comes back is dropped and counted at the port that sent it. So both
//! share the CPU with the sender and veth, whose part is the same for both.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lb_tests::balancer::Balancer;
use lb_tests::broker::Broker;
use lb_tests::flood::Flood;
use lb_tests::topology::{Arms, Family, Topology};
use lb_tests::xdp::{self, Verdict};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use serde_json::json;

use crate::contender;
use crate::document::Block;
use crate::statistics::{median, range};
use crate::table::{Table, figure, verdict};

const READY_LIMIT: Duration = Duration::from_secs(20);
/// More than any machine sends in the time.
const MOST: u64 = 100_000_000;
/// Of the frames per second of a program that only sends back.
const AIM: f64 = 0.8;
/// Nothing else is asked of the first CPU.
const CPU: usize = 0;

/// Frames per second that came back: of `XDP_TX` alone, and of mqlb.
struct Round {
    back: f64,
    mqlb: f64,
}

pub fn run(quick: bool, mqlb: &Path, print: &dyn Fn(&str)) -> Result<Block> {
    let (rounds, length) = if quick { (3, 500) } else { (10, 2000) };
    let length = Duration::from_millis(length);
    let mut topology = Topology::new(Arms::One, 1)?;
    topology.give_brokers_the_vips()?;
    let brokers = Broker::start_all(&topology)?;
    let mut measured = Vec::new();
    for number in 0..rounds {
        let mut take = |is_mqlb| {
            if is_mqlb {
                through_mqlb(&mut topology, mqlb, length).context("mqlb")
            } else {
                sent_back(&mut topology, length).context("XDP_TX")
            }
        };
        // Each of them is the first in every second round.
        let first = take(number % 2 == 1)?;
        let second = take(number % 2 == 0)?;
        let (back, mqlb) = if number % 2 == 1 { (second, first) } else { (first, second) };
        print(&format!("round {} of {rounds}: {}, {}", number + 1, figure(back), figure(mqlb)));
        measured.push(Round { back, mqlb });
    }
    drop(brokers);
    Ok(Block { name: "live", text: write(&measured).to_string() })
}

fn write(rounds: &[Round]) -> Table {
    let head = ["frames per s, one CPU", "median", "from", "to", "aim"];
    let mut table = Table::new(head);
    let mut row = |name: &str, of: fn(&Round) -> f64, aim: Option<f64>| {
        let samples: Vec<f64> = rounds.iter().map(of).collect();
        let (low, high) = range(&samples);
        let aim = aim.map_or(String::new(), |aim| {
            verdict(&format!("at least {}", figure(aim)), median(&samples) >= aim)
        });
        let figures = [median(&samples), low, high].map(figure);
        table.row([name.to_owned()].into_iter().chain(figures).chain([aim]));
    };
    row("XDP_TX", |round| round.back, None);
    row("mqlb, dsr, stable slot", |round| round.mqlb, None);
    row("mqlb / XDP_TX of the same round", |round| round.mqlb / round.back, Some(AIM));
    table
}

fn sent_back(topology: &mut Topology, length: Duration) -> Result<f64> {
    let interface = topology.interfaces()[0];
    let _program = topology.balancer().run(|| xdp::attach(interface, Verdict::Transmit))??;
    Ok(come_back(topology, length)?.per_second())
}

fn through_mqlb(topology: &mut Topology, mqlb: &Path, length: Duration) -> Result<f64> {
    let mut config = contender::mqlb_config(topology);
    config["nat"]["addresses"] = json!([topology.balancer_address(Family::V4)]);
    config["services"][0]["mode"] = json!("dsr");
    // Its checks are not answered while what it sends is dropped.
    config["services"][0]["health"] = json!({ "type": "tcp", "interval": "5m" });
    let mut balancer = Balancer::start_program(topology, &config, mqlb.into())?;
    balancer.wait_active(READY_LIMIT)?;
    let before = forwarded(&balancer)?;
    let back = come_back(topology, length)?;
    let forwarded = forwarded(&balancer)? - before;
    let named = forwarded as f64 / back.frames as f64;
    ensure!(named > 0.99, "of {} frames that came back, {forwarded} were forwarded", back.frames);
    balancer.stop()?;
    balancer.detach()?;
    Ok(back.per_second())
}

/// Packets that a broker was given.
fn forwarded(balancer: &Balancer) -> Result<u64> {
    let status = balancer.json("status")?;
    let packets = status["services"][0]["traffic"]["packets_to_backend"].as_u64();
    packets.context("the status counts packets")
}

/// Frames that came back.
struct Back {
    frames: u64,
    seconds: f64,
}

impl Back {
    fn per_second(&self) -> f64 {
        self.frames as f64 / self.seconds
    }
}

/// Has the kernel send as many frames as it can.
fn come_back(topology: &mut Topology, length: Duration) -> Result<Back> {
    let flood = Flood::of_data(topology, topology.vip(Family::V4))?;
    topology.drop_what_the_balancer_sends(true)?;
    let port = topology.balancer_ports()[0];
    let measured = topology.switch().run(|| {
        let mut cpu = CpuSet::new();
        cpu.set(CPU)?;
        sched_setaffinity(Pid::from_raw(0), &cpu)?;
        let before = received(port)?;
        let began = Instant::now();
        flood.send_from_here(MOST, |_| began.elapsed() >= length)?;
        let seconds = began.elapsed().as_secs_f64();
        anyhow::Ok(Back { frames: received(port)? - before, seconds })
    });
    topology.drop_what_the_balancer_sends(false)?;
    let back = measured??;
    ensure!(back.frames > 0, "no frame came back");
    Ok(back)
}

/// Frames that an interface of this thread's namespace has received.
fn received(interface: &str) -> Result<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/net/dev").context("read net/dev")?;
    packets_received(&text, interface).with_context(|| format!("{interface} is in net/dev"))
}

fn packets_received(text: &str, interface: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix(interface)?.strip_prefix(':'));
    line?.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_follow_bytes_in_the_line_of_the_interface() {
        let text =
            "Inter-|   Receive\n face |bytes    packets errs\n  port1: 640 10 0\nport10: 7 1 0\n";
        assert_eq!(packets_received(text, "port1"), Some(10));
        assert_eq!(packets_received(text, "port10"), Some(1));
        assert_eq!(packets_received(text, "port2"), None);
    }

    #[test]
    fn the_aim_is_for_the_ratio_of_a_round() {
        let rounds = [Round { back: 100.0, mqlb: 90.0 }, Round { back: 200.0, mqlb: 140.0 }];
        let text = write(&rounds).to_string();
        assert!(text.contains("hit"), "{text}");
        let text = write(&rounds[1..]).to_string();
        assert!(text.contains("missed"), "{text}");
    }
}

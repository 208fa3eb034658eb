//! Frames as a driver sends them, through veth, on one CPU: how many come back from mqlb in mode `dsr`, beside
//! a program that sends every frame back as it is (`XDP_TX`).

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lb_common::ring::Slot;
use lb_ebpf::{host::Frame, parse::tcp_flags};
use lb_tests::balancer::Balancer;
use lb_tests::netns::Namespace;
use lb_tests::scratch::Scratch;
use lb_tests::tables::Tables;
use lb_tests::xdp::{self, Injector};
use serde_json::json;

use crate::document::Block;
use crate::machine::pin_to_last_cpu;
use crate::statistics::{median, range};
use crate::table::{Table, figure, verdict};

const AIM: f64 = 0.8;

/// Frames of one call into the kernel.
const BATCH: u32 = 65_536;

const MQTT_PORT: u16 = 1883;
const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const BROKER: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 11);
const BALANCER: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 2);
/// The first client; each frame comes from another one.
const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
const BALANCER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// The generator's ports: to the balancer, and to what sends frames back as they are.
const PORTS: [&str; 2] = ["port0", "port1"];

pub fn run(quick: bool, mqlb: &Path, print: &dyn Fn(&str)) -> Result<Block> {
    print("\nframes");
    let (rounds, length) = if quick { (3, 200) } else { (15, 1000) };
    let length = Duration::from_millis(length);
    let rates = std::thread::scope(|scope| {
        let measured = scope.spawn(|| measure(mqlb, rounds, length)).join();
        measured.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    let [mqlb, back] = &rates;
    let ratios: Vec<f64> = mqlb.iter().zip(back).map(|(mqlb, back)| mqlb / back).collect();
    let mut table = Table::new(["frames per s", "median", "lowest", "highest", "ratio", "aim"]);
    for (name, rates, ratio) in
        [("sent back as they are", back, None), ("mqlb, dsr", mqlb, Some(median(&ratios)))]
    {
        let (lowest, highest) = range(rates);
        table.row([
            name.to_owned(),
            figure(median(rates)),
            figure(lowest),
            figure(highest),
            ratio.map_or_else(String::new, figure),
            ratio.map_or_else(String::new, |ratio| verdict(&format!(">= {AIM}"), ratio >= AIM)),
        ]);
    }
    Ok(Block { name: "frames", text: table.to_string() })
}

/// Frames per second that came back from mqlb and from the other, a sample per round.
fn measure(mqlb: &Path, rounds: usize, length: Duration) -> Result<[Vec<f64>; 2]> {
    let network = Network::new()?;
    network.start_balancer(mqlb)?;
    pin_to_last_cpu()?;
    network.generator.enter()?;
    let mut rates = [const { Vec::new() }; 2];
    for _ in 0..rounds {
        for (port, rates) in PORTS.into_iter().zip(&mut rates) {
            rates.push(come_back(port, length)?);
        }
    }
    Ok(rates)
}

/// Frames per second that come back to `port` of what is sent out of it.
fn come_back(port: &str, length: Duration) -> Result<f64> {
    let injector = Injector::new(port, true)?;
    let to = (VIP.into(), MQTT_PORT);
    let frame = Frame::new((IpAddr::V4(CLIENT), 40_000), to, tcp_flags::ACK);
    let frame = Frame { ethernet: (BALANCER_MAC, CLIENT_MAC), ..frame }.bytes().0;
    injector.send(&frame, BATCH)?;
    let (before, began) = (received(port)?, Instant::now());
    let mut sent = 0.0;
    while began.elapsed() < length {
        injector.send(&frame, BATCH)?;
        sent += f64::from(BATCH);
    }
    let (came, took) = (received(port)? - before, began.elapsed());
    ensure!(came > sent / 10.0, "of {sent} frames sent out of {port} only {came} came back");
    Ok(came / took.as_secs_f64())
}

/// Frames that an interface of this thread's namespace has received.
fn received(interface: &str) -> Result<f64> {
    const FILE: &str = "/proc/thread-self/net/dev";
    let text = fs::read_to_string(FILE).with_context(|| format!("read {FILE}"))?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix(interface)?.strip_prefix(':'));
    // Bytes, then packets.
    let packets = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    packets.with_context(|| format!("{FILE} names no {interface}"))
}

/// A generator, joined to the balancer and to what sends frames back.
struct Network {
    generator: Namespace,
    balancer: Namespace,
    // Held so that they stay.
    _mirror: Namespace,
    _programs: Vec<xdp::Attached>,
    scratch: Scratch,
}

impl Network {
    fn new() -> Result<Self> {
        let [generator, balancer, mirror] =
            [Namespace::new()?, Namespace::new()?, Namespace::new()?];
        for (port, namespace) in PORTS.into_iter().zip([&balancer, &mirror]) {
            generator.ip(&format!(
                "link add {port} type veth peer name eth0 netns {}\nlink set {port} up\n",
                namespace.name()
            ))?;
            namespace.ip(&format!(
                "link set eth0 address {}\nlink set eth0 up\naddr add {BALANCER}/24 dev eth0\n",
                text(BALANCER_MAC)
            ))?;
        }
        // Nobody answers for them: where the frames go is fixed, and they end at the generator.
        balancer.ip(&format!(
            "addr add {VIP} dev lo\nneigh replace {BROKER} lladdr {} dev eth0 nud permanent\n",
            text(CLIENT_MAC)
        ))?;
        balancer.sysctl(&[
            ("net.ipv4.ip_forward", "1"),
            ("net.ipv4.conf.all.rp_filter", "0"),
            ("net.ipv4.conf.all.accept_local", "1"),
        ])?;
        let mut programs = vec![mirror.run(|| xdp::attach("eth0", xdp::Verdict::Transmit))??];
        for port in PORTS {
            programs.push(generator.run(|| xdp::attach(port, xdp::Verdict::Drop))??);
        }
        let scratch = Scratch::new()?;
        Ok(Self { generator, balancer, _mirror: mirror, _programs: programs, scratch })
    }

    /// Lets mqlb attach, and end: its program goes on. The slots are as they are when all backends
    /// have been up for a while.
    fn start_balancer(&self, mqlb: &Path) -> Result<()> {
        let pins = self.scratch.bpffs().join("mqlb");
        let config = json!({
            "interfaces": [{ "name": "eth0" }],
            "api": { "socket": self.scratch.join("mqlb.sock") },
            "state_dir": self.scratch.join("state"),
            "pin_dir": pins,
            "services": [{
                "name": "mqtt",
                "vip": VIP,
                "port": MQTT_PORT,
                "mode": "dsr",
                "backends": [{ "name": "broker-1", "address": BROKER, "port": MQTT_PORT }],
            }],
        });
        let mut balancer =
            Balancer::start_in(&self.balancer, &self.scratch, &config, mqlb.to_owned())?;
        balancer.stop()?;
        let tables = Tables::new(pins);
        let service = tables.service((VIP, MQTT_PORT).into())?;
        tables.change_ring(service.id, |slot| Slot::stable(slot.base()))
    }
}

/// As `ip` reads it.
fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

//! A flood of SYNs, as fast as one thread sends them, beside clients that exchange messages at a
//! fixed rate: what they notice of it.
//!
//! The flood, the balancer, the brokers and the clients share the machine: what is lost here is an
//! upper bound of what mqlb lets them lose.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use lb_tests::balancer::Balancer;
use lb_tests::broker::Broker;
use lb_tests::flood::Flood;
use lb_tests::topology::{Arms, Family, Topology};
use serde_json::json;

use crate::contender;
use crate::document::Block;
use crate::load::{Load, Target, Window, Work};
use crate::table::{Table, figure};

const CLIENTS: usize = 200;
/// Of each client, from one message to the next: 5,000 per second together.
const PAUSE: Duration = Duration::from_millis(40);
const READY_LIMIT: Duration = Duration::from_secs(20);
/// More than any machine sends in the time.
const MOST: u64 = 100_000_000;

/// One flood against one balancer.
struct Scene {
    name: &'static str,
    arms: Arms,
    mode: &'static str,
    /// Whether sources have a rate.
    limited: bool,
    /// How many sources the flood seems to come from.
    sources: u32,
}

const SCENES: [Scene; 3] = [
    Scene { name: "nat, one source", arms: Arms::Two, mode: "nat", limited: true, sources: 1 },
    Scene { name: "dsr, one source", arms: Arms::One, mode: "dsr", limited: true, sources: 1 },
    Scene { name: "dsr, forged", arms: Arms::One, mode: "dsr", limited: false, sources: 8192 },
];

/// What was seen of a flood.
struct Seen {
    syns_per_s: f64,
    before: Window,
    during: Window,
}

pub fn run(quick: bool, mqlb: &Path, print: &dyn Fn(&str)) -> Result<Block> {
    let length = Duration::from_secs(if quick { 2 } else { 10 });
    let head = ["flood", "SYNs per s", "round trips kept", "p99 before, µs", "p99 during, µs"];
    let mut table = Table::new(head);
    for scene in &SCENES {
        let seen = play(scene, mqlb, length).with_context(|| scene.name)?;
        let kept = seen.during.per_second() / seen.before.per_second();
        let p99 = |window: &Window| window.latency_ns.value_at_quantile(0.99) as f64 / 1000.0;
        let figures = [seen.syns_per_s, kept, p99(&seen.before), p99(&seen.during)].map(figure);
        print(&format!("{}: {}", scene.name, figures.join(", ")));
        table.row([scene.name.to_owned()].into_iter().chain(figures));
    }
    Ok(Block { name: "flood", text: table.to_string() })
}

fn play(scene: &Scene, mqlb: &Path, length: Duration) -> Result<Seen> {
    let topology = Topology::new(scene.arms, 3)?;
    let _brokers = Broker::start_all(&topology)?;
    if scene.mode == "dsr" {
        topology.give_brokers_the_vips()?;
    }
    let mut config = contender::mqlb_config(&topology);
    config["nat"]["addresses"] = json!([topology.balancer_address(Family::V4)]);
    config["services"][0]["mode"] = json!(scene.mode);
    if scene.limited {
        config["services"][0]["syn_rates"] = json!({ "source": { "rate": 200, "burst": 1000 } });
    }
    let balancer = Balancer::start_program(&topology, &config, mqlb.into())?;
    balancer.wait_active(READY_LIMIT)?;
    let vip = topology.vip(Family::V4);
    let target = Target { addresses: vec![vip], sources: topology.client_addresses(Family::V4) };
    let load = Load::start(topology.clients(), &target, CLIENTS, Work::Every(PAUSE))?;
    let before = load.measure(length)?;
    // In no client's network, and behind no router.
    let source = |number| IpAddr::from(Ipv4Addr::from(0xc612_0000 + number));
    let sources: Vec<IpAddr> = (1..=scene.sources).map(source).collect();
    let flood = Flood::new(&topology, &sources, vip)?;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let flooding = scope.spawn(|| {
            let began = Instant::now();
            let sent = flood.send(MOST, |_| over.load(Relaxed))?;
            anyhow::Ok(sent as f64 / began.elapsed().as_secs_f64())
        });
        let during = load.measure(length);
        over.store(true, Relaxed);
        let syns_per_s =
            flooding.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(Seen { syns_per_s, before, during: during? })
    })
}

//! A flood of SYNs, as fast as the kernel sends them on one CPU, beside clients that exchange messages at a
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
use lb_tests::flood::{Flood, Source};
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

/// In no client's network, and behind no router.
const STRANGER: Source = Source::One(IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1)));

/// One flood against one balancer.
struct Scene {
    name: &'static str,
    arms: Arms,
    mode: &'static str,
    /// Whether sources have a rate.
    limited: bool,
    source: Source,
}

const SCENES: [Scene; 3] = [
    Scene {
        name: "nat, one source",
        arms: Arms::Two,
        mode: "nat",
        limited: true,
        source: STRANGER,
    },
    Scene {
        name: "dsr, one source",
        arms: Arms::One,
        mode: "dsr",
        limited: true,
        source: STRANGER,
    },
    Scene {
        name: "dsr, forged",
        arms: Arms::One,
        mode: "dsr",
        limited: false,
        source: Source::Forged,
    },
];

/// What was seen of a flood.
struct Seen {
    sent_per_s: f64,
    /// What came to the XDP program: the rest found no room on the way.
    came_per_s: f64,
    before: Window,
    during: Window,
}

pub fn run(quick: bool, mqlb: &Path, print: &dyn Fn(&str)) -> Result<Block> {
    let length = Duration::from_secs(if quick { 2 } else { 10 });
    let head = [
        "flood",
        "SYNs sent per s",
        "SYNs that came",
        "round trips kept",
        "p99 before, µs",
        "p99 during, µs",
    ];
    let mut table = Table::new(head);
    for scene in &SCENES {
        let seen = play(scene, mqlb, length).with_context(|| scene.name)?;
        let kept = seen.during.per_second() / seen.before.per_second();
        let p99 = |window: &Window| window.latency_ns.value_at_quantile(0.99) as f64 / 1000.0;
        let figures =
            [seen.sent_per_s, seen.came_per_s, kept, p99(&seen.before), p99(&seen.during)]
                .map(figure);
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
    let target =
        Target { addresses: vec![vip], sources: topology.client_addresses(Family::V4), tls: None };
    let load = Load::start(topology.clients(), &target, CLIENTS, Work::Every(PAUSE))?;
    let before = load.measure(length)?;
    let flood = Flood::new(&topology, scene.source, vip)?;
    let over = AtomicBool::new(false);
    let came_before = syns(&balancer)?;
    thread::scope(|scope| {
        let flooding = scope.spawn(|| {
            let began = Instant::now();
            let sent = flood.send(MOST, |_| over.load(Relaxed))?;
            anyhow::Ok((sent as f64, began.elapsed().as_secs_f64()))
        });
        let during = load.measure(length);
        over.store(true, Relaxed);
        let flooded = flooding.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let (sent, seconds) = flooded?;
        let came_per_s = (syns(&balancer)? - came_before) / seconds;
        Ok(Seen { sent_per_s: sent / seconds, came_per_s, before, during: during? })
    })
}

/// SYNs that came so far: given to a broker, or more than their source may send.
fn syns(balancer: &Balancer) -> Result<f64> {
    let status = balancer.json("status")?;
    let attempted = status["services"][0]["traffic"]["attempted"].as_u64();
    let limited = status["verdicts"]["source_limited"].as_u64();
    let (attempted, limited) = attempted.zip(limited).context("the status counts SYNs")?;
    Ok((attempted + limited) as f64)
}

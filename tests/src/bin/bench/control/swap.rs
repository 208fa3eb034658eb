//! Building a large ring anew and putting it in place, beside as many as there can be.

use std::time::Instant;

use anyhow::{Context as _, Result};
use lb_common::{addr::Addr, hash::Seed, layout::sizes, ring::Ring};
use lb_tests::topology::{Arms, Topology};
use lb_user::{
    control::datapath::{Datapath as _, Edit},
    datapath::Xdp,
    ring::{self, Member},
};

use super::{collection, median_and_p99, rings::Rings};
use crate::statistics::median;
use crate::table::{Table, figure, verdict};

const SERVICES: u32 = sizes::SERVICES as u32;
const BACKENDS: u32 = 1000;
const AIM_MS: f64 = 5.0;

/// How long one change took, in milliseconds.
#[derive(Debug, Default)]
struct Times {
    built: Vec<f64>,
    in_place: Vec<f64>,
    returned: Vec<f64>,
}

pub fn measure(count: usize) -> Result<String> {
    let topology = Topology::new(Arms::Two, 0)?;
    let times = topology.balancer().run(|| measure_here(&topology, count))??;
    let mut table =
        Table::new(["512 services, 1,000 backends each: one ring anew", "ms", "p99", "aim"]);
    let total: Vec<f64> = times.built.iter().zip(&times.in_place).map(|(a, b)| a + b).collect();
    let aim = verdict(&format!("{} ms", figure(AIM_MS)), median(&total) <= AIM_MS);
    for (name, samples, aim) in [
        ("built", times.built, String::new()),
        ("and in place", total, aim),
        ("until no packet is on the old one", times.returned, String::new()),
    ] {
        let [median, p99] = median_and_p99(&samples);
        table.row([name.to_owned(), median, p99, aim]);
    }
    Ok(table.to_string())
}

fn measure_here(topology: &Topology, count: usize) -> Result<Times> {
    let mut xdp = Xdp::start(&collection::config(topology)?).context("start the data plane")?;
    for service in 0..SERVICES {
        xdp.apply(&Edit::PutRing { service, ring: build(service, 1) })?;
    }
    let rings = Rings::open(&topology.scratch().bpffs().join("mqlb/maps"))?;
    let mut times = Times::default();
    for number in 0..count {
        let began = Instant::now();
        let ring = build(0, 2 + number as u32 % 2);
        times.built.push(began.elapsed().as_secs_f64() * 1e3);
        let edit = Edit::PutRing { service: 0, ring };
        let (in_place, returned) = rings.time(|| Ok(xdp.apply(&edit)?))?;
        times.in_place.push(in_place);
        times.returned.push(returned);
    }
    Ok(times)
}

/// The ring of a service in which one backend weighs more.
fn build(service: u32, weight: u32) -> Box<Ring> {
    let member = |id: u32| Member {
        address: Addr::v4((0x0a00_0000 + id).to_be_bytes()),
        port: 1883,
        weight: if id == 1 { 100 * weight } else { 100 },
        id,
    };
    let members: Vec<Member> = (1..=BACKENDS).map(member).collect();
    ring::build(&members, Seed(u64::from(service), 1))
}

//! One contender in one round.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use lb_tests::topology::Topology;

use super::Lengths;
use crate::busy::Watch;
use crate::contender::{Contender, Program, Running, Service};
use crate::cpu;
use crate::load::{Load, Work};
use crate::table::figure;

/// Clients that come and go, at the same time.
const CONNECTING: usize = 64;
/// Clients that publish.
const PUBLISHING: usize = 200;
/// Messages per second where the rate is fixed, all clients together.
pub const RATE: u32 = 5000;

/// What was measured.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    pub connections_per_s: f64,
    pub messages_per_s: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    /// CPU time of the whole machine per million messages at the fixed rate, in seconds.
    pub busy_s_per_million: f64,
    /// CPU time of its own processes, where it has any.
    pub own: Option<Own>,
}

/// What one CPU second of its own processes brings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Own {
    pub connections: f64,
    pub messages: f64,
    /// At the fixed rate.
    pub fixed_messages: f64,
}

pub fn take(
    contender: Contender,
    topology: &Topology,
    mqlb: &Path,
    service: &Service,
    lengths: &Lengths,
) -> Result<Turn> {
    let running = contender.start(topology, mqlb, service)?;
    let turn = measure(&running, topology, lengths);
    running.stop(topology)?;
    turn
}

/// How many clients per second connect and go.
pub fn connections(
    running: &Running,
    topology: &Topology,
    warm_up: Duration,
    length: Duration,
) -> Result<f64> {
    let load = Load::start(topology.clients(), &running.target, CONNECTING, Work::Connect)?;
    std::thread::sleep(warm_up);
    Ok(load.measure(length)?.per_second())
}

fn measure(running: &Running, topology: &Topology, lengths: &Lengths) -> Result<Turn> {
    let start = |clients, work| {
        let load = Load::start(topology.clients(), &running.target, clients, work)?;
        std::thread::sleep(lengths.warm_up);
        anyhow::Ok(load)
    };
    let during = |load: &Load, length| {
        let before = cpu_time(running)?;
        let window = load.measure(length)?;
        let own = cpu_time(running)?.zip(before);
        let own = own.map(|(after, before)| after.saturating_sub(before));
        let each = own.map(|own| window.done as f64 / own.as_secs_f64());
        anyhow::Ok((window, each))
    };
    let (connections, own_connections) =
        during(&start(CONNECTING, Work::Connect)?, lengths.closed_loop)?;
    let (messages, own_messages) =
        during(&start(PUBLISHING, Work::ClosedLoop)?, lengths.closed_loop)?;
    let pause = Duration::from_secs(1) * PUBLISHING as u32 / RATE;
    let load = start(PUBLISHING, Work::Every(pause))?;
    let watch = Watch::start()?;
    let (fixed, own_fixed) = during(&load, lengths.fixed_rate)?;
    let busy = watch.busy()?;
    let own = own_connections.zip(own_messages).zip(own_fixed);
    let at = |quantile| fixed.latency_ns.value_at_quantile(quantile) as f64 / 1e3;
    Ok(Turn {
        connections_per_s: connections.per_second(),
        messages_per_s: messages.per_second(),
        p50_us: at(0.5),
        p99_us: at(0.99),
        busy_s_per_million: busy.as_secs_f64() / fixed.done as f64 * 1e6,
        own: own.map(|((connections, messages), fixed_messages)| Own {
            connections,
            messages,
            fixed_messages,
        }),
    })
}

/// CPU time of its processes; none where it has no processes.
fn cpu_time(running: &Running) -> Result<Option<Duration>> {
    let processes = running.program.as_ref().map(Program::processes).transpose()?;
    processes.filter(|pids| !pids.is_empty()).map(|pids| cpu::time_of(&pids)).transpose()
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} connections/s, {} messages/s, {} and {} µs (p50, p99), {} CPU s per million",
            figure(self.connections_per_s),
            figure(self.messages_per_s),
            figure(self.p50_us),
            figure(self.p99_us),
            figure(self.busy_s_per_million),
        )?;
        match self.own {
            Some(own) => write!(f, ", {} messages per own CPU s", figure(own.messages)),
            None => Ok(()),
        }
    }
}

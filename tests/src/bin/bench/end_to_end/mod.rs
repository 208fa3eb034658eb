//! Clients, balancer and three brokers, side by side with other balancers and with none.
//!
//! Every round takes all contenders one after the other, so that whatever disturbs the machine for
//! a while disturbs them alike; each figure is the median of the rounds, each ratio is one to
//! `direct` of the same round.

pub mod connections;
mod memory;
pub mod mqtt_mode;
mod tables;
mod turn;

pub use memory::PORT_BYTES;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_tests::broker::Broker;
use lb_tests::topology::{Arms, Topology};

use super::contender::{self, Contender, Service};
use super::document::Block;
use turn::Turn;

/// How long and how often things are measured.
#[derive(Debug, Clone, Copy)]
pub struct Lengths {
    rounds: usize,
    /// Before each measurement, with the same load.
    warm_up: Duration,
    /// Of connections per second, and of messages in a closed loop.
    closed_loop: Duration,
    /// Of latency and CPU time.
    fixed_rate: Duration,
    idle_connections: usize,
}

const FULL: Lengths = Lengths {
    rounds: 5,
    warm_up: Duration::from_secs(1),
    closed_loop: Duration::from_secs(5),
    fixed_rate: Duration::from_secs(10),
    idle_connections: 6000,
};

const QUICK: Lengths = Lengths {
    rounds: 2,
    warm_up: Duration::from_millis(300),
    closed_loop: Duration::from_secs(1),
    fixed_rate: Duration::from_secs(2),
    idle_connections: 2000,
};

/// All contenders of one round, in the order of [`Contender::ALL`].
type Round = [Turn; Contender::ALL.len()];

pub fn run(quick: bool, mqlb: &Path, print: &dyn Fn(&str)) -> Result<Block> {
    let lengths = if quick { QUICK } else { FULL };
    let topology = Topology::new(Arms::Two, 3)?;
    contender::prepare(&topology)?;
    let brokers = Broker::start_all(&topology)?;
    let mut rounds: Vec<Round> = Vec::new();
    for number in 1..=lengths.rounds {
        let mut turns = Vec::new();
        for contender in Contender::ALL {
            let name = contender.name();
            let turn = turn::take(contender, &topology, mqlb, &Service::Tcp, &lengths);
            let turn = turn.with_context(|| format!("round {number}, {name}"))?;
            print(&format!("round {number} of {}: {name:8} {turn}", lengths.rounds));
            turns.push(turn);
        }
        rounds.push(turns.try_into().ok().context("every contender had its turn")?);
    }
    let mut bytes = Vec::new();
    for contender in Contender::ALL {
        let name = contender.name();
        let connections = lengths.idle_connections;
        let measured = memory::measure(contender, &topology, mqlb, &Service::Tcp, connections);
        let measured = measured.with_context(|| format!("memory of {name}"))?;
        bytes.push(measured.map(memory::Grown::total));
    }
    drop(brokers);
    Ok(Block { name: "end-to-end", text: tables::write(&rounds, &bytes) })
}

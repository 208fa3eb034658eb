//! Connections per second once more, to tell what of the way through `mqlb` is `mqlb` and what veth
//! charges for having an XDP program at all.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_tests::broker::Broker;
use lb_tests::topology::{Arms, Topology};

use super::turn;
use crate::contender::{self, Contender, Service};
use crate::document::Block;
use crate::statistics::{median, range};
use crate::table::{Table, figure};

const CONTENDERS: [Contender; 3] = [Contender::Direct, Contender::Passing, Contender::Mqlb];
const DIRECT: usize = 0;
const PASSING: usize = 1;
const MQLB: usize = 2;

/// Connections per second, in the order of [`CONTENDERS`].
type Round = [f64; CONTENDERS.len()];

pub fn run(quick: bool, mqlb: &Path, print: &dyn Fn(&str)) -> Result<Block> {
    let (rounds, warm_up, length) = if quick { (3, 300, 1000) } else { (20, 500, 2000) };
    let [warm_up, length] = [warm_up, length].map(Duration::from_millis);
    let topology = Topology::new(Arms::Two, 3)?;
    contender::prepare(&topology)?;
    let brokers = Broker::start_all(&topology)?;
    let mut measured: Vec<Round> = Vec::new();
    for number in 0..rounds {
        let mut round = [0.0; CONTENDERS.len()];
        for turn in 0..CONTENDERS.len() {
            // Each of them is the first in every third round.
            let index = (number + turn) % CONTENDERS.len();
            let contender = CONTENDERS[index];
            let running = contender.start(&topology, mqlb, &Service::Tcp)?;
            let per_second = turn::connections(&running, &topology, warm_up, length);
            running.stop(&topology)?;
            round[index] = per_second.with_context(|| contender.name())?;
        }
        print(&format!("round {} of {rounds}: {}", number + 1, round.map(figure).join(", ")));
        measured.push(round);
    }
    drop(brokers);
    Ok(Block { name: "connections", text: write(&measured) })
}

fn write(rounds: &[Round]) -> String {
    let mut table = Table::new(["connections per s", "median", "from", "to"]);
    for (index, contender) in CONTENDERS.into_iter().enumerate() {
        let samples: Vec<f64> = rounds.iter().map(|round| round[index]).collect();
        table.row([contender.name().to_owned()].into_iter().chain(spread(&samples)));
    }
    let mut ratios = Table::new(["of the same round", "median", "from", "to"]);
    for (one, other) in [(MQLB, DIRECT), (PASSING, DIRECT), (MQLB, PASSING)] {
        let samples: Vec<f64> = rounds.iter().map(|round| round[one] / round[other]).collect();
        let name = format!("{} / {}", CONTENDERS[one].name(), CONTENDERS[other].name());
        ratios.row([name].into_iter().chain(spread(&samples)));
    }
    format!("{table}\n{ratios}")
}

fn spread(samples: &[f64]) -> [String; 3] {
    let (low, high) = range(samples);
    [median(samples), low, high].map(figure)
}

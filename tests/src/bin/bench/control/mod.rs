//! The control plane: how soon a command is in force, how soon packets flow after a start, and what
//! the collection of idle connections costs.

mod api;
mod collection;
mod commands;
mod network;
mod rings;
mod start;
mod swap;

use std::path::Path;

use anyhow::{Context as _, Result};

use super::document::Block;
use super::statistics::{median, percentile};
use super::table::figure;

/// Backends of the service.
pub const BACKENDS: usize = 100;

/// How often things are measured.
#[derive(Debug, Clone, Copy)]
pub struct Counts {
    /// Each command, over the socket.
    commands: usize,
    /// Each command, as a program of its own.
    programs: usize,
    starts: usize,
    /// Of a million connections, and of ten.
    sweeps: [usize; 2],
    rings: usize,
}

const FULL: Counts = Counts { commands: 200, programs: 50, starts: 30, sweeps: [5, 3], rings: 100 };
const QUICK: Counts = Counts { commands: 10, programs: 5, starts: 3, sweeps: [1, 1], rings: 10 };

pub fn run(quick: bool, mqlb: &Path, print: &dyn Fn(&str)) -> Result<Block> {
    let counts = if quick { QUICK } else { FULL };
    print("\ncommands, with 100 backends");
    let commands = commands::measure(mqlb, &counts).context("commands")?;
    print(&commands);
    print("starts and takeovers, with 100 backends");
    let starts = start::measure(mqlb, counts.starts).context("starts")?;
    print(&starts);
    print("rings, with 512 services of 1,000 backends");
    let rings = swap::measure(counts.rings).context("rings")?;
    print(&rings);
    print("collection, with 1,000,000 and with 10,000,000 connections");
    let collection = collection::measure(counts.sweeps).context("collection")?;
    Ok(Block { name: "control", text: [commands, starts, rings, collection].join("\n") })
}

/// Median and 99th percentile.
fn median_and_p99(samples: &[f64]) -> [String; 2] {
    [figure(median(samples)), figure(percentile(samples, 99))]
}

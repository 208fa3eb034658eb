//! Two CPUs with packets, the controller and the clock, step by step in every order that a seed can
//! make: the packet pipeline and the collection as they are, on tables in memory.
//!
//! A step is one operation on a table, or on a word that CPUs share.

pub(super) mod direct;
mod nat;
mod schedule;
mod table;

use std::panic;

/// Calls `run` with so many seeds; it panics if a rule is broken.
///
/// `INTERLEAVINGS=1000000` tries as many; `INTERLEAVING=SEED` one of them.
fn try_orders(count: u64, run: impl Fn(u64) + panic::RefUnwindSafe) {
    let seeds = from_environment("INTERLEAVING").map_or_else(
        || 0..from_environment("INTERLEAVINGS").unwrap_or(count),
        |seed| seed..seed + 1,
    );
    lb_common::interleave::set_hook(schedule::step);
    for seed in seeds {
        let result = panic::catch_unwind(|| run(seed));
        assert!(result.is_ok(), "INTERLEAVING={seed} shows it");
    }
}

/// Tells what happens, if only one order is tried.
fn tell(what: impl FnOnce() -> String) {
    if from_environment("INTERLEAVING").is_some() {
        println!("{:?} {}", std::thread::current().id(), what());
    }
}

/// A number from the environment.
fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

//! The golden conversations on the host library.
#![cfg(feature = "host")]

use lb_common::verdict::Verdict;
use lb_ebpf::host::{
    World,
    golden::{self, Case, Step},
};

/// Replaces what the controller writes, and keeps what packets have changed.
fn change(world: &mut World, to: World) {
    world.services = to.services;
    world.rings = to.rings;
    world.slots = to.slots;
    world.backends = to.backends;
    world.admissions = to.admissions;
    world.lists = to.lists;
    world.load_limits = to.load_limits;
}

fn run(case: Case) {
    let Case { name, mut world, steps, counted } = case;
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Change(to) => change(&mut world, *to),
            Step::Packet { mut input, verdict, output } => {
                let outcome = world.run(&mut input);
                assert_eq!(outcome.verdict, verdict, "{name}, step {number}");
                assert_eq!(input, output, "{name}, step {number}: bytes");
            }
        }
    }
    for verdict in Verdict::ALL {
        let expected =
            counted.iter().find(|(counted, _)| counted == verdict).map_or(0, |(_, count)| *count);
        assert_eq!(world.count_of(*verdict), expected, "{name}: counter {}", verdict.name());
    }
}

#[test]
fn golden_conversations_come_out_as_written() {
    for case in golden::all() {
        run(case);
    }
}

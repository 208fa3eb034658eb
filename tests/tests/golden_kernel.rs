//! The golden conversations through the program in the kernel.

use anyhow::Context;
use lb_ebpf::host::golden::{self, Family};
use lb_tests::kernel::{Kernel, Log};

/// Plays the conversations of one family; those of the other one on another thread.
fn play(family: Family) {
    let prefix = format!("{family:?}: ");
    let cases = golden::all().into_iter().filter(|case| case.name.starts_with(&prefix));
    let cases: Vec<_> = cases.collect();
    assert!(cases.len() > 40, "only {} conversations", cases.len());
    for case in cases {
        let played = Kernel::load(&case.world, Log::Off).and_then(|mut kernel| kernel.play(&case));
        if let Err(error) = played.with_context(|| case.name.clone()) {
            panic!("{error:?}");
        }
    }
}

#[test]
fn golden_conversations_in_ipv4_come_out_of_the_kernel_as_written() {
    play(Family::V4);
}

#[test]
fn golden_conversations_in_ipv6_come_out_of_the_kernel_as_written() {
    play(Family::V6);
}

#[test]
fn a_program_that_logs_packets_forwards_them_the_same() {
    let case = &golden::all()[0];
    Kernel::load(&case.world, Log::On).unwrap().play(case).unwrap();
}

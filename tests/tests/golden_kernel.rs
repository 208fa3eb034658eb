//! The golden conversations through the program in the kernel.

use anyhow::Context;
use lb_ebpf::host::golden::{self, BrokerHost, Family};
use lb_tests::{
    decap::Decap,
    kernel::{Kernel, Kernels, Program},
};

/// Plays the conversations of one family; those of the other one on another thread.
fn play(family: Family) {
    let prefix = format!("{family:?}: ");
    let cases = golden::all().into_iter().filter(|case| case.name.starts_with(&prefix));
    let cases: Vec<_> = cases.collect();
    assert!(cases.len() > 40, "only {} conversations", cases.len());
    let mut kernels = Kernels::default();
    for case in cases {
        if let Err(error) = kernels.play(&case).with_context(|| case.name.clone()) {
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
    let cases = golden::all();
    let wrapped = cases.iter().filter(|case| case.name.ends_with("wrapped_for_its_broker"));
    for case in cases.iter().take(1).chain(wrapped) {
        let played = Kernel::load(&case.world, Program::Logging).unwrap().play(case);
        played.with_context(|| case.name.clone()).unwrap();
    }
}

#[test]
fn golden_packets_come_out_of_the_kernel_of_a_brokers_host_as_written() {
    Decap::load(&BrokerHost::golden()).unwrap().play(&golden::decap::all()).unwrap();
}

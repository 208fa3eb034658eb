//! The golden conversations through the program in the kernel.

use anyhow::Context;
use lb_ebpf::host::golden::{self, BrokerHost};
use lb_tests::{
    decap::Decap,
    kernel::{Kernel, Log},
};

#[test]
fn golden_conversations_come_out_of_the_kernel_as_written() {
    let cases = golden::all();
    assert!(cases.len() > 40, "only {} conversations", cases.len());
    for case in cases {
        let played = Kernel::load(&case.world, Log::Off).and_then(|mut kernel| kernel.play(&case));
        played.with_context(|| case.name.clone()).unwrap();
    }
}

#[test]
fn a_program_that_logs_packets_forwards_them_the_same() {
    let cases = golden::all();
    let wrapped = cases.iter().filter(|case| case.name.ends_with("wrapped_for_its_broker"));
    for case in cases.iter().take(1).chain(wrapped) {
        let played = Kernel::load(&case.world, Log::On).unwrap().play(case);
        played.with_context(|| case.name.clone()).unwrap();
    }
}

#[test]
fn golden_packets_come_out_of_the_kernel_of_a_brokers_host_as_written() {
    Decap::load(&BrokerHost::golden()).unwrap().play(&golden::decap::all()).unwrap();
}

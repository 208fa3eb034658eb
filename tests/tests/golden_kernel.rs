//! The golden conversations through the program in the kernel.

use anyhow::Context;
use lb_ebpf::host::golden;
use lb_tests::kernel::{Kernel, Log};

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
    let case = &golden::all()[0];
    Kernel::load(&case.world, Log::On).unwrap().play(case).unwrap();
}

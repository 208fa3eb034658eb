//! The golden conversations through the program in the kernel.

use anyhow::{Context, Result, ensure};
use lb_common::{decap::DecapVerdict, verdict::Action};
use lb_ebpf::host::golden::{self, BrokerHost, Case, Step};
use lb_tests::{
    decap::Decap,
    kernel::{Kernel, assert_counted, xdp_action},
};

fn run(case: &Case) -> Result<()> {
    let mut kernel = Kernel::load(&case.world)?;
    for (number, step) in case.steps.iter().enumerate() {
        match step {
            Step::Change(world) => kernel.write(world)?,
            Step::Packet { input, verdict, output } => {
                let run = kernel.run(input, 1)?;
                let name = verdict.name();
                ensure!(run.action == xdp_action(*verdict), "step {number}, {name}: {run:?}");
                ensure!(run.output == *output, "step {number}: {:?}\nnot {output:?}", run.output);
            }
        }
    }
    assert_counted(&kernel.verdicts()?, &case.counted)
}

#[test]
fn golden_conversations_come_out_of_the_kernel_as_written() {
    let cases = golden::all();
    assert!(cases.len() > 40, "only {} conversations", cases.len());
    for case in cases {
        run(&case).with_context(|| case.name.clone()).unwrap();
    }
}

#[test]
fn golden_packets_come_out_of_the_kernel_of_a_brokers_host_as_written() {
    let cases = golden::decap::all();
    let mut decap = Decap::load(&BrokerHost::golden()).unwrap();
    for case in &cases {
        let (action, output) = decap.run(&case.input).unwrap();
        let expected = if case.verdict.action() == Action::Drop { 1 } else { 2 };
        assert_eq!(action, expected, "{}: action", case.name);
        assert_eq!(output, case.output, "{}: bytes", case.name);
    }
    for verdict in DecapVerdict::ALL {
        let expected = cases.iter().filter(|case| case.verdict == *verdict).count();
        assert_eq!(decap.count_of(*verdict).unwrap(), expected as u64, "{}", verdict.name());
    }
}

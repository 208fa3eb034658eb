//! The golden conversations through the program in the kernel.

use anyhow::{Context, Result, ensure};
use lb_common::verdict::{Action, Verdict};
use lb_ebpf::host::golden::{self, Case, Step};
use lb_tests::kernel::{Kernel, assert_counted};

/// `XDP_DROP`, `XDP_PASS`, `XDP_TX`, `XDP_REDIRECT`.
fn xdp_action(verdict: Verdict) -> u32 {
    match verdict.action() {
        Action::Drop => 1,
        Action::Pass => 2,
        Action::Reset => 3,
        // TEST_RUN's frames come in by the loopback; golden routes lead out by another interface.
        Action::Forward => 4,
    }
}

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

//! The golden conversations through the program in the kernel.

use anyhow::{Context, Result, ensure};
use lb_ebpf::host::golden::{self, Case, Step};
use lb_tests::kernel::{Kernel, assert_counted, xdp_action};

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

//! The golden conversations on other kernels than the host's, in emulated machines.

mod cpio;
mod debian;
mod initramfs;
mod machine;

use std::{
    fs,
    path::Path,
    thread::{self, ScopedJoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use self::machine::{End, Files};
pub use self::{debian::Kernel, initramfs::Object};
use super::Outcome;
use crate::{packages, privilege::Privilege};

/// The series that are tested: those of Debian 12 and 13.
const SERIES: [&str; 2] = ["6.1", "6.12"];

/// For all conversations in one kernel: a multiple of what they take on a slow machine.
const LIMIT: Duration = Duration::from_mins(20);

/// Of what a kernel said, so much is shown if it did not come to an end.
const LAST_LINES: usize = 40;

/// Provides the emulator and the kernels, before anything long is begun.
pub fn prepare(root: &Path, privilege: Privilege, install: bool) -> Result<Vec<Kernel>> {
    ensure!(
        cfg!(target_arch = "x86_64"),
        "--kernels is not supported here: it tests kernels for x86-64, with programs of this host"
    );
    let missing = packages::provide(packages::FOR_KERNELS, privilege, install)?;
    ensure!(
        missing.is_empty(),
        "--kernels needs {}\nhint: apt-get install {}",
        missing.join(", "),
        missing.join(" ")
    );
    debian::fetch(root, &SERIES, privilege)
}

/// Runs the guest on all kernels, side by side: each uses one core.
pub fn run(kernels: &[Kernel], guest: &Path, objects: &[Object]) -> Result<Outcome> {
    println!("\nplaying the golden conversations on {} other kernels", kernels.len());
    let ends = thread::scope(|scope| {
        let machines: Vec<_> =
            kernels.iter().map(|kernel| scope.spawn(|| boot(kernel, guest, objects))).collect();
        machines.into_iter().map(ScopedJoinHandle::join).collect::<Vec<_>>()
    });
    let mut total = Outcome::default();
    for (kernel, end) in kernels.iter().zip(ends) {
        println!("\n== {}", kernel.name);
        let end = end.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let files = Files::of(kernel);
        let (report, console) = (read_lossy(&files.report)?, read_lossy(&files.console)?);
        total.add(read(&kernel.name, &report, &console, end));
    }
    Ok(total)
}

/// Boots a kernel with the guest as its first process.
fn boot(kernel: &Kernel, guest: &Path, objects: &[Object]) -> Result<End> {
    let files = Files::of(kernel);
    let initramfs = initramfs::pack(guest, objects, kernel.veth.as_deref())?;
    let path = &files.initramfs;
    fs::write(path, initramfs).with_context(|| format!("write {}", path.display()))?;
    let variables: Vec<String> = objects.iter().map(Object::assignment).collect();
    machine::boot(&kernel.image, &files, &variables.join(" "), LIMIT)
}

/// Reads what the guest has reported, and prints what is of interest.
fn read(kernel: &str, report: &str, console: &str, end: End) -> Outcome {
    let mut outcome = Outcome::default();
    for line in report.lines() {
        outcome.read(kernel, line);
        if !line.ends_with(" ... ok") {
            println!("{line}");
        }
    }
    if !report.lines().any(Outcome::is_result) {
        let lines: Vec<&str> = console.lines().collect();
        println!("{}", lines[lines.len().saturating_sub(LAST_LINES)..].join("\n"));
        let how = match end {
            End::Off => "the machine ended before its tests did".to_owned(),
            End::Late => format!("not finished after {} s", LIMIT.as_secs()),
        };
        outcome.crashed(kernel, &how);
    }
    outcome
}

/// A machine that breaks down may write anything.
fn read_lossy(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_counted_like_that_of_a_test_program() {
        let report = "Linux 6.1.0\r\ntest V4: one ... ok\r\ntest V6: two ... FAILED\r\n    step 3\r\n\
                      test result: FAILED. 1 passed; 1 failed; finished in 9.0s\r\n";
        let outcome = read("6.1", report, "", End::Off);
        assert_eq!((outcome.passed, outcome.failed), (1, 1));
    }

    #[test]
    fn a_report_that_breaks_off_is_a_failure() {
        for end in [End::Off, End::Late] {
            let outcome = read("6.1", "test V4: one ... ok\r\n", "Kernel panic", end);
            assert_eq!(outcome.failed, 1);
        }
    }
}

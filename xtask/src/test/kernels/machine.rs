//! A machine without disk and network, emulated: it boots a kernel, and ends by itself.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::debian::Kernel;

/// What the emulator is called.
pub const EMULATOR: &str = "qemu-system-x86_64";

/// How often it is asked whether it has ended.
const GLANCE: Duration = Duration::from_millis(100);

/// The files of a machine, beside its kernel's.
#[derive(Debug)]
pub struct Files {
    /// The first file system.
    pub initramfs: PathBuf,
    /// What comes out of the first serial port: the kernel's messages.
    pub console: PathBuf,
    /// What comes out of the second serial port: the guest's report.
    pub report: PathBuf,
}

impl Files {
    pub fn of(kernel: &Kernel) -> Self {
        let [initramfs, console, report] =
            ["initramfs.cpio", "console.log", "report.log"].map(|name| kernel.directory.join(name));
        Self { initramfs, console, report }
    }
}

/// How a machine came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It switched itself off, or broke down.
    Off,
    /// It was still running at the end of its time.
    Late,
}

/// Boots, and waits for the end. `variables` are the environment of the first process.
///
/// Without KVM, although the host may have it: that the device opens does not say that it works;
/// inside a virtual machine it may hang. Emulation boots in seconds, and everywhere.
pub fn boot(kernel: &Path, files: &Files, variables: &str, limit: Duration) -> Result<End> {
    // A panic of the kernel is a restart at once, and a restart is the end.
    let kernel_line = format!("console=ttyS0 quiet panic=-1 {variables}");
    let mut child = Command::new(EMULATOR)
        .args(["-accel", "tcg", "-smp", "1", "-m", "1G", "-nodefaults", "-no-user-config"])
        .args(["-display", "none", "-no-reboot"])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(&files.initramfs)
        .args(["-append", &kernel_line])
        .args(["-serial", &format!("file:{}", files.console.display())])
        .args(["-serial", &format!("file:{}", files.report.display())])
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("start {EMULATOR}"))?;
    let started = Instant::now();
    loop {
        if child.try_wait().context("wait for the emulator")?.is_some() {
            return Ok(End::Off);
        }
        if started.elapsed() > limit {
            child.kill().context("stop the emulator")?;
            child.wait().context("wait for the emulator")?;
            return Ok(End::Late);
        }
        thread::sleep(GLANCE);
    }
}

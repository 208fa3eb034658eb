//! The first and only process of the machines that `cargo xtask test --kernels` boots: plays the
//! golden conversations in their kernel, reports in the form of Rust's test programs on the second
//! serial port, and switches the machine off.
//!
//! What else is said (panics, the kernel's messages) goes to the first serial port.

mod report;

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    process::ExitCode,
};

use anyhow::{Context as _, Result, ensure};
use lb_ebpf::host::golden::{self, BrokerHost};
use lb_tests::{
    decap::Decap,
    kernel::{EVERYTHING, Kernel, Kernels, Program},
};
use nix::{
    kmod::{ModuleInitFlags, finit_module},
    mount::{MsFlags, mount},
    sys::{
        reboot::{RebootMode, reboot},
        utsname::uname,
    },
};

use report::Report;

/// Where the kernel's modules lie that must be loaded, in the order of their names.
const MODULES: &str = "/modules";

/// `MODULE_INIT_COMPRESSED_FILE` of `finit_module(2)`: the kernel decompresses it.
const COMPRESSED: ModuleInitFlags = ModuleInitFlags::from_bits_retain(4);

fn main() -> ExitCode {
    // Elsewhere it would mount over the directories of a machine that is in use, and switch it off.
    if std::process::id() != 1 {
        let _ = writeln!(std::io::stderr(), "guest: only `cargo xtask test --kernels` runs this");
        return ExitCode::FAILURE;
    }
    if let Err(error) = prepare().and_then(|()| test(&mut Report::new(serial_port()?))) {
        let _ = writeln!(std::io::stderr(), "guest: {error:?}");
    }
    // The end of process 1 is a panic of the kernel, which ends the machine too.
    let _ = reboot(RebootMode::RB_POWER_OFF);
    ExitCode::FAILURE
}

/// Mounts what the harness, `ip` and aya need, and loads the modules.
fn prepare() -> Result<()> {
    // The last one hides the kernel's own BTF. The program asks nothing of it, and aya would read
    // its 5 MB for each conversation, which takes longer than all the rest here.
    for (kind, place) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("tmpfs", "/run"),
        ("tmpfs", "/sys/kernel/btf"),
    ] {
        fs::create_dir_all(place).with_context(|| format!("make {place}"))?;
        mount(Some(kind), place, Some(kind), MsFlags::empty(), None::<&str>)
            .with_context(|| format!("mount {place}"))?;
    }
    load_modules()
}

fn load_modules() -> Result<()> {
    let entries = fs::read_dir(MODULES).with_context(|| format!("list {MODULES}"))?;
    let mut modules = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    modules.sort();
    modules.iter().try_for_each(|module| load(module))
}

fn load(module: &Path) -> Result<()> {
    let compressed = module.extension().is_some_and(|extension| extension != "ko");
    let flags = if compressed { COMPRESSED } else { ModuleInitFlags::empty() };
    File::open(module)
        .map_err(anyhow::Error::from)
        .and_then(|file| Ok(finit_module(file, c"", flags)?))
        .with_context(|| format!("load {}", module.display()))
}

fn serial_port() -> Result<File> {
    let path = "/dev/ttyS1";
    File::options().write(true).open(path).with_context(|| format!("open {path}"))
}

/// Loads the programs, then plays the conversations.
fn test(report: &mut Report<File>) -> Result<()> {
    let kernel = uname().context("ask for the kernel's name")?;
    report.say(&format!("Linux {}", kernel.release().to_string_lossy()))?;
    let cases = golden::all();
    let first = cases.first().context("there are golden conversations")?;
    let loads = report.test("the_program_loads", || Kernel::load(&first.world, Program::Plain))?;
    report.test("a_program_that_logs_packets_forwards_them_the_same", || {
        Kernel::load(&first.world, Program::Logging)?.play(first)
    })?;
    report.test("a_program_that_traces_packets_forwards_them_the_same", || {
        let mut kernel = Kernel::load(&first.world, Program::Tracing)?;
        kernel.trace(&EVERYTHING)?;
        kernel.play(first)?;
        ensure!(!kernel.traced()?.is_empty(), "it told of nothing");
        Ok(())
    })?;
    report.test("golden_packets_come_out_of_a_brokers_host_as_written", || {
        Decap::load(&BrokerHost::golden())?.play(&golden::decap::all())
    })?;
    // If it does not load, every conversation would only repeat the verifier's log.
    if loads {
        let mut kernels = Kernels::default();
        for case in &cases {
            report.test(&case.name, || kernels.play(case))?;
        }
    }
    report.end()
}

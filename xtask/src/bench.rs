//! `cargo xtask bench`: builds the benchmark, installs what it compares with, and starts it as root.

use std::fs;

use anyhow::{Context as _, Result, ensure};

use crate::{build_ebpf, packages, privilege::Privilege, programs::Program, workspace};

/// Measure mqlb on this machine, side by side with other balancers.
///
/// Everything runs in network namespaces that are gone afterwards. A full run takes about twenty
/// minutes and wants the machine for itself. Installs haproxy, nginx, nftables and mosquitto as Debian
/// packages if they are missing. Asks for root with sudo.
#[derive(clap::Args)]
pub struct Options {
    /// Short runs: to try the benchmark itself. The figures mean little.
    #[arg(long)]
    quick: bool,
    /// Measure only these parts, such as `packets,end-to-end,control`.
    #[arg(long, value_name = "PART[,PART]")]
    only: Option<String>,
    /// Replace the tables in docs/benchmarks.md by those of this run.
    #[arg(long)]
    write: bool,
    /// Install no packages.
    #[arg(long)]
    no_install: bool,
}

const BENCH: Program = Program { name: "bench", features: &[] };

/// The report, relative to the workspace.
const REPORT: &str = "docs/benchmarks.md";

/// Builds and starts the benchmark; returns only if that fails.
pub fn run(options: &Options) -> Result<()> {
    let missing = packages::provide(packages::FOR_BENCH, Privilege::find(), !options.no_install)?;
    ensure!(
        missing.is_empty(),
        "not installed: {}\nhint: apt-get install {}",
        missing.join(", "),
        missing.join(" ")
    );
    let replay = replay(options)?;
    let built = BENCH.build(true)?;
    let mut arguments = vec!["--replay", &replay];
    if options.quick {
        arguments.push("--quick");
    }
    if let Some(parts) = &options.only {
        arguments.extend(["--only", parts]);
    }
    let report = workspace::root().join(REPORT).display().to_string();
    if options.write {
        arguments.extend(["--write", &report]);
    }
    built.become_it(&arguments)
}

/// Builds the program that replays frames, with a compiler that is installed if it is missing.
fn replay(options: &Options) -> Result<String> {
    if build_ebpf::cannot_build().is_some() {
        packages::provide(packages::FOR_BPF, Privilege::find(), !options.no_install)?;
    }
    let root = workspace::root();
    let object = build_ebpf::build(&root, build_ebpf::REPLAY)?;
    let path = root.join("target/ebpf/replay.o");
    fs::write(&path, object).with_context(|| format!("write {}", path.display()))?;
    Ok(path.display().to_string())
}

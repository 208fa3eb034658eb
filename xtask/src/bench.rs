//! `cargo xtask bench`: builds the benchmark, installs what it compares with, and starts it as root.

use std::fs;

use anyhow::{Context as _, Result, ensure};

use crate::{build_ebpf, packages, privilege::Privilege, programs::Program, workspace};

/// Measure mqlb on this machine, side by side with other balancers.
///
/// Everything runs in network namespaces that are gone afterwards. A full run takes about twenty
/// minutes and wants the machine for itself. Installs what the parts need of haproxy, nginx, nftables and
/// mosquitto as Debian packages if they are missing. Asks for root with sudo.
#[derive(clap::Args)]
pub struct Options {
    /// Short runs: to try the benchmark itself. The figures mean little.
    #[arg(long)]
    quick: bool,
    /// Measure only these parts, such as `packets,live,end-to-end,connections,control,flood,mqtt-mode,splice`.
    #[arg(long, value_name = "PART[,PART]")]
    only: Option<String>,
    /// Replace the tables in docs/benchmarks.md by those of this run.
    #[arg(long)]
    write: bool,
    /// Install no packages.
    #[arg(long)]
    no_install: bool,
}

impl Options {
    /// Whether this part is measured; the benchmark itself refuses those it does not know.
    fn measures(&self, part: &str) -> bool {
        self.only.as_ref().is_none_or(|parts| parts.split(',').any(|name| name == part))
    }
}

const BENCH: Program = Program { name: "bench", features: &[] };

/// The report, relative to the workspace.
const REPORT: &str = "docs/benchmarks.md";

/// Builds and starts the benchmark; returns only if that fails.
pub fn run(options: &Options) -> Result<()> {
    let mut packages = packages::FOR_BENCH.to_vec();
    if options.measures("end-to-end") || options.measures("mqtt-mode") {
        packages.extend(packages::FOR_COMPARISON);
    }
    let missing = packages::provide(&packages, Privilege::find(), !options.no_install)?;
    ensure!(
        missing.is_empty(),
        "not installed: {}\nhint: apt-get install {}",
        missing.join(", "),
        missing.join(" ")
    );
    let replay = options.measures("packets").then(|| replay(options)).transpose()?;
    let built = BENCH.build(true)?;
    let mut arguments = Vec::new();
    if let Some(replay) = &replay {
        arguments.extend(["--replay", replay]);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_parts_that_are_asked_for_need_something() {
        let only = |parts: Option<&str>| Options {
            quick: false,
            only: parts.map(str::to_owned),
            write: false,
            no_install: true,
        };
        assert!(only(None).measures("packets") && only(None).measures("end-to-end"));
        let control = only(Some("control"));
        assert!(!control.measures("packets") && !control.measures("end-to-end"));
        assert!(only(Some("control,packets")).measures("packets"));
    }
}

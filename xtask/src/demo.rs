//! `cargo xtask demo`: builds what the show needs, and starts it as root.

use std::{
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::workspace;

/// Watch mqlb at work, in a network of its own on this machine.
///
/// Builds mqlb, then starts three MQTT brokers, mqlb between virtual Ethernet interfaces, and 300
/// clients, and lets a broker join, drain and die, and the controller die. Takes a minute after the
/// build, and leaves nothing behind. Asks for root with sudo.
#[derive(clap::Args)]
pub struct Options {
    /// Print line by line, even on a terminal.
    #[arg(long)]
    plain: bool,
    /// Build without optimisation: the build is quicker, mqlb and the brokers are not.
    #[arg(long)]
    debug: bool,
}

/// Builds and starts the show; returns only if that fails.
pub fn run(options: &Options) -> Result<()> {
    ensure!(cfg!(target_os = "linux"), "mqlb runs on Linux");
    let programs = build(options.debug)?;
    let demo = programs.join("demo");
    let mut command = if is_root()? {
        Command::new(demo)
    } else {
        println!("The show makes network namespaces and attaches XDP programs: it needs root.");
        let mut sudo = Command::new("sudo");
        sudo.arg("--").arg(demo);
        sudo
    };
    command.arg("--mqlb").arg(programs.join("mqlb"));
    if options.plain {
        command.arg("--plain");
    }
    // By the command line, because sudo removes it from the environment.
    if std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        command.arg("--no-colour");
    }
    let error = command.exec();
    if error.kind() == std::io::ErrorKind::NotFound {
        bail!("there is no sudo here: run `cargo xtask demo` as root");
    }
    Err(error).context("start the show")
}

/// Builds the programs, and returns the directory they are in.
fn build(debug: bool) -> Result<PathBuf> {
    let root = workspace::root();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(&cargo);
    command.current_dir(&root).args(["build", "--package", "lb-user", "--bin", "mqlb"]);
    command.args(["--package", "lb-tests", "--bin", "demo"]);
    command.args(["--features", "lb-tests/embedded-broker"]);
    if !debug {
        command.arg("--release");
    }
    let status = command.status().context("run cargo")?;
    ensure!(status.success(), "cargo could not build the show");
    Ok(target_directory(&root, &cargo)?.join(if debug { "debug" } else { "release" }))
}

/// Where cargo puts what it builds: `target`, unless somebody has told it otherwise.
fn target_directory(root: &Path, cargo: &std::ffi::OsStr) -> Result<PathBuf> {
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root)
        .output()
        .context("run cargo metadata")?;
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("read what cargo metadata says")?;
    Ok(metadata["target_directory"].as_str().context("cargo names no target directory")?.into())
}

/// Whether this process runs as root.
fn is_root() -> Result<bool> {
    let status = std::fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    // Real, effective, saved, file system.
    Ok(uids.split_whitespace().nth(1) == Some("0"))
}

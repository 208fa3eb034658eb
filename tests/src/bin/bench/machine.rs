//! The machine that the figures were taken on, and the programs that were compared.

use std::fs;
use std::process::Command;
use std::thread::available_parallelism;

use anyhow::{Context as _, Result};

use super::document::Block;
use super::table::Table;

/// The programs, how each is asked for its version, and the word that is in the answer's line.
const PROGRAMS: [(&str, &str, &str); 4] = [
    ("haproxy", "-v", "HAProxy"),
    ("nginx", "-v", "nginx"),
    ("nft", "-v", "nftables"),
    ("mosquitto", "-h", "mosquitto version"),
];

/// What a reader must know to judge the figures.
pub fn describe(quick: bool) -> Result<Block> {
    let mut table = Table::new(["", "on which the figures were taken"]);
    let processor = fs::read_to_string("/proc/cpuinfo").context("read /proc/cpuinfo")?;
    let cpus = available_parallelism().context("count the CPUs")?;
    table.row(["CPU".into(), format!("{cpus} × {}", value(&processor, "model name"))]);
    let memory = fs::read_to_string("/proc/meminfo").context("read /proc/meminfo")?;
    table.row(["memory".into(), value(&memory, "MemTotal")]);
    let kernel =
        fs::read_to_string("/proc/sys/kernel/osrelease").context("read the kernel's release")?;
    table.row(["kernel".into(), kernel.trim().into()]);
    let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
    table.row(["system".into(), value(&system, "PRETTY_NAME").trim_matches('"').into()]);
    for (program, argument, word) in PROGRAMS {
        table.row([program.to_owned(), version(program, argument, word)]);
    }
    let load = fs::read_to_string("/proc/loadavg").context("read /proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or_default();
    table.row(["load before the run".into(), load.into()]);
    let runs = if quick { "**quick: too short to mean much**" } else { "full" };
    table.row(["length of the run".into(), runs.into()]);
    Ok(Block { name: "machine", text: table.to_string() })
}

/// The value behind `key`, in lines of `key: value` or `key=value`.
fn value(text: &str, key: &str) -> String {
    let found = text.lines().find_map(|line| {
        let (name, value) = line.split_once([':', '='])?;
        (name.trim() == key).then(|| value.trim().to_owned())
    });
    found.unwrap_or_else(|| "unknown".to_owned())
}

fn version(program: &str, argument: &str, word: &str) -> String {
    let Ok(output) = Command::new(program).arg(argument).output() else {
        return "unknown".to_owned();
    };
    // Some write it to the one, some to the other.
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let line = text.iter().flat_map(|text| text.lines()).find(|line| line.contains(word));
    line.map_or_else(|| "unknown".to_owned(), |line| shorten(line).to_owned())
}

/// Without the address that some add.
fn shorten(line: &str) -> &str {
    line.split(" - http").next().unwrap_or(line).trim()
}

/// This thread, and the threads it starts, stay on the last CPU that it may use.
pub fn pin_to_last_cpu() -> Result<()> {
    let this = nix::unistd::Pid::from_raw(0);
    let allowed = nix::sched::sched_getaffinity(this)?;
    let is_allowed = |cpu: &usize| allowed.is_set(*cpu).unwrap_or_default();
    let last = (0..nix::sched::CpuSet::count()).rev().find(is_allowed).context("find a CPU")?;
    let mut cpus = nix::sched::CpuSet::new();
    cpus.set(last)?;
    nix::sched::sched_setaffinity(this, &cpus).context("pin to a CPU")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_behind_its_key_whatever_parts_them() {
        let text = "processor\t: 0\nmodel name\t: Some CPU: fast\nNAME=\"Debian\"\n";
        assert_eq!(value(text, "model name"), "Some CPU: fast");
        assert_eq!(value(text, "NAME"), "\"Debian\"");
        assert_eq!(value(text, "name"), "unknown");
    }

    #[test]
    fn versions_are_told_without_addresses() {
        let line = "HAProxy version 2.6.12-1 2023/12/16 - https://haproxy.org/";
        assert_eq!(shorten(line), "HAProxy version 2.6.12-1 2023/12/16");
    }
}

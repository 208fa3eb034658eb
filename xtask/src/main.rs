//! Development tasks of mqlb: `cargo xtask TASK`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is a command line")]

mod bench;
mod build_ebpf;
mod compiler;
mod demo;
mod elf;
mod linker;
mod packages;
mod privilege;
mod programs;
mod sources;
mod test;
mod workspace;

use clap::Parser;

/// Development tasks of mqlb.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Build the XDP program and store it beside its sources.
    BuildEbpf(build_ebpf::Options),
    /// Run all tests, on a freshly built XDP program; installs what they need.
    Test(test::Options),
    Demo(demo::Options),
    Bench(bench::Options),
}

fn main() -> anyhow::Result<()> {
    match Task::parse() {
        Task::BuildEbpf(options) => build_ebpf::run(&options),
        Task::Test(options) => test::run(&options),
        Task::Demo(options) => demo::run(&options),
        Task::Bench(options) => bench::run(&options),
    }
}

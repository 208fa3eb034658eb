//! Measures mqlb: `cargo xtask bench` builds and starts this.
//!
//! `bench --mqlb PATH [--replay FILE] [--quick] [--only PART[,PART]] [--write FILE]`; as root.

#![allow(clippy::cast_precision_loss, reason = "figures are told with three digits")]

mod bpf;
mod busy;
mod certificate;
mod contender;
mod control;
mod cpu;
mod document;
mod end_to_end;
mod flood;
mod live;
mod load;
mod machine;
mod options;
mod packets;
mod slab;
mod splice;
mod statistics;
mod table;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use lb_tests::cleanup;

use document::Block;
use options::{Options, Part};

/// The generated parts of the report.
#[cfg(test)]
const BLOCKS: [&str; 9] = [
    "machine",
    "packets",
    "live",
    "end-to-end",
    "connections",
    "control",
    "flood",
    "mqtt-mode",
    "splice",
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match Options::parse(&arguments).and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "making networks needs root");
    ensure!(options.mqlb.is_file(), "there is no {}", options.mqlb.display());
    cleanup::on_signals(|| print("stopped; cleaning up"))?;
    cleanup::sweep_stale();
    lb_tests::raise_open_files();
    let mut blocks = vec![machine::describe(options.quick)?];
    print(&blocks[0].text);
    for part in &options.parts {
        let block = match part {
            Part::Packets => packets::run(options, &print)?,
            Part::EndToEnd => end_to_end::run(options.quick, &options.mqlb, &print)?,
            Part::Connections => {
                end_to_end::connections::run(options.quick, &options.mqlb, &print)?
            }
            Part::Control => control::run(options.quick, &options.mqlb, &print)?,
            Part::MqttMode => end_to_end::mqtt_mode::run(options.quick, &options.mqlb, &print)?,
            Part::Splice => splice::run(options.quick, &print)?,
            Part::Flood => flood::run(options.quick, &options.mqlb, &print)?,
            Part::Live => live::run(options.quick, &options.mqlb, &print)?,
        };
        print(&format!("\n{}", block.text));
        blocks.push(block);
    }
    options.write.as_ref().map_or(Ok(()), |file| write(file, &blocks))
}

fn write(file: &Path, blocks: &[Block]) -> Result<()> {
    let name = file.display();
    let mut document = std::fs::read_to_string(file).with_context(|| format!("read {name}"))?;
    for block in blocks {
        document = document::replace(&document, block).with_context(|| format!("in {name}"))?;
    }
    std::fs::write(file, document).with_context(|| format!("write {name}"))?;
    print(&format!("written to {name}"));
    Ok(())
}

fn print(text: &str) {
    // Whoever closed the output does not want to hear of it.
    let _ = writeln!(std::io::stdout(), "{text}");
}

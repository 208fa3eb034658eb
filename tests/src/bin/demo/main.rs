//! Shows mqlb at work, in a network of its own: `cargo xtask demo` builds and starts this.
//!
//! `demo --mqlb PATH [--plain]`; as root. `demo broker` is one of its brokers.

mod findings;
mod line;
mod rates;
mod script;
mod stage;
mod terminal;
mod view;
mod world;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail, ensure};
use lb_tests::cleanup;

use stage::Stage;
use world::World;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match start(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: &[String]) -> Result<bool> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["broker"] => lb_tests::embedded::serve().map(|()| true),
        ["--mqlb", mqlb] => show(mqlb.into(), terminal::is_there()),
        ["--mqlb", mqlb, "--plain"] => show(mqlb.into(), false),
        _ => bail!("say `--mqlb PATH`, and perhaps `--plain`"),
    }
}

/// Whether everything went as it should.
fn show(mqlb: PathBuf, redraw: bool) -> Result<bool> {
    ensure!(nix::unistd::geteuid().is_root(), "making networks needs root");
    ensure!(mqlb.is_file(), "there is no {}", mqlb.display());
    cleanup::on_signals()?;
    cleanup::sweep_stale();
    lb_tests::raise_open_files();
    let mut stage = Stage::open(redraw);
    // Whatever the world is made of is gone when this returns, well or not.
    let findings =
        World::build(mqlb, &mut stage).and_then(|mut world| script::play(&mut world, &mut stage));
    stage.close();
    let findings = findings?;
    stage.print(&findings.summary());
    Ok(findings.all_as_expected())
}

//! Shows mqlb at work, in a network of its own: `cargo xtask demo` builds and starts this.
//!
//! `demo --mqlb PATH [--plain] [--no-colour]`; as root. `demo broker` is one of its brokers.

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

use anyhow::{Context as _, Result, bail, ensure};
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
    if arguments == ["broker"] {
        return lb_tests::embedded::serve().map(|()| true);
    }
    let (mut redraw, mut colours) = (terminal::is_there(), terminal::is_there());
    let mut mqlb = None;
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--mqlb" => mqlb = words.next().map(PathBuf::from),
            "--plain" => redraw = false,
            "--no-colour" => colours = false,
            other => bail!("what is {other}? Say `--mqlb PATH`, `--plain`, `--no-colour`"),
        }
    }
    let mqlb = mqlb.context("say with `--mqlb PATH` which mqlb to show")?;
    show(mqlb, redraw, colours)
}

/// Removing clients, brokers, `mqlb` and networks takes a moment, in which Ctrl-C would seem to do
/// nothing.
fn say_goodbye() {
    terminal::leave();
    let text = "\nStopped. Removing the clients, the brokers, mqlb and their networks ...";
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Whether everything went as it should.
fn show(mqlb: PathBuf, redraw: bool, colours: bool) -> Result<bool> {
    ensure!(nix::unistd::geteuid().is_root(), "making networks needs root");
    ensure!(mqlb.is_file(), "there is no {}", mqlb.display());
    cleanup::on_signals(say_goodbye)?;
    cleanup::sweep_stale();
    lb_tests::raise_open_files();
    let mut stage = Stage::open(redraw, colours);
    // Whatever the world is made of is gone when this returns, well or not.
    let findings =
        World::build(mqlb, &mut stage).and_then(|mut world| script::play(&mut world, &mut stage));
    stage.close();
    let findings = findings?;
    stage.print(&findings.summary());
    Ok(findings.all_as_expected())
}

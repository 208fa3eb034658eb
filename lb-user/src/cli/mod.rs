//! The command line: one module per command.
//!
//! Data goes to stdout, messages to stderr; every error has a line `hint:`.

mod args;
mod backend;
mod config;
mod decap;
mod detach;
mod doctor;
mod explain;
mod failure;
mod flows;
mod hold;
mod logging;
mod open_files;
mod output;
mod rebalance;
mod reload;
mod ring;
mod run;
mod serve;
mod service;
mod sessions;
mod status;
mod table;
mod trace;
mod usage;

use std::process::ExitCode;

use args::{Args, BackendCommand, Command, ConfigCommand, ServiceCommand};
use clap::{CommandFactory, Parser, error::ErrorKind};
use failure::Failure;
use output::Output;
use ring::RingSubcommand;

use crate::api::client::Client;

/// What a command came to.
type Outcome = Result<(), Failure>;

/// Runs the command that the arguments of this process name.
///
/// The exit code is 0 if it was done, 1 if it failed, and 2 if the command line or a configuration
/// file is wrong.
#[must_use]
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        // Help and versions are errors to clap, too.
        Err(error) if !error.use_stderr() => error.exit(),
        Err(error) if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            error.exit()
        }
        Err(error) => {
            let words = std::env::args_os().skip(1);
            let words: Vec<String> = words.map(|word| word.to_string_lossy().into()).collect();
            return usage::wrong(&error, &mut Args::command(), &words).report();
        }
    };
    let output = Output::new(args.json);
    match dispatch(args, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn dispatch(args: Args, output: Output) -> Outcome {
    let client = Client::new(&args.socket);
    match args.command {
        Command::Run(run) => run::run(&run),
        Command::Config(ConfigCommand::Check { file }) => config::check(&file, output),
        Command::Doctor(doctor) => doctor::doctor(&doctor, output),
        Command::Decap(command) => decap::decap(&command, output),
        Command::Detach(detach) => detach::detach(&detach, &args.socket, output),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "mqlb", &mut script);
            output.text(&String::from_utf8_lossy(&script))
        }
        Command::Status => ask(status::status(&client, output)),
        Command::Reload { dry_run } => ask(reload::reload(&client, output, dry_run)),
        Command::Service(ServiceCommand::List) => ask(service::list(&client, output)),
        Command::Service(ServiceCommand::Rebalance(args)) => {
            ask(rebalance::rebalance(&client, output, args))
        }
        Command::Service(ServiceCommand::Sessions(args)) => {
            ask(sessions::sessions(&client, output, args))
        }
        Command::Backend(command) => ask(backend_command(&client, output, command)),
        Command::Flows(flows) => ask(flows::flows(&client, output, flows)),
        Command::Ring(RingSubcommand::Diff(diff)) => ask(ring::diff(&client, output, diff)),
        Command::Trace(trace) => ask(trace::trace(&client, output, trace)),
        Command::Explain { client: from, vip } => ask(explain::explain(&client, output, from, vip)),
    }
}

async fn backend_command(client: &Client, output: Output, command: BackendCommand) -> Outcome {
    match command {
        BackendCommand::List { service } => backend::list(client, output, service).await,
        BackendCommand::Add { backend, address, weight } => {
            backend::add(client, output, &backend, address, weight).await
        }
        BackendCommand::Remove { backend } => {
            output.changed(&client.remove(&backend.service, &backend.name).await?)
        }
        BackendCommand::Drain { backend, wait, timeout } => {
            backend::drain(client, output, &backend, wait, timeout).await
        }
        BackendCommand::Undrain { backend } => {
            output.changed(&client.drain(&backend.service, &backend.name, false).await?)
        }
        BackendCommand::Weight { backend, weight } => {
            let weight = crate::api::types::NewWeight { weight };
            output.changed(&client.weigh(&backend.service, &backend.name, &weight).await?)
        }
    }
}

/// Waits for what a command asks of the controller.
fn ask(work: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime
        .map_err(|error| Failure::failed(&error, "this machine is short of resources"))?
        .block_on(work)
}

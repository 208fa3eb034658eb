//! `cargo xtask demo`: builds what the show needs, and starts it as root.

use anyhow::Result;

use crate::programs::Program;

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

const DEMO: Program = Program { name: "demo", features: &["lb-tests/embedded-broker"] };

/// Builds and starts the show; returns only if that fails.
pub fn run(options: &Options) -> Result<()> {
    let built = DEMO.build(!options.debug)?;
    let mut arguments = Vec::new();
    if options.plain {
        arguments.push("--plain");
    }
    // By the command line, because sudo removes it from the environment.
    if std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        arguments.push("--no-colour");
    }
    built.become_it(&arguments)
}

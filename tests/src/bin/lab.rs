//! Builds a network with brokers and holds it until Ctrl-C, for trying things by hand:
//! `lab one|two [brokers]`, then `ip netns exec` or `nsenter --net=` with the paths it prints.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use lb_tests::broker::{Broker, Kind};
use lb_tests::cleanup;
use lb_tests::topology::{Arms, Family, Topology};

fn main() -> ExitCode {
    match run(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["one"] => hold(Arms::One, 3),
        ["two"] => hold(Arms::Two, 3),
        ["one", brokers] => hold(Arms::One, brokers.parse()?),
        ["two", brokers] => hold(Arms::Two, brokers.parse()?),
        #[cfg(feature = "embedded-broker")]
        ["embedded-broker"] => lb_tests::embedded::serve(),
        _ => bail!("say `one` or `two` (arms), and how many brokers"),
    }
}

fn hold(arms: Arms, brokers: usize) -> Result<()> {
    cleanup::on_signals(|| {})?;
    cleanup::sweep_stale();
    let topology = Topology::new(arms, brokers)?;
    let brokers = (0..brokers).map(|index| Broker::start(&topology, index, &kind()?));
    let brokers = brokers.collect::<Result<Vec<_>>>()?;
    print(&topology, &brokers).context("print what there is")?;
    loop {
        std::thread::park();
    }
}

fn kind() -> Result<Kind> {
    if cfg!(feature = "embedded-broker") {
        let program = std::env::current_exe().context("find this program")?;
        Ok(Kind::Program(program, vec!["embedded-broker".into()]))
    } else {
        Ok(Kind::Mosquitto)
    }
}

fn print(topology: &Topology, brokers: &[Broker]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "clients   {}", topology.clients().path().display())?;
    writeln!(out, "balancer  {}", topology.balancer().path().display())?;
    for (index, broker) in brokers.iter().enumerate() {
        let [v4, v6] = Family::ALL.map(|family| topology.broker_address(index, family));
        let (name, path) = (broker.name(), topology.broker(index).path());
        let pid = broker.process().pid();
        writeln!(out, "{name}  {} process {pid}, {v4}, {v6}", path.display())?;
    }
    let [v4, v6] = Family::ALL.map(|family| topology.vip(family));
    writeln!(out, "VIPs      {v4}, {v6}")?;
    writeln!(out, "files     {}", topology.scratch().path().display())?;
    out.flush()
}

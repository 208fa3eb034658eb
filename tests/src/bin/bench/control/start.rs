//! From the start of the controller to the first connection through the data plane, and from a kill
//! to the next controller at work.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lb_tests::netns::Namespace;
use lb_tests::process::Process;
use lb_tests::topology::Family;
use nix::sys::signal::Signal;

use super::api::Api;
use super::median_and_p99;
use super::network::Network;
use crate::statistics::median;
use crate::table::{Table, figure, verdict};

const START_AIM_MS: f64 = 300.0;

const LIMIT: Duration = Duration::from_secs(10);

/// From one try to the next.
const PAUSE: Duration = Duration::from_millis(1);

/// A connection that is not made in this time is counted as failed.
const CONNECT_LIMIT: Duration = Duration::from_millis(500);

/// What is needed to start `mqlb` again and again.
struct Site<'a> {
    network: &'a Network,
    mqlb: &'a Path,
    config: PathBuf,
    vip: SocketAddr,
    api: Api,
}

pub fn measure(mqlb: &Path, count: usize) -> Result<String> {
    let network = Network::build()?;
    let scratch = network.topology.scratch();
    let site = Site {
        network: &network,
        mqlb,
        config: scratch.join("mqlb.yaml"),
        vip: network.topology.vip(Family::V4),
        api: Api::new(&scratch.join("mqlb.sock")),
    };
    std::fs::write(&site.config, network.config().to_string()).context("write mqlb.yaml")?;
    let (mut starts, mut takeovers) = (Vec::new(), Vec::new());
    let (mut connected, mut failed) = (0, 0);
    for _ in 0..count {
        let (process, took) = site.start()?;
        starts.push(took);
        let (process, took, attempts) = site.take_over(&process)?;
        takeovers.push(took);
        connected += attempts.connected;
        failed += attempts.failed;
        process.signal(Signal::SIGTERM)?;
        process.wait(LIMIT)?;
        site.detach()?;
    }
    let mut table = Table::new(["ms, with 100 backends", "median", "p99", "aim"]);
    let aim = format!("{} ms", figure(START_AIM_MS));
    let aim = verdict(&aim, median(&starts) <= START_AIM_MS);
    let row = |name: &str, samples: &[f64], aim| {
        [name.to_owned()].into_iter().chain(median_and_p99(samples)).chain([aim])
    };
    table.row(row("from start to forwarding", &starts, aim));
    table.row(row("from start after SIGKILL to answering commands", &takeovers, "–".to_owned()));
    Ok(format!(
        "{table}\nFrom the kills to the takeovers: {connected} new connections made, {failed} failed.\n"
    ))
}

impl Site<'_> {
    /// Milliseconds until a client is connected: before the data plane is there, the balancer's
    /// kernel refuses, because nobody listens on the VIP.
    fn start(&self) -> Result<(Process, f64)> {
        let began = Instant::now();
        let process = self.run()?;
        let connect = || {
            self.network.topology.clients().run(|| {
                while TcpStream::connect_timeout(&self.vip, Duration::from_millis(20)).is_err() {
                    ensure!(began.elapsed() < LIMIT, "nobody answers after {LIMIT:?}");
                    std::thread::sleep(PAUSE);
                }
                Ok(began.elapsed())
            })
        };
        let took = connect()?.with_context(|| process.output())?;
        self.wait_answering(&process)?;
        Ok((process, took.as_secs_f64() * 1e3))
    }

    /// Kills the controller and starts the next, while clients connect.
    fn take_over(&self, old: &Process) -> Result<(Process, f64, Attempts)> {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let clients = self.network.topology.clients();
            let connecting = scope.spawn(|| connect_until(clients, self.vip, &over));
            old.kill();
            let began = Instant::now();
            let started = self.run().and_then(|process| {
                self.wait_answering(&process)?;
                Ok((process, began.elapsed()))
            });
            over.store(true, Ordering::Relaxed);
            let attempts =
                connecting.join().ok().context("the thread that connects panicked")??;
            let (process, took) = started?;
            Ok((process, took.as_secs_f64() * 1e3, attempts))
        })
    }

    fn run(&self) -> Result<Process> {
        let mut command = Command::new(self.mqlb);
        command.arg("run").arg("-c").arg(&self.config);
        let directory = self.network.topology.scratch().path();
        Process::start("mqlb", &mut command, self.network.topology.balancer(), directory)
    }

    fn wait_answering(&self, process: &Process) -> Result<()> {
        process.wait_ready(LIMIT, || self.api.call("GET", "/healthz", None).is_ok())
    }

    fn detach(&self) -> Result<()> {
        let mut command = Command::new(self.mqlb);
        command.arg("detach").arg("-c").arg(&self.config);
        self.network.topology.balancer().feed(&mut command, "")?;
        let state = self.network.topology.scratch().join("state");
        std::fs::remove_dir_all(state).context("remove the state")
    }
}

/// What became of attempts to connect.
#[derive(Debug, Default)]
struct Attempts {
    connected: u32,
    failed: u32,
}

fn connect_until(clients: &Namespace, vip: SocketAddr, over: &AtomicBool) -> Result<Attempts> {
    clients.run(|| {
        let mut attempts = Attempts::default();
        while !over.load(Ordering::Relaxed) {
            match TcpStream::connect_timeout(&vip, CONNECT_LIMIT) {
                Ok(_) => attempts.connected += 1,
                Err(_) => attempts.failed += 1,
            }
            std::thread::sleep(PAUSE);
        }
        attempts
    })
}

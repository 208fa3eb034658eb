//! A fleet of MQTT clients, each of which publishes to itself and keeps account of every message,
//! every disconnect and every failed attempt.

mod client;
mod connection;
mod ledger;
mod report;
mod state;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
pub use rumqttc::mqttbytes::QoS;

pub use connection::Reason;
pub use ledger::Counts;
pub use report::{ClientReport, Disconnect, Failure, Report};

use crate::netns::Namespace;
use state::Phase;

/// What a client publishes, always to its own topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// Nothing but PINGREQ.
    Idle,
    /// The next message once the last one is settled, and this pause is over.
    ClosedLoop { pause: Duration },
    /// A message each time this has passed, whatever became of the earlier ones.
    Every(Duration),
}

/// What a client does after its connection has ended or could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reconnect {
    Never,
    /// After this pause, as often as needed. What the broker had not acknowledged is sent again.
    After(Duration),
}

/// What a fleet does.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where all clients connect to.
    pub target: SocketAddr,
    pub clients: u32,
    /// Client Identifiers are `<prefix>-<number>`.
    pub prefix: String,
    /// Addresses to connect from, used in turn; none leaves the choice to the kernel.
    pub sources: Vec<IpAddr>,
    pub traffic: Traffic,
    pub qos: QoS,
    /// Size of a message; at least 16.
    pub payload_bytes: usize,
    pub reconnect: Reconnect,
    /// Keep Alive in seconds; a PINGREQ is sent every half of it.
    pub keep_alive_s: u16,
    /// Whether each connection begins a new session.
    pub clean: bool,
    /// How many clients may be connecting at the same time.
    pub connecting_at_once: usize,
    /// When an attempt to connect has failed: TCP, CONNECT and SUBSCRIBE together.
    pub connect_limit: Duration,
}

impl Plan {
    /// Clients that say nothing; change the fields for more.
    #[must_use]
    pub fn new(target: SocketAddr, clients: u32) -> Self {
        Self {
            target,
            clients,
            prefix: "dev".into(),
            sources: Vec::new(),
            traffic: Traffic::Idle,
            qos: QoS::AtLeastOnce,
            payload_bytes: 64,
            reconnect: Reconnect::Never,
            keep_alive_s: 60,
            clean: true,
            connecting_at_once: 64,
            connect_limit: Duration::from_secs(5),
        }
    }
}

/// A running fleet. Dropped, its connections are closed without a word.
#[derive(Debug)]
pub struct Fleet {
    state: Arc<state::Fleet>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Fleet {
    /// Starts the clients in `namespace`; they connect as fast as the plan allows.
    pub fn start(namespace: &Namespace, plan: Plan) -> Result<Self> {
        let state = Arc::new(state::Fleet::new(plan));
        let thread = std::thread::Builder::new()
            .name("fleet".into())
            .spawn({
                let (state, namespace) = (Arc::clone(&state), namespace.clone());
                move || run(&namespace, &state)
            })
            .context("start the fleet's thread")?;
        Ok(Self { state, thread: Some(thread) })
    }

    /// Waits until every client is connected.
    pub fn wait_connected(&self, limit: Duration) -> Result<()> {
        self.wait_until(limit, "all clients connected", || {
            self.state.connected_clients() == self.state.plan.clients as usize
        })
    }

    /// Waits until each client has received `messages` more than now: proof that all of them can.
    pub fn wait_exchanged(&self, messages: u64, limit: Duration) -> Result<()> {
        let before = self.state.received();
        self.wait_until(limit, "every client has received", || {
            self.state.received().iter().zip(&before).all(|(now, before)| *now >= before + messages)
        })
    }

    /// What it has seen so far. Messages under way don't count as lost.
    #[must_use]
    pub fn report(&self) -> Report {
        self.state.report(false)
    }

    /// The time in this fleet's reports.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.state.now()
    }

    /// Stops publishing, waits up to `grace` for what is under way, disconnects, and reports.
    pub fn stop(mut self, grace: Duration) -> Result<Report> {
        self.state.enter(Phase::Settling);
        let settled = self.wait_until(grace, "settled", || self.state.is_settled());
        // What is missing then is in the report.
        drop(settled);
        let mut report = self.state.report(true);
        self.end()?;
        // A connection that ended meanwhile, before the goodbye, is told too.
        report.disconnects = self.state.report(true).disconnects;
        Ok(report)
    }

    fn wait_until(&self, limit: Duration, what: &str, done: impl Fn() -> bool) -> Result<()> {
        let deadline = Instant::now() + limit;
        while !done() {
            if Instant::now() > deadline {
                let report = self.report();
                bail!(
                    "not {what} after {limit:?}: {} of {} connected, {:?}, {} failed attempts, last {:?}, \
                     {} disconnects, last {:?}",
                    report.connected(),
                    self.state.plan.clients,
                    report.counts(),
                    report.failures.len(),
                    report.failures.last(),
                    report.disconnects.len(),
                    report.disconnects.last(),
                );
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        self.state.enter(Phase::Closing);
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(result)) => result,
            Some(Err(_)) => bail!("a client panicked"),
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// The threads of the runtime inherit the namespace of the one that builds it.
fn run(namespace: &Namespace, state: &Arc<state::Fleet>) -> Result<()> {
    namespace.enter()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the fleet's runtime")?;
    runtime.block_on(async {
        let clients = (0..state.plan.clients as usize)
            .map(|index| tokio::spawn(client::live(Arc::clone(state), index)));
        for client in clients.collect::<Vec<_>>() {
            client.await.context("a client panicked")?;
        }
        Ok(())
    })
}

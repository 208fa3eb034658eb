//! Clients that do no more than they must: on two cores every microsecond of theirs is one that
//! the balancer and the brokers lack.
//!
//! Two threads in the clients' namespace, each with an event loop of its own; Control Packets are
//! bytes made ahead.

mod connects;
mod idle;
mod messages;
mod packets;
mod socket;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use hdrhistogram::Histogram;
use lb_tests::netns::Namespace;
use tokio::sync::{Semaphore, watch};

use crate::certificate::Tls;

const THREADS: usize = 2;

/// How many clients that stay connect at the same time.
const OPENING: usize = 32;

/// How long the clients may take to connect before the measurement.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// A connection or message that fails is a retry in a race; more than that is a broken setup.
const FAILED_LIMIT: f64 = 0.01;

/// Whom the clients connect to.
#[derive(Debug, Clone)]
pub struct Target {
    /// One address, or several that the clients spread themselves over.
    pub addresses: Vec<SocketAddr>,
    /// Where they connect from.
    pub sources: Vec<IpAddr>,
    /// How they begin TLS there, if they do.
    pub tls: Option<Tls>,
}

/// What the clients do.
#[derive(Debug, Clone, Copy)]
pub enum Work {
    /// Connect, wait for the CONNACK, disconnect, wait until the broker has closed; and again.
    Connect,
    /// Publish to themselves, and again as soon as the message has returned.
    ClosedLoop,
    /// Publish to themselves, each once in this time.
    Every(Duration),
    /// Stay connected.
    Idle,
}

/// Running clients. Dropped, they are gone.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<Result<()>>>,
}

/// What was seen in a stretch of time.
#[derive(Debug)]
pub struct Window {
    pub done: u64,
    pub elapsed: Duration,
    /// From publishing to the return of the message, in nanoseconds.
    pub latency_ns: Histogram<u64>,
}

#[derive(Debug)]
struct Shared {
    /// Of this load, in this run.
    number: usize,
    target: Target,
    clients: usize,
    /// Whoever connects to stay takes one: a broker's queue of new connections is short.
    opening: Semaphore,
    ready: AtomicU64,
    done: AtomicU64,
    failed: AtomicU64,
    last_failure: Mutex<Option<String>>,
    latency_ns: Mutex<Histogram<u64>>,
}

impl Load {
    /// Starts `clients` clients, and waits until they are at work.
    pub fn start(
        namespace: &Namespace,
        target: &Target,
        clients: usize,
        work: Work,
    ) -> Result<Self> {
        static LOADS: AtomicUsize = AtomicUsize::new(0);
        let shared = Arc::new(Shared {
            number: LOADS.fetch_add(1, Ordering::Relaxed),
            target: target.clone(),
            clients,
            opening: Semaphore::new(OPENING),
            ready: AtomicU64::new(0),
            done: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            last_failure: Mutex::default(),
            latency_ns: Mutex::new(new_histogram()?),
        });
        let (stop, stopped) = watch::channel(false);
        let threads = (0..THREADS).map(|thread| {
            let (namespace, shared) = (namespace.clone(), Arc::clone(&shared));
            let stopped = stopped.clone();
            std::thread::spawn(move || {
                namespace.enter()?;
                run(thread, &shared, work, stopped)
            })
        });
        let load = Self { threads: threads.collect(), shared, stop };
        load.wait_ready()?;
        Ok(load)
    }

    /// What comes in this time.
    pub fn measure(&self, length: Duration) -> Result<Window> {
        self.shared.latency().reset();
        let before = self.shared.counts();
        let began = Instant::now();
        std::thread::sleep(length);
        let elapsed = began.elapsed();
        let after = self.shared.counts();
        let (done, failed) = (after.0 - before.0, after.1 - before.1);
        let last = self.shared.failure().clone().unwrap_or_default();
        ensure!(done > 0, "nothing came of it in {length:?}: {last}");
        let share = failed as f64 / (done + failed) as f64;
        ensure!(share < FAILED_LIMIT, "{failed} of {} failed, the last: {last}", done + failed);
        Ok(Window { done, elapsed, latency_ns: self.shared.latency().clone() })
    }

    fn wait_ready(&self) -> Result<()> {
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            let ready = self.shared.ready.load(Ordering::Relaxed);
            if ready >= self.shared.clients as u64 {
                return Ok(());
            }
            let last = self.shared.failure().clone();
            if Instant::now() > deadline || self.threads.iter().any(JoinHandle::is_finished) {
                bail!(
                    "{ready} of {} clients connected in {READY_LIMIT:?}; the last that failed: {}",
                    self.shared.clients,
                    last.unwrap_or_else(|| "none".to_owned())
                );
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // Whoever does not listen has ended already.
        let _ = self.stop.send(true);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Window {
    pub fn per_second(&self) -> f64 {
        self.done as f64 / self.elapsed.as_secs_f64()
    }
}

impl Shared {
    fn counts(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }

    fn latency(&self) -> MutexGuard<'_, Histogram<u64>> {
        self.latency_ns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failure(&self) -> MutexGuard<'_, Option<String>> {
        self.last_failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_failure(&self, error: &anyhow::Error) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        *self.failure() = Some(format!("{error:#}"));
    }

    fn note_done(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    fn note_ready(&self) {
        self.ready.fetch_add(1, Ordering::Relaxed);
    }
}

/// From a microsecond to ten seconds; longer ones count as that.
fn new_histogram() -> Result<Histogram<u64>> {
    Histogram::new_with_bounds(1_000, 10_000_000_000, 3).context("make a histogram")
}

/// One thread: its share of the clients, until it is told to stop.
fn run(
    thread: usize,
    shared: &Arc<Shared>,
    work: Work,
    mut stopped: watch::Receiver<bool>,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("start an event loop")?;
    runtime.block_on(async {
        for client in (thread..shared.clients).step_by(THREADS) {
            let shared = Arc::clone(shared);
            match work {
                Work::Connect => drop(tokio::spawn(connects::live(shared, client))),
                Work::ClosedLoop => drop(tokio::spawn(messages::live(shared, client, None))),
                Work::Every(pause) => {
                    drop(tokio::spawn(messages::live(shared, client, Some(pause))));
                }
                Work::Idle => drop(tokio::spawn(idle::live(shared, client))),
            }
        }
        // The sender lives as long as the load; without it there is nobody to stop for.
        let _ = stopped.wait_for(|stop| *stop).await;
    });
    // The clients end with their event loop.
    Ok(())
}

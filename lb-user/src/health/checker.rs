//! Checks brokers for as long as it is told to, and says when one goes up or down.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{Semaphore, mpsc, oneshot};

use super::probe::probe;
use super::state::{Event, Health, Outcome, Run, State};
use super::target::Target;

/// Probes under way at once. Each holds one file descriptor for at most its timeout; 256 leave room
/// under the usual soft limit of 1024, and let 1000 brokers be probed in a few round trips.
const CONCURRENT_PROBES: usize = 256;

/// A broker that went up or down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthEvent {
    pub backend: u32,
    pub up: bool,
    /// For the operator: why.
    pub reason: String,
}

/// What is known of one broker. Ages count from the moment of the snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub backend: u32,
    /// The kind of the check: `tcp`, `mqtt` or `http`.
    pub kind: &'static str,
    pub health: Health,
    /// How long it has been so.
    pub since: Duration,
    /// Since when, by the wall clock as it was when the checker was made.
    pub changed_at: SystemTime,
    /// Equal results in a row, up to now.
    pub in_a_row: Run,
    /// How long ago the last probe ended.
    pub last_probe: Option<Duration>,
    /// How long the last successful probe took.
    pub last_latency: Option<Duration>,
    /// Why the last probe failed, if it did.
    pub last_error: Option<String>,
    pub probes: u64,
    pub failed_probes: u64,
}

/// The checks of all brokers; dropping it ends them.
///
/// What it says is consistent: an event is sent in the same step in which the verdict changes, and
/// none is sent for a broker after [`Checker::remove`] returned (those before may still be in the
/// channel).
#[derive(Debug)]
pub struct Checker {
    checks: Mutex<HashMap<u32, Entry>>,
    shared: Arc<Shared>,
    runtime: tokio::runtime::Handle,
    /// One moment on both clocks: an instant is always turned into the same time of day.
    made_at: (Instant, SystemTime),
}

#[derive(Debug)]
struct Shared {
    events: mpsc::Sender<HealthEvent>,
    slots: Semaphore,
}

#[derive(Debug)]
struct Entry {
    record: Arc<Record>,
    kind: &'static str,
    /// Dropped to end the task: between two probes, so that no broker sees one broken off.
    _stop: oneshot::Sender<()>,
}

/// The state of a broker, and the number of the task that may change it.
#[derive(Debug)]
struct Record {
    backend: u32,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    task: u64,
    state: State,
}

impl Checker {
    /// Starts without brokers. Events go to `events`; when that is full, checks wait.
    ///
    /// # Panics
    /// Outside of a tokio runtime, whose task its checks become.
    #[must_use]
    pub fn new(events: mpsc::Sender<HealthEvent>) -> Self {
        Self {
            checks: Mutex::default(),
            shared: Arc::new(Shared { events, slots: Semaphore::new(CONCURRENT_PROBES) }),
            runtime: tokio::runtime::Handle::current(),
            made_at: (now(), SystemTime::now()),
        }
    }

    /// Checks `backend` as `target` says from now on; the first probe starts at once.
    ///
    /// For a broker that is new here, `known` is whether it is taken over as up or down; `None`
    /// lets the first result decide. For one that is checked already only the check changes: the
    /// verdict stays, and `known` means nothing.
    pub fn set(&self, backend: u32, target: Target, known: Option<bool>) {
        let mut checks = locked(&self.checks);
        let record = if let Some(entry) = checks.get(&backend) {
            Arc::clone(&entry.record)
        } else {
            let state = State::new(now(), target.thresholds, known);
            Arc::new(Record { backend, inner: Mutex::new(Inner { task: 0, state }) })
        };
        let task = {
            let mut inner = locked(&record.inner);
            inner.task += 1;
            inner.state.replace_thresholds(target.thresholds);
            inner.task
        };
        let (stop, stopped) = oneshot::channel();
        let kind = target.check.kind();
        checks.insert(backend, Entry { record: Arc::clone(&record), kind, _stop: stop });
        let shared = Arc::clone(&self.shared);
        self.runtime.spawn(Task { number: task, record, target, shared, stopped }.run());
    }

    /// Ends the check of `backend`; does nothing if there is none.
    pub fn remove(&self, backend: u32) {
        if let Some(entry) = locked(&self.checks).remove(&backend) {
            locked(&entry.record.inner).task += 1;
        }
    }

    /// The verdict on `backend`; `None` if it is not checked.
    #[must_use]
    pub fn health(&self, backend: u32) -> Option<Health> {
        let checks = locked(&self.checks);
        checks.get(&backend).map(|entry| locked(&entry.record.inner).state.health())
    }

    /// What is known of every broker, by number.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Snapshot> {
        let now = now();
        let mut all: Vec<_> =
            locked(&self.checks).values().map(|entry| entry.snapshot(now, self.made_at)).collect();
        all.sort_unstable_by_key(|snapshot| snapshot.backend);
        all
    }
}

impl Entry {
    fn snapshot(&self, now: Instant, made_at: (Instant, SystemTime)) -> Snapshot {
        let inner = locked(&self.record.inner);
        let state = &inner.state;
        let (probes, failed_probes) = state.probes();
        Snapshot {
            backend: self.record.backend,
            kind: self.kind,
            health: state.health(),
            changed_at: made_at.1 + state.since().saturating_duration_since(made_at.0),
            since: now.saturating_duration_since(state.since()),
            in_a_row: state.in_a_row(),
            last_probe: state.last_probe().map(|at| now.saturating_duration_since(at)),
            last_latency: state.last_latency(),
            last_error: state.last_error().map(str::to_owned),
            probes,
            failed_probes,
        }
    }
}

/// The check of one broker with one target.
struct Task {
    number: u64,
    record: Arc<Record>,
    target: Target,
    shared: Arc<Shared>,
    stopped: oneshot::Receiver<()>,
}

impl Task {
    async fn run(mut self) {
        let mut first = true;
        loop {
            let started;
            let outcome;
            {
                let _slot = tokio::select! {
                    _ = &mut self.stopped => return,
                    // The semaphore is never closed.
                    Ok(slot) = self.shared.slots.acquire() => slot,
                };
                started = tokio::time::Instant::now();
                outcome = self.probe().await;
            }
            if !self.record(outcome).await {
                return;
            }
            let schedule = &self.target.schedule;
            let random = fastrand::u32(..);
            let gap = if first { schedule.after_first(random) } else { schedule.after(random) };
            first = false;
            tokio::select! {
                _ = &mut self.stopped => return,
                () = tokio::time::sleep_until(started + gap) => {}
            }
        }
    }

    async fn probe(&self) -> Outcome {
        match probe(&self.target).await {
            Ok(latency) => Outcome::Success { latency },
            Err(error) => {
                let (backend, address) = (self.record.backend, self.target.address);
                tracing::debug!(backend, %address, %error, "health probe failed");
                let reason = error.to_string();
                if error.is_conclusive() {
                    Outcome::Failure { reason }
                } else {
                    Outcome::Inconclusive { reason }
                }
            }
        }
    }

    /// Records an outcome; `false` when this task has been replaced or nobody listens any more.
    async fn record(&self, outcome: Outcome) -> bool {
        // Room for the event first: from the change of the verdict to its event nothing may wait,
        // or a replaced task could take the event with it.
        let Ok(room) = self.shared.events.reserve().await else { return false };
        let mut inner = locked(&self.record.inner);
        if inner.task != self.number {
            return false;
        }
        let backend = self.record.backend;
        match inner.state.observe(now(), outcome) {
            None => {}
            Some(Event::WentUp) => {
                let reason = format!("{} check succeeded", self.target.check.kind());
                room.send(HealthEvent { backend, up: true, reason });
            }
            Some(Event::WentDown { reason }) => {
                room.send(HealthEvent { backend, up: false, reason });
            }
        }
        true
    }
}

/// Tokio's clock, which tests can stop.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The lock is only held for steps that cannot fail half-way, so that a poisoned one is intact.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

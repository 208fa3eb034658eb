//! Reads the loads of a service's brokers for as long as it has them.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::{
    runtime::Handle,
    sync::{Semaphore, oneshot},
};

use super::{
    gauge::{Gauge, Reading, Turn},
    source::{Source, SourceError, Target},
};
use crate::{
    config::model::Name,
    health::{
        probe::load::{LoadError, read},
        schedule::Schedule,
    },
};

/// Readings under way at once, of all services. Each holds a file descriptor, and up to a megabyte.
pub const CONCURRENT_READINGS: usize = 64;

/// Intervals are shortened by up to so much at random, so that readings do not march in step.
const JITTER_PERCENT: u8 = 10;

/// A broker whose load is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Broker<'a> {
    /// The number of its backend.
    pub id: u32,
    /// The backend's name.
    pub name: &'a Name,
    /// Where it serves clients.
    pub address: SocketAddr,
}

/// The readings of one service; dropping it ends them.
#[derive(Debug)]
pub struct Readers {
    runtime: Handle,
    slots: Arc<Semaphore>,
    source: Option<Arc<Source>>,
    running: HashMap<u32, Reader>,
}

#[derive(Debug)]
struct Reader {
    name: Name,
    gauge: Arc<Mutex<Gauge>>,
    /// Dropped to end the task: between two readings, so that no broker sees one broken off.
    _stop: oneshot::Sender<()>,
}

impl Readers {
    /// None yet. Their tasks run on `runtime`, and share `slots` with others.
    #[must_use]
    pub fn new(runtime: Handle, slots: Arc<Semaphore>) -> Self {
        Self { runtime, slots, source: None, running: HashMap::new() }
    }

    /// From now on the loads of `brokers` are read from `source`, those and no others. What is known goes
    /// on to be known for brokers that stay, if the source still means the same.
    pub fn set<'a>(
        &mut self,
        service: &Name,
        source: Option<&Arc<Source>>,
        brokers: impl Iterator<Item = Broker<'a>>,
    ) {
        let mut before = std::mem::take(&mut self.running);
        let Some(source) = source else {
            self.source = None;
            return;
        };
        let held = self.source.replace(Arc::clone(source));
        let same_task = held.as_ref().is_some_and(|held| Arc::ptr_eq(held, source));
        let same_load = held.is_some_and(|held| held.settings() == source.settings());
        for broker in brokers {
            let known = before.remove(&broker.id).filter(|known| known.name == *broker.name);
            let reader = match known {
                Some(known) if same_task => known,
                Some(known) if same_load => self.start(service, source, broker, known.gauge),
                _ => self.start(service, source, broker, Arc::default()),
            };
            self.running.insert(broker.id, reader);
        }
    }

    fn start(
        &self,
        service: &Name,
        source: &Arc<Source>,
        broker: Broker<'_>,
        gauge: Arc<Mutex<Gauge>>,
    ) -> Reader {
        let (stop, stopped) = oneshot::channel();
        let task = Task {
            service: service.clone(),
            backend: broker.name.clone(),
            target: source.target(broker.name.as_str(), broker.address),
            source: Arc::clone(source),
            gauge: Arc::clone(&gauge),
            slots: Arc::clone(&self.slots),
            stopped,
        };
        self.runtime.spawn(task.run());
        Reader { name: broker.name.clone(), gauge, _stop: stop }
    }

    /// The load of the broker behind this backend, if it is known at the moment `now`.
    #[must_use]
    pub fn load(&self, id: u32, now: Instant) -> Option<f64> {
        let max_age = self.source.as_ref()?.settings().max_age;
        locked(&self.running.get(&id)?.gauge).load(now, max_age)
    }

    /// All that is known at the moment `now`, by the number of the backend.
    #[must_use]
    pub fn readings(&self, now: Instant) -> HashMap<u32, Reading> {
        let Some(source) = &self.source else { return HashMap::new() };
        let max_age = source.settings().max_age;
        let reading = |reader: &Reader| locked(&reader.gauge).reading(now, max_age);
        self.running.iter().map(|(id, reader)| (*id, reading(reader))).collect()
    }
}

/// The readings of one broker from one source.
struct Task {
    service: Name,
    backend: Name,
    target: Result<Target, SourceError>,
    source: Arc<Source>,
    gauge: Arc<Mutex<Gauge>>,
    slots: Arc<Semaphore>,
    stopped: oneshot::Receiver<()>,
}

impl Task {
    async fn run(mut self) {
        let schedule = Schedule::new(self.source.settings().interval, JITTER_PERCENT);
        let mut first = true;
        loop {
            let (started, result);
            {
                let _slot = tokio::select! {
                    _ = &mut self.stopped => return,
                    // The semaphore is never closed.
                    Ok(slot) = self.slots.acquire() => slot,
                };
                started = tokio::time::Instant::now();
                result = self.read().await;
            }
            if !matches!(self.stopped.try_recv(), Err(oneshot::error::TryRecvError::Empty)) {
                return;
            }
            self.note(result);
            let random = fastrand::u32(..);
            let gap = if first { schedule.after_first(random) } else { schedule.after(random) };
            first = false;
            tokio::select! {
                _ = &mut self.stopped => return,
                () = tokio::time::sleep_until(started + gap) => {}
            }
        }
    }

    async fn read(&self) -> Result<f64, String> {
        match &self.target {
            Ok(target) => read(target).await.map_err(|error: LoadError| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn note(&self, result: Result<f64, String>) {
        let Self { service, backend, .. } = self;
        let error = result.as_ref().err().cloned().unwrap_or_default();
        let now = tokio::time::Instant::now().into_std();
        match locked(&self.gauge).note(now, result, self.source.settings().max_age) {
            None => {}
            Some(Turn::Known) => {
                tracing::info!(%service, %backend, "the load of the broker is known");
            }
            Some(Turn::Unknown) => tracing::warn!(
                %service,
                %backend,
                error,
                "the load of the broker is not known: it counts as loaded as the others are on average"
            ),
        }
    }
}

/// The lock is only held for steps that cannot fail half-way, so that a poisoned one is intact.
fn locked(gauge: &Mutex<Gauge>) -> MutexGuard<'_, Gauge> {
    gauge.lock().unwrap_or_else(PoisonError::into_inner)
}

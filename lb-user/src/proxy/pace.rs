//! The gates that a client of a service must pass, by the clock.

use std::{
    num::NonZeroU32,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use super::pacing::{Gate, Pacer, Paces, Rate, Refusal};
use crate::config::model::Pacing;

/// Sources whose pace is known at once; those beyond pass their gate unpaced.
const MOST_SOURCES: usize = 100_000;

/// A gate lets pass at once, after a pause, what it lets pass in a tenth of a second.
const BURSTS_PER_SECOND: u32 = 10;

/// All gates of a service.
#[derive(Debug)]
pub struct Gates {
    pacer: Mutex<Pacer>,
    origin: Instant,
}

impl Gates {
    /// Open as wide as `pacing` says.
    #[must_use]
    pub fn new(pacing: Pacing) -> Self {
        let pacer = Pacer::new(paces(pacing), MOST_SOURCES);
        Self { pacer: Mutex::new(pacer), origin: Instant::now() }
    }

    /// Changes how wide they are.
    pub fn set(&self, pacing: Pacing) {
        self.lock().set_paces(paces(pacing));
    }

    /// Forgets the gates of backends that are gone.
    pub fn retain_backends(&self, exists: impl Fn(u32) -> bool) {
        self.lock().retain_backends(exists);
    }

    /// The latest time at which a client that came at `arrived` may pass its last gate.
    #[must_use]
    pub fn deadline(&self, arrived: Instant) -> Duration {
        self.lock().deadline(arrived.duration_since(self.origin))
    }

    /// Waits until it is the client's turn at `gate`. If nobody waits for that any more, the turn is
    /// somebody else's.
    ///
    /// # Errors
    /// If that would be after `deadline`: at once.
    pub async fn pass(&self, gate: Gate, deadline: Duration) -> Result<(), Refusal> {
        let now = self.origin.elapsed();
        let turn = self.lock().pass(gate, now, deadline)?;
        if turn > now {
            let mut waits = Waits { gates: self, gate, turn: Some(turn) };
            sleep_until(self.origin + turn).await;
            waits.turn = None;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Pacer> {
        self.pacer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client that waits for its turn.
struct Waits<'a> {
    gates: &'a Gates,
    gate: Gate,
    /// `None` once it has come.
    turn: Option<Duration>,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        if let Some(turn) = self.turn {
            let now = self.gates.origin.elapsed();
            self.gates.lock().give_back(self.gate, turn, now);
        }
    }
}

fn paces(Pacing { source, service, backend, max_wait }: Pacing) -> Paces {
    let rate = |per_second: Option<u32>| {
        let per_second = NonZeroU32::new(per_second?)?;
        let burst = NonZeroU32::new(per_second.get().div_ceil(BURSTS_PER_SECOND))?;
        Some(Rate { per_second, burst })
    };
    Paces { source: rate(source), service: rate(service), backend: rate(backend), max_wait }
}

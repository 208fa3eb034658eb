//! Whether one broker is up: the decision, without the probing.
//!
//! A broker nobody has probed yet is [`Health::Unknown`], and its first result decides: one that
//! starts down never gets a connection, one that starts up does not wait for `rise` probes. From
//! then on `fall` failures in a row take it down and `rise` successes in a row bring it back.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// How many results in a row change the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Successes in a row that bring a broker up.
    pub rise: NonZeroU32,
    /// Failures in a row that take a broker down.
    pub fall: NonZeroU32,
}

/// The verdict on a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// No probe has ended yet. Gets no new connections.
    Unknown,
    Up,
    Down,
}

/// How one probe ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The broker answered as it should, `latency` after the probe began.
    Success { latency: Duration },
    /// The broker did not; `reason` is for the operator.
    Failure { reason: String },
    /// This host could not probe (no file descriptor left, ...). Says nothing about the broker, so
    /// it changes no verdict: running out of descriptors must not take down every broker at once.
    Inconclusive { reason: String },
}

/// A change of the verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    WentUp,
    /// `reason` is that of the failure that tipped the verdict.
    WentDown {
        reason: String,
    },
}

/// The record of one broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    health: Health,
    since: Instant,
    thresholds: Thresholds,
    in_a_row: Run,
    last_probe: Option<Instant>,
    last_latency: Option<Duration>,
    last_error: Option<String>,
    probes: u64,
    failed_probes: u64,
}

/// The results since the last one of the other kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    Successes(u32),
    Failures(u32),
}

impl State {
    /// A broker whose verdict is known already, or not (`None`).
    ///
    /// A restarted controller passes what it finds in the data plane, so that one lost probe just
    /// after the restart costs no broker its connections.
    #[must_use]
    pub fn new(now: Instant, thresholds: Thresholds, known: Option<bool>) -> Self {
        Self {
            health: match known {
                None => Health::Unknown,
                Some(true) => Health::Up,
                Some(false) => Health::Down,
            },
            since: now,
            thresholds,
            in_a_row: Run::Successes(0),
            last_probe: None,
            last_latency: None,
            last_error: None,
            probes: 0,
            failed_probes: 0,
        }
    }

    /// Takes other thresholds over: they count from the next result on.
    pub fn replace_thresholds(&mut self, thresholds: Thresholds) {
        self.thresholds = thresholds;
    }

    /// Records the end of a probe; returns the change of the verdict, if it brought one.
    pub fn observe(&mut self, now: Instant, outcome: Outcome) -> Option<Event> {
        self.last_probe = Some(now);
        self.probes += 1;
        match outcome {
            Outcome::Success { latency } => {
                self.last_latency = Some(latency);
                self.last_error = None;
                self.succeeded(now)
            }
            Outcome::Failure { reason } => {
                self.failed_probes += 1;
                self.last_error = Some(reason.clone());
                self.failed(now, reason)
            }
            Outcome::Inconclusive { reason } => {
                self.last_error = Some(reason);
                None
            }
        }
    }

    fn succeeded(&mut self, now: Instant) -> Option<Event> {
        let successes = match self.in_a_row {
            Run::Successes(n) => n.saturating_add(1),
            Run::Failures(_) => 1,
        };
        self.in_a_row = Run::Successes(successes);
        let enough = match self.health {
            Health::Unknown => true,
            Health::Down => successes >= self.thresholds.rise.get(),
            Health::Up => false,
        };
        enough.then(|| self.turn_up(now))
    }

    fn failed(&mut self, now: Instant, reason: String) -> Option<Event> {
        let failures = match self.in_a_row {
            Run::Failures(n) => n.saturating_add(1),
            Run::Successes(_) => 1,
        };
        self.in_a_row = Run::Failures(failures);
        let enough = match self.health {
            Health::Unknown => true,
            Health::Up => failures >= self.thresholds.fall.get(),
            Health::Down => false,
        };
        enough.then(|| {
            self.health = Health::Down;
            self.since = now;
            Event::WentDown { reason }
        })
    }

    fn turn_up(&mut self, now: Instant) -> Event {
        self.health = Health::Up;
        self.since = now;
        Event::WentUp
    }

    /// The verdict.
    #[must_use]
    pub const fn health(&self) -> Health {
        self.health
    }

    /// When the verdict was reached.
    #[must_use]
    pub const fn since(&self) -> Instant {
        self.since
    }

    /// The run of equal results that the last probe ended with.
    #[must_use]
    pub const fn in_a_row(&self) -> Run {
        self.in_a_row
    }

    /// When the last probe ended.
    #[must_use]
    pub const fn last_probe(&self) -> Option<Instant> {
        self.last_probe
    }

    /// How long the last successful probe took.
    #[must_use]
    pub const fn last_latency(&self) -> Option<Duration> {
        self.last_latency
    }

    /// Why the last probe failed; `None` if it did not.
    #[must_use]
    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// All probes that ended, and those of them that failed.
    #[must_use]
    pub const fn probes(&self) -> (u64, u64) {
        (self.probes, self.failed_probes)
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;

//! CONNECT pacing: how fast new connections are let in, after an outage above all.
//!
//! A connection passes up to three gates, one after the other: that of its source, that of the
//! service, and, once a backend is chosen, that of the backend. Each gate says at once when the
//! connection may go on: its place in the queue is a time, so nothing is queued here, and no
//! connection wakes another. Who would wait too long is refused at once, and takes no place.
//!
//! Each gate keeps its own pace whatever the others do. Where backends are slower than the service, what
//! all brokers see together is the sum of their paces.
//!
//! A gate is a Generic Cell Rate Algorithm (ITU-T I.371, the virtual scheduling form). In any window
//! of length w it lets at most `burst + w * rate` pass. No clock: times are `Duration`s since one
//! origin of the caller's, which must not go back.

mod sources;
mod turns;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, net::IpAddr, num::NonZeroU32, time::Duration};

use sources::Sources;
use turns::Turns;

/// A pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Connections per second.
    pub per_second: NonZeroU32,
    /// Connections that may pass at once after a pause.
    pub burst: NonZeroU32,
}

impl Rate {
    fn interval(self) -> Duration {
        Duration::from_secs(1) / self.per_second.get()
    }

    /// How far the next free place may lie ahead while one may still pass at once.
    fn tolerance(self) -> Duration {
        self.interval() * (self.burst.get() - 1)
    }
}

/// The paces of a service; `None` means that there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Paces {
    /// Of each source: an IPv4 address, or the /64 of an IPv6 address.
    pub source: Option<Rate>,
    /// Of the whole service.
    pub service: Option<Rate>,
    /// Of each backend.
    pub backend: Option<Rate>,
    /// How long a connection may wait in all gates together.
    pub max_wait: Duration,
}

/// A gate that a connection must pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// That of its source.
    Source(IpAddr),
    /// That of the service.
    Service,
    /// That of the backend with this number.
    Backend(u32),
}

/// Why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its source is faster than its pace.
    #[error("this source opens connections faster than its pace")]
    Source,
    /// More clients wait for the service than it lets in within the longest wait.
    #[error("more clients wait for the service than its pace lets in in time")]
    Service,
    /// More clients wait for this backend than it takes within the longest wait.
    #[error("more clients wait for the backend than its pace lets in in time")]
    Backend,
}

/// All gates of a service.
#[derive(Debug)]
pub struct Pacer {
    paces: Paces,
    sources: Sources,
    service: Turns,
    backends: BTreeMap<u32, Turns>,
}

impl Pacer {
    /// With room for this number of sources (about 40 bytes each); those beyond pass the gate of
    /// sources unpaced, and the one of the service still holds.
    #[must_use]
    pub fn new(paces: Paces, max_sources: usize) -> Self {
        let sources = Sources::new(max_sources);
        Self { paces, sources, service: Turns::default(), backends: BTreeMap::new() }
    }

    /// Changes the paces; who has a place keeps it.
    pub fn set_paces(&mut self, paces: Paces) {
        self.paces = paces;
    }

    /// Forgets the gates of backends that are gone.
    pub fn retain_backends(&mut self, exists: impl Fn(u32) -> bool) {
        self.backends.retain(|id, _| exists(*id));
    }

    /// The latest time at which a connection that came at `arrived` may pass its last gate.
    #[must_use]
    pub fn deadline(&self, arrived: Duration) -> Duration {
        arrived.saturating_add(self.paces.max_wait)
    }

    /// When the connection may pass `gate`: at `now` or later, at `deadline` at the latest. It then
    /// has that place, until it is given back.
    ///
    /// # Errors
    ///
    /// If the first free place lies behind `deadline`; then no place is taken.
    pub fn pass(
        &mut self,
        gate: Gate,
        now: Duration,
        deadline: Duration,
    ) -> Result<Duration, Refusal> {
        let (rate, refusal) = match gate {
            Gate::Source(_) => (self.paces.source, Refusal::Source),
            Gate::Service => (self.paces.service, Refusal::Service),
            Gate::Backend(_) => (self.paces.backend, Refusal::Backend),
        };
        let Some(rate) = rate else { return Ok(now) };
        let turn = match gate {
            Gate::Source(address) => match self.sources.of(address, now, self.memory(rate)) {
                Some(next) => next.take(rate, now, deadline),
                None => return Ok(now),
            },
            Gate::Service => self.service.take(rate, now, deadline),
            Gate::Backend(id) => self.backends.entry(id).or_default().take(rate, now, deadline),
        };
        turn.ok_or(refusal)
    }

    /// A client that had `turn` at `gate` has gone before it came: somebody else gets it. Those of
    /// sources are lost: a source holds up nobody but itself.
    pub fn give_back(&mut self, gate: Gate, turn: Duration, now: Duration) {
        let turns = match gate {
            Gate::Source(_) => None,
            Gate::Service => Some(&mut self.service),
            Gate::Backend(id) => self.backends.get_mut(&id),
        };
        if let Some(turns) = turns {
            turns.give_back(turn, now);
        }
    }

    /// After this time without a connection a source's gate is as if it had never been used: its next
    /// place lies at most so far ahead.
    fn memory(&self, rate: Rate) -> Duration {
        self.paces.max_wait + rate.interval() * rate.burst.get()
    }
}

//! Rebalancing: which connections are closed, and when, so that their clients come back to a broker
//! that has too few. Pure: a snapshot goes in, a plan comes out; times are `Duration`s since one
//! origin of the caller's.
//!
//! A backend has a *surplus* if it has more than its share (by weight, of all connections) and the
//! tolerance on top. A drained one has a share of nothing. [`assess`] alone is the dry run;
//! [`Rebalance::round`] picks what a second may move, for as long as there is a surplus.

mod pick;

#[cfg(test)]
mod tests;

use std::{fmt, num::NonZeroU32, time::Duration};

use serde::{Deserialize, Serialize};

/// A backend as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Its number.
    pub id: u32,
    /// Its weight; 0 for one that is drained: it shall have nothing.
    pub weight: u32,
    /// Its open connections.
    pub connections: u32,
    /// Whether it takes new connections. One that does not (it is down, say), and is not drained,
    /// keeps what it has and is given nothing.
    pub takes: bool,
}

/// A connection as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Its number.
    pub id: u64,
    /// The backend that it is with.
    pub backend: u32,
    /// Whether the broker keeps a session for it, which moving it may leave behind.
    pub session: bool,
    /// How long its client has been silent; a ping is a word.
    pub idle: Duration,
}

/// What may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Connections that are moved per second, at most.
    pub moves_per_second: NonZeroU32,
    /// By how many percent of its share a backend may exceed it.
    pub tolerance_percent: u32,
    /// What becomes of clients with a session.
    pub sessions: Sessions,
}

/// What becomes of clients for which the broker keeps a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sessions {
    /// They are moved after all others: their brokers share sessions.
    Last,
    /// They stay: their sessions are at their broker alone.
    Stay,
}

/// How a service stands: the answer of a dry run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assessment {
    /// Its backends, in the order they were given.
    pub backends: Vec<Standing>,
    /// Connections of all backends among which they are shared.
    pub connections: u32,
    /// Connections that must move, of all backends.
    pub moves: u32,
    /// How long that takes at least, in whole seconds, rounded up.
    pub seconds: u32,
}

/// How a backend stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Its number.
    pub id: u32,
    /// Its open connections.
    pub connections: u32,
    /// What its weight gives it of all connections, rounded.
    pub share: u32,
    /// How many must leave it.
    pub surplus: u32,
}

/// How far `backends` are from their shares.
#[must_use]
pub fn assess(backends: &[Backend], rules: &Rules) -> Assessment {
    assess_with(backends, rules, 0)
}

/// The same where there are `at_least` connections, some of which are on their way.
fn assess_with(backends: &[Backend], rules: &Rules, at_least: u32) -> Assessment {
    let counts = |one: &&Backend| one.takes || one.weight == 0;
    let weight = |one: &Backend| if one.takes { u128::from(one.weight) } else { 0 };
    let open: u128 = backends.iter().filter(counts).map(|one| u128::from(one.connections)).sum();
    let connections = open.max(at_least.into());
    let weights: u128 = backends.iter().map(weight).sum();
    let standing = |one: &Backend| {
        let percent = 100 + u128::from(rules.tolerance_percent);
        // Without anybody who takes connections, everybody keeps what it has.
        if !counts(&one) || weights == 0 {
            let connections = one.connections;
            return Standing { id: one.id, connections, share: connections, surplus: 0 };
        }
        let part = connections * weight(one);
        let share = (part + weights / 2) / weights;
        // Rounded up: with 10 connections on 3 backends, 4 are no surplus.
        let most = (part * percent).div_ceil(weights * 100);
        let surplus = u128::from(one.connections).saturating_sub(most) as u32;
        Standing { id: one.id, connections: one.connections, share: share as u32, surplus }
    };
    let backends: Vec<Standing> = backends.iter().map(standing).collect();
    let moves: u32 = backends.iter().map(|one| one.surplus).sum();
    let seconds = moves.div_ceil(rules.moves_per_second.get());
    Assessment { backends, connections: connections as u32, moves, seconds }
}

/// A connection to be closed: with DISCONNECT 0x9C "Use another server" in MQTT 5.0 (section 3.14.2.1),
/// by closing it in MQTT 3.1.1, where a server sends no DISCONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// When.
    pub at: Duration,
    /// Which connection.
    pub connection: u64,
    /// The backend that it leaves.
    pub backend: u32,
}

/// The next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Round {
    /// Close these, each at its time, then ask again at `next`.
    Moves {
        /// In the order of their times; at least one, at most those of a second.
        moves: Vec<Move>,
        /// When to ask again.
        next: Duration,
    },
    /// No backend has a surplus.
    Balanced,
    /// There is a surplus that nobody may leave: clients with a session stay.
    OnlySessions,
    /// Clients come back to where they were: as many were moved as [`Rebalance::new`] was told to be
    /// needed, and half as many again, and there still is a surplus. Their policy does not look at
    /// connections, perhaps.
    Futile,
}

/// A rebalancing that goes on.
#[derive(Debug)]
pub struct Rebalance {
    rules: Rules,
    moved: u32,
    expected: u32,
    /// Connections that there were at most. Those that were closed and have not come back yet count,
    /// so that shares stay what they were.
    connections: u32,
    next: Duration,
}

impl Rebalance {
    /// Begins with `assessment`.
    #[must_use]
    pub const fn new(rules: Rules, assessment: &Assessment) -> Self {
        let Assessment { moves: expected, connections, .. } = *assessment;
        Self { rules, moved: 0, expected, connections, next: Duration::ZERO }
    }

    /// What to do from `now` on. Asked before [`Round::Moves::next`], it begins only then.
    pub fn round(
        &mut self,
        backends: &[Backend],
        connections: &[Connection],
        now: Duration,
    ) -> Round {
        let assessment = assess_with(backends, &self.rules, self.connections);
        self.connections = assessment.connections;
        if assessment.moves == 0 {
            return Round::Balanced;
        }
        if self.moved == 0 {
            // More may be needed by now than when it was ordered.
            self.expected = self.expected.max(assessment.moves);
        }
        if self.moved >= self.expected.saturating_add(self.expected.div_ceil(2)) {
            return Round::Futile;
        }
        let picked = pick::pick(&assessment, connections, &self.rules);
        if picked.is_empty() {
            return Round::OnlySessions;
        }
        let interval = Duration::from_secs(1) / self.rules.moves_per_second.get();
        let start = now.max(self.next);
        let at = |index: usize| start + interval * index as u32;
        self.moved = self.moved.saturating_add(picked.len() as u32);
        self.next = at(picked.len());
        let numbered = picked.iter().enumerate();
        let moves = numbered
            .map(|(index, one)| Move { at: at(index), connection: one.id, backend: one.backend })
            .collect();
        Round::Moves { moves, next: self.next }
    }

    /// Connections moved so far, and those that were needed at the start: for a progress bar.
    #[must_use]
    pub const fn progress(&self) -> (u32, u32) {
        (self.moved, self.expected)
    }
}

impl fmt::Display for Assessment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.moves == 0 {
            return f.write_str("balanced: nothing to move");
        }
        let from = self.backends.iter().filter(|one| one.surplus > 0).count();
        write!(
            f,
            "{} connections to move from {from} of {} backends, in {} s or more",
            self.moves,
            self.backends.len(),
            self.seconds
        )
    }
}

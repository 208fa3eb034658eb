//! Which backend a new connection goes to; no I/O, no clock, and randomness is an argument.
//!
//! A [`Chooser`] holds what a policy remembers (turns, a ring) and is asked with a snapshot of the
//! backends and what is known of the client. It answers with a backend and [`Why`], in words for
//! `mqlb explain` and the log of connections.

mod fill;
mod hash;
pub mod key;
mod least;
mod rotation;
mod two;
mod why;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use lb_common::hash::Seed;

use crate::ring::Member;
use hash::HashRing;
pub use hash::LoadBound;
use key::{Identity, KeyRule};
use rotation::Rotation;
pub use why::{HashedOn, NoKey, Passed, Told, Why};

/// A backend as it stands at the moment of the choice.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Its number, as in [`Member::id`].
    pub id: u32,
    /// Its share relative to the others; with 0 it takes no new connections.
    pub weight: u32,
    /// Connections that are open to it, those being set up among them.
    pub connections: u32,
    /// What the broker says of its own load, in a unit that all of the service's share: finite, not
    /// negative; `None` if it is not known.
    pub load: Option<f64>,
    /// Whether it takes new connections: healthy, not drained, below its limits.
    pub eligible: bool,
}

/// What is known of the client.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// Its own address (behind the PROXY protocol, the one that was told).
    pub source: IpAddr,
    /// Whom it says, or proves, to be.
    pub identity: Identity<'a>,
}

/// How a backend is chosen.
#[derive(Clone, Debug)]
pub enum Policy {
    /// Backends take turns in proportion to their weights, evenly spread.
    WeightedRoundRobin,
    /// Two are drawn by weight, and the one with fewer connections for its weight is taken
    /// (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001).
    RandomOfTwo,
    /// The one with the fewest connections for its weight.
    LeastConnections,
    /// The one with the fewest connections for its weight and for its own load, relative to that of the
    /// others.
    LeastLoad,
    /// A hash of the client's address over the ring.
    SourceHash {
        /// The bound on what one backend takes; `None` means there is none.
        bound: Option<LoadBound>,
    },
    /// A hash of a key over the ring. The first rule that finds a key in the client's identity
    /// counts; without any, [`Policy::LeastConnections`] decides.
    KeyHash {
        /// Where keys come from.
        rules: Vec<KeyRule>,
        /// The bound on what one backend takes; `None` means there is none.
        bound: Option<LoadBound>,
    },
    /// The first backend, in the order of the snapshot, with less than `connections`; if all have
    /// as many, [`Policy::LeastConnections`] decides.
    FillFirst {
        /// When a backend counts as full.
        connections: u32,
    },
}

/// A policy with what it remembers from one choice to the next.
#[derive(Debug)]
pub struct Chooser {
    policy: Policy,
    rotation: Rotation,
    ring: Option<HashRing>,
}

/// The answer of a [`Chooser`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// The number of the backend.
    pub id: u32,
    /// Why this one.
    pub why: Why,
}

impl Chooser {
    /// For a service with these backends. `seed` is the one of the fleet, so that every balancer
    /// hashes alike.
    ///
    /// `members` are all of the service's backends, whatever their health: one that is down is
    /// passed over, and has its keys again when it returns.
    #[must_use]
    pub fn new(policy: Policy, members: &[Member], seed: Seed) -> Self {
        let hashes = matches!(policy, Policy::SourceHash { .. } | Policy::KeyHash { .. });
        let ring = hashes.then(|| HashRing::new(members, seed));
        Self { policy, rotation: Rotation::default(), ring }
    }

    /// Takes note that the service's backends have changed. Turns go on as they were.
    pub fn set_members(&mut self, members: &[Member], seed: Seed) {
        if let Some(ring) = &mut self.ring {
            *ring = HashRing::new(members, seed);
        }
    }

    /// The backend for `client`, or `None` if none may be taken.
    ///
    /// `tried` are the numbers of those that have refused this client already. `random` are two
    /// independent uniform numbers; policies without chance use the first to break ties.
    pub fn choose(
        &mut self,
        backends: &[Candidate],
        client: &Client<'_>,
        tried: &[u32],
        random: [u64; 2],
    ) -> Option<Choice> {
        let open: Vec<Candidate> =
            backends.iter().filter(|one| is_open(one, tried)).copied().collect();
        let least = || least::connections(&open, random[0]);
        match &self.policy {
            Policy::WeightedRoundRobin => self.rotation.next(&open),
            Policy::RandomOfTwo => two::choose(&open, random),
            Policy::LeastConnections => least(),
            Policy::LeastLoad => least::load(&open, random[0]),
            Policy::SourceHash { bound } => {
                let octets = lb_common::addr::Addr::from(client.source).octets();
                self.ring.as_ref()?.choose(
                    &octets,
                    HashedOn::SourceAddress,
                    *bound,
                    backends,
                    tried,
                )
            }
            Policy::KeyHash { rules, bound } => match key::find(rules, &client.identity) {
                Ok((field, key)) => {
                    let on = HashedOn::Key(field);
                    self.ring.as_ref()?.choose(key.as_bytes(), on, *bound, backends, tried)
                }
                Err(missing) => {
                    let choice = least()?;
                    Some(Choice { why: Why::NoKey { missing }, ..choice })
                }
            },
            Policy::FillFirst { connections } => fill::first_with_room(&open, *connections)
                .or_else(|| {
                    let choice = least()?;
                    Some(Choice { why: Why::AllFull { limit: *connections }, ..choice })
                }),
        }
    }
}

fn is_open(one: &Candidate, tried: &[u32]) -> bool {
    one.eligible && one.weight > 0 && !tried.contains(&one.id)
}

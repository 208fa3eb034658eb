//! One live connection per Client Identifier, and identifiers that are fought over; no clock.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

/// So many takeovers of one identifier within [`WINDOW`] are a fight.
const FIGHT: usize = 5;

/// See [`FIGHT`].
const WINDOW: Duration = Duration::from_secs(30);

/// How long nobody gets an identifier that was fought over.
const QUARANTINE: Duration = Duration::from_mins(1);

/// The most identifiers whose takeovers are remembered. Beyond that none is added until the oldest
/// are over: a flood of takeovers of ever other identifiers is no fight.
const MOST_REMEMBERED: usize = 10_000;

/// Who has which Client Identifier.
#[derive(Debug, Default)]
pub struct Owners {
    owners: HashMap<Box<str>, Owner>,
    fights: HashMap<Box<str>, Fight>,
}

#[derive(Clone, Copy, Debug)]
struct Owner {
    /// The number of its connection.
    number: u64,
    arrived: Instant,
}

/// What becomes of a connection that claims a Client Identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It has the identifier now, and the connection with this number, if there was one, no more.
    Won(Option<u64>),
    /// Another connection has it, whose CONNECT came later.
    Lost,
}

#[derive(Debug, Default)]
struct Fight {
    takeovers: VecDeque<Instant>,
    quarantined_until: Option<Instant>,
}

impl Owners {
    /// Connection `number`, whose CONNECT came at `arrived`, has `client_id` from now on, unless one
    /// has it whose CONNECT came later: brokers do not answer in the order in which clients came.
    pub fn claim(&mut self, client_id: &str, number: u64, arrived: Instant) -> Claim {
        let new = Owner { number, arrived };
        match self.owners.get_mut(client_id) {
            Some(owner) if owner.arrived > arrived => Claim::Lost,
            Some(owner) => Claim::Won(Some(std::mem::replace(owner, new).number)),
            None => {
                self.owners.insert(client_id.into(), new);
                Claim::Won(None)
            }
        }
    }

    /// Connection `number` has ended; whether it had `client_id`.
    pub fn release(&mut self, client_id: &str, number: u64) -> bool {
        let had = self.owners.get(client_id).is_some_and(|owner| owner.number == number);
        if had {
            self.owners.remove(client_id);
        }
        had
    }

    /// Whether nobody gets `client_id` now.
    #[must_use]
    pub fn is_quarantined(&self, client_id: &str, now: Instant) -> bool {
        let fight = self.fights.get(client_id);
        fight.and_then(|fight| fight.quarantined_until).is_some_and(|until| now < until)
    }

    /// A connection has ended another one over `client_id`; whether its quarantine begins.
    pub fn note_takeover(&mut self, client_id: &str, now: Instant) -> bool {
        if self.fights.len() >= MOST_REMEMBERED {
            self.fights.retain(|_, fight| !fight.is_over(now));
        }
        if self.fights.len() >= MOST_REMEMBERED && !self.fights.contains_key(client_id) {
            return false;
        }
        let fight = self.fights.entry(client_id.into()).or_default();
        fight.forget(now);
        fight.takeovers.push_back(now);
        if fight.takeovers.len() < FIGHT {
            return false;
        }
        fight.takeovers.clear();
        fight.quarantined_until = Some(now + QUARANTINE);
        true
    }
}

impl Fight {
    fn forget(&mut self, now: Instant) {
        while self.takeovers.front().is_some_and(|first| now.duration_since(*first) > WINDOW) {
            self.takeovers.pop_front();
        }
    }

    fn is_over(&mut self, now: Instant) -> bool {
        self.forget(now);
        self.takeovers.is_empty() && self.quarantined_until.is_none_or(|until| until <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newer_connection_wins_and_the_end_of_the_older_one_changes_nothing() {
        let (mut owners, start) = (Owners::default(), Instant::now());
        let mut claim = |id, number, s| owners.claim(id, number, start + Duration::from_secs(s));
        assert_eq!(claim("a", 1, 1), Claim::Won(None));
        assert_eq!(claim("a", 2, 2), Claim::Won(Some(1)));
        assert_eq!(claim("b", 5, 0), Claim::Won(None));
        assert!(!owners.release("a", 1));
        assert_eq!(owners.claim("a", 3, start + WINDOW), Claim::Won(Some(2)));
        assert_eq!(owners.claim("a", 4, start), Claim::Lost, "it came before the one that has it");
        assert!(!owners.release("a", 4));
        assert!(owners.release("a", 3));
        assert_eq!(owners.claim("a", 4, start), Claim::Won(None));
    }

    #[test]
    fn who_fights_is_quarantined_for_a_while_and_who_merely_returns_is_not() {
        let (mut owners, start) = (Owners::default(), Instant::now());
        let seconds = |s| start + Duration::from_secs(s);
        for i in 1..20 {
            assert!(!owners.note_takeover("a", seconds(i * 10)), "{i}");
        }
        let begins: Vec<u64> = (1..8).filter(|i| owners.note_takeover("b", seconds(*i))).collect();
        assert_eq!(begins, [5]);
        assert!(
            owners.is_quarantined("b", seconds(64)) && !owners.is_quarantined("a", seconds(64))
        );
        assert!(!owners.is_quarantined("b", seconds(66)));
    }

    #[test]
    fn takeovers_are_remembered_of_so_many_identifiers_only() {
        let (mut owners, now) = (Owners::default(), Instant::now());
        for i in 0..MOST_REMEMBERED + 100 {
            owners.note_takeover(&i.to_string(), now);
        }
        assert_eq!(owners.fights.len(), MOST_REMEMBERED);
        owners.note_takeover("0", now + WINDOW * 2);
        assert_eq!(owners.fights.len(), 1);
    }
}

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
const QUARANTINE: Duration = Duration::from_secs(60);

/// The most identifiers whose takeovers are remembered. Beyond that none is added until the oldest
/// are over: a flood of takeovers of ever other identifiers is no fight.
const MOST_REMEMBERED: usize = 10_000;

/// Who has which Client Identifier.
#[derive(Debug, Default)]
pub struct Owners {
    owners: HashMap<Box<str>, u64>,
    fights: HashMap<Box<str>, Fight>,
}

#[derive(Debug, Default)]
struct Fight {
    takeovers: VecDeque<Instant>,
    quarantined_until: Option<Instant>,
}

/// What a claim leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The connection that had the identifier before, and has to end.
    pub older: Option<u64>,
    /// Whether the identifier is in quarantine from now on.
    pub begins_quarantine: bool,
}

impl Owners {
    /// Connection `number` has `client_id` from now on.
    pub fn claim(&mut self, client_id: &str, number: u64, now: Instant) -> Claim {
        let older = self.owners.insert(client_id.into(), number);
        let begins_quarantine = older.is_some() && self.note_takeover(client_id, now);
        Claim { older, begins_quarantine }
    }

    /// Connection `number` has ended.
    pub fn release(&mut self, client_id: &str, number: u64) {
        if self.owners.get(client_id) == Some(&number) {
            self.owners.remove(client_id);
        }
    }

    /// Whether nobody gets `client_id` now.
    #[must_use]
    pub fn is_quarantined(&self, client_id: &str, now: Instant) -> bool {
        let fight = self.fights.get(client_id);
        fight.and_then(|fight| fight.quarantined_until).is_some_and(|until| now < until)
    }

    fn note_takeover(&mut self, client_id: &str, now: Instant) -> bool {
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
        let (mut owners, now) = (Owners::default(), Instant::now());
        let first = owners.claim("a", 1, now);
        assert_eq!(first, Claim { older: None, begins_quarantine: false });
        assert_eq!(owners.claim("a", 2, now).older, Some(1));
        owners.release("a", 1);
        assert_eq!(owners.claim("a", 3, now).older, Some(2));
        owners.release("a", 3);
        assert_eq!(owners.claim("a", 4, now).older, None);
        assert_eq!(owners.claim("b", 5, now).older, None);
    }

    #[test]
    fn who_fights_is_quarantined_for_a_while_and_who_merely_returns_is_not() {
        let (mut owners, start) = (Owners::default(), Instant::now());
        let seconds = |s| start + Duration::from_secs(s);
        owners.claim("a", 0, start);
        for i in 1..20 {
            assert!(!owners.claim("a", i, seconds(i * 10)).begins_quarantine, "{i}");
        }
        owners.claim("b", 0, start);
        let begins: Vec<u64> =
            (1..8).filter(|i| owners.claim("b", *i, seconds(*i)).begins_quarantine).collect();
        assert_eq!(begins, [5]);
        assert!(
            owners.is_quarantined("b", seconds(64)) && !owners.is_quarantined("a", seconds(64))
        );
        assert!(!owners.is_quarantined("b", seconds(66)));
    }

    #[test]
    fn takeovers_are_remembered_of_so_many_identifiers_only() {
        let (mut owners, now) = (Owners::default(), Instant::now());
        for i in 0..MOST_REMEMBERED as u64 + 100 {
            owners.claim(&i.to_string(), i, now);
            owners.claim(&i.to_string(), i + 1, now);
        }
        assert_eq!(owners.fights.len(), MOST_REMEMBERED);
        owners.claim("0", 1, now + WINDOW * 2);
        assert_eq!(owners.fights.len(), 1);
    }
}

//! What a change of a ring moves.

use std::collections::BTreeMap;

use lb_common::ring::Slot;

/// The difference between a ring and the one that takes its place, as new flows see them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RingDiff {
    /// How many slots went from one owner to another or stayed with it, by both owners.
    ways: BTreeMap<(u32, u32), u32>,
}

impl RingDiff {
    /// What moves when `after` takes the place of `before`.
    #[must_use]
    pub fn between(before: &[Slot], after: &[Slot]) -> Self {
        let mut ways = BTreeMap::new();
        for (before, after) in before.iter().zip(after) {
            *ways.entry((before.current(), after.current())).or_default() += 1;
        }
        Self { ways }
    }

    /// How many slots get another owner.
    #[must_use]
    pub fn moved(&self) -> u32 {
        self.sum(|before, after| before != after)
    }

    /// How many slots `owner` had.
    #[must_use]
    pub fn before(&self, owner: u32) -> u32 {
        self.sum(|before, _| before == owner)
    }

    /// How many slots `owner` will have.
    #[must_use]
    pub fn after(&self, owner: u32) -> u32 {
        self.sum(|_, after| after == owner)
    }

    /// How many slots `owner` gets from others.
    #[must_use]
    pub fn gained(&self, owner: u32) -> u32 {
        self.sum(|before, after| after == owner && before != owner)
    }

    /// How many slots `owner` gives to others.
    #[must_use]
    pub fn lost(&self, owner: u32) -> u32 {
        self.sum(|before, after| before == owner && after != owner)
    }

    fn sum(&self, counts: impl Fn(u32, u32) -> bool) -> u32 {
        let ways = self.ways.iter().filter(|((before, after), _)| counts(*before, *after));
        ways.map(|(_, slots)| slots).sum()
    }
}

#[cfg(test)]
mod tests {
    use lb_common::{addr::Addr, hash::Seed, ring::SLOTS};

    use super::*;
    use crate::ring::{self, Member};

    fn members(ids: std::ops::RangeInclusive<u32>) -> Vec<Member> {
        let member =
            |id| Member { address: Addr::v4([10, 0, 0, id as u8]), port: 1883, weight: 100, id };
        ids.map(member).collect()
    }

    fn diff(before: &[Member], after: &[Member]) -> RingDiff {
        let [before, after] = [before, after].map(|members| ring::build(members, Seed(1, 2)));
        RingDiff::between(&before[..], &after[..])
    }

    #[test]
    fn the_same_ring_moves_nothing() {
        let same = diff(&members(1..=3), &members(1..=3));
        assert_eq!(same.moved(), 0);
        assert_eq!((1..=3).map(|id| same.before(id)).sum::<u32>(), SLOTS as u32);
    }

    #[test]
    fn what_one_gains_others_lose() {
        let joined = diff(&members(1..=10), &members(1..=11));
        assert_eq!((joined.before(11), joined.lost(11)), (0, 0));
        assert_eq!(joined.after(11), joined.gained(11));
        assert!(joined.moved() >= joined.gained(11));
        let gained: u32 = (1..=11).map(|id| joined.gained(id)).sum();
        let lost: u32 = (1..=11).map(|id| joined.lost(id)).sum();
        assert_eq!((gained, lost), (joined.moved(), joined.moved()));
        for id in 1..=11 {
            assert_eq!(joined.before(id) + joined.gained(id), joined.after(id) + joined.lost(id));
        }
        // A ring of ten gives about an eleventh to one more.
        assert!(joined.moved() < SLOTS as u32 / 9, "{}", joined.moved());
    }

    #[test]
    fn slots_that_go_over_to_new_owners_are_moved_once_only() {
        let slots = [(1, 2), (2, 2), (3, 1)];
        let slot = |(base, current)| Slot::in_transition(base, current);
        let before = slots.map(slot);
        let after = [2, 1, 1].map(Slot::stable);
        let diff = RingDiff::between(&before, &after);
        assert_eq!(diff.moved(), 1, "what was moved before does not count");
        assert_eq!((diff.lost(2), diff.gained(1)), (1, 1));
    }
}

//! Hashes over the Maglev ring, with bounded load.
//!
//! Who may not take the client is passed over, slot by slot, until an owner may. The bound is that
//! of Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing with Bounded Loads" (2017): with the
//! new connection counted, no backend has more than its share of all connections times a factor,
//! rounded up.

use lb_common::{
    hash::{Seed, siphash13_of},
    ring::{Ring, SLOTS, slot_of},
};

use super::{Candidate, Choice, HashedOn, Passed, Why, is_open};
use crate::ring::{self, Member};

/// How many times the mean a backend may take, at least 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoadBound(f64);

impl LoadBound {
    /// `None` unless `factor` is a number of at least 1 and at most 1000.
    ///
    /// With exactly 1 every backend gets its share and keys move a lot; 1.25 is a common choice.
    #[must_use]
    pub fn new(factor: f64) -> Option<Self> {
        (1.0..=1000.0).contains(&factor).then_some(Self(factor))
    }

    /// Connections that a backend of `weight` may have when the next one is counted.
    fn limit(self, total: Total, weight: u32) -> u32 {
        let share = f64::from(weight) / total.weight.max(1.0);
        let limit = (self.0 * (total.connections + 1.0) * share).ceil();
        #[expect(clippy::cast_sign_loss, reason = "a product of what is not negative")]
        let whole = limit.min(f64::from(u32::MAX)) as u32;
        whole
    }
}

/// Sums over the backends among which the load is to be even.
#[derive(Clone, Copy)]
struct Total {
    connections: f64,
    weight: f64,
}

#[derive(Debug)]
pub(super) struct HashRing {
    ring: Box<Ring>,
    seed: Seed,
}

impl HashRing {
    pub(super) fn new(members: &[Member], seed: Seed) -> Self {
        Self { ring: ring::build(members, seed), seed }
    }

    /// The owner of the key's slot, or of the first slot behind it whose owner may take the client.
    pub(super) fn choose(
        &self,
        key: &[u8],
        on: HashedOn,
        bound: Option<LoadBound>,
        backends: &[Candidate],
        tried: &[u32],
    ) -> Option<Choice> {
        let total = total(backends, tried);
        let obstacle = |one: &Candidate| obstacle(one, tried, bound, total);
        // Every slot is walked past only when nobody may take the client; that is known beforehand.
        backends.iter().find(|one| obstacle(one).is_none())?;
        let start = slot_of(siphash13_of(self.seed, key)) as usize;
        let owner = self.ring[start].current();
        let known = |id: u32| backends.iter().find(|one| one.id == id);
        let owners = (0..SLOTS).map(|step| self.ring[(start + step) % SLOTS].current());
        let one = owners.filter_map(known).find(|one| obstacle(one).is_none())?;
        let passed = (one.id != owner)
            .then(|| known(owner).and_then(obstacle).unwrap_or(Passed::Unavailable { owner }));
        Some(Choice { id: one.id, why: Why::Hash { on, passed } })
    }
}

fn total(backends: &[Candidate], tried: &[u32]) -> Total {
    let open = backends.iter().filter(|one| is_open(one, tried));
    open.fold(Total { connections: 0.0, weight: 0.0 }, |total, one| Total {
        connections: total.connections + f64::from(one.connections),
        weight: total.weight + f64::from(one.weight),
    })
}

/// Why `one` may not take the client. With a bound, at least one that is open may: the limits of all
/// add up to more connections than there are.
fn obstacle(
    one: &Candidate,
    tried: &[u32],
    bound: Option<LoadBound>,
    total: Total,
) -> Option<Passed> {
    let owner = one.id;
    if tried.contains(&owner) {
        return Some(Passed::Refused { owner });
    }
    if !is_open(one, tried) {
        return Some(Passed::Unavailable { owner });
    }
    let limit = bound?.limit(total, one.weight);
    (one.connections >= limit).then_some(Passed::Full { owner, limit })
}

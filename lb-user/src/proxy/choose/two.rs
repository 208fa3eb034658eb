//! Random of two choices.

use super::{Candidate, Choice, Why, least::per_weight};

/// Draws two of `open` by weight, without putting back, and takes the less loaded one.
pub(super) fn choose(open: &[Candidate], random: [u64; 2]) -> Option<Choice> {
    let first = draw(open.iter(), random[0])?;
    let others = || open.iter().filter(|one| one.id != first.id);
    let second = draw(others(), random[1]);
    let (one, other) = match second {
        Some(second) if per_weight(second) < per_weight(first) => (second, Some(first)),
        second => (first, second),
    };
    let other = other.map(|other| (other.id, other.connections));
    let why = Why::BetterOfTwo { connections: one.connections, weight: one.weight, other };
    Some(Choice { id: one.id, why })
}

/// One of `candidates`, each with a chance in proportion to its weight.
fn draw<'a>(
    candidates: impl Iterator<Item = &'a Candidate> + Clone,
    random: u64,
) -> Option<&'a Candidate> {
    let total: u64 = candidates.clone().map(|one| u64::from(one.weight)).sum();
    let mut left = scaled(random, total);
    let mut candidates = candidates;
    candidates.find(|one| {
        let weight = u64::from(one.weight);
        let hit = left < weight;
        left = left.saturating_sub(weight);
        hit
    })
}

/// A uniform number below `range`; 0 if that is 0.
pub(super) const fn scaled(random: u64, range: u64) -> u64 {
    ((random as u128 * range as u128) >> 64) as u64
}

//! Smooth weighted round robin.
//!
//! At every turn each backend earns its weight, and the one with the most pays what all have earned.
//! Over as many turns as the sum of the weights each gets exactly its weight, and the turns of a
//! heavy one are spread among those of the others.

use super::{Candidate, Choice, Why};

/// What each backend has earned and not paid, by number.
#[derive(Debug, Default)]
pub(super) struct Rotation(Vec<(u32, i64)>);

impl Rotation {
    pub(super) fn next(&mut self, open: &[Candidate]) -> Option<Choice> {
        // One that returns begins with nothing earned: it shall not have all turns at once.
        self.0.retain(|(id, _)| open.iter().any(|one| one.id == *id));
        let mut total = 0;
        let mut best: Option<(usize, u32)> = None;
        for one in open {
            let place = self.place(one.id);
            let weight = i64::from(one.weight);
            total += weight;
            self.0[place].1 += weight;
            if best.is_none_or(|(best, _)| self.0[place].1 > self.0[best].1) {
                best = Some((place, one.weight));
            }
        }
        let (place, weight) = best?;
        self.0[place].1 -= total;
        Some(Choice { id: self.0[place].0, why: Why::Turn { weight, of: open.len() } })
    }

    fn place(&mut self, id: u32) -> usize {
        self.0.iter().position(|(known, _)| *known == id).unwrap_or_else(|| {
            self.0.push((id, 0));
            self.0.len() - 1
        })
    }
}

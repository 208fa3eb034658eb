//! The slots of a service whose brokers answer directly, through its changes.
//!
//! Every step is a function of the slots before it. New flows move to another backend at once; the
//! old flows of a slot stay with its `base`, which nobody tracks, until the slot has been learned
//! and is rebased, or until `base` is gone.

use lb_common::{
    ring::{
        MISSED_WORDS, NO_BACKEND, SLOTS, Slot,
        slot_flags::{LEARN, LOOKUP},
    },
    ticks,
};

/// Ticks that a slot is learned for beyond the time in which every flow speaks: clocks of CPUs, and
/// the time from the plan of a swap to the swap.
const MARGIN: u32 = 8;

/// The slots of a service, and for those that are in transition, since when. Tests have fewer of
/// them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slots<const N: usize = SLOTS> {
    ring: Box<[Slot; N]>,
    /// `None` while no slot is in transition.
    marks: Option<Box<[Mark]>>,
}

/// Since when a slot is in transition, and since when it learns; ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Mark {
    entered: u32,
    learning: u32,
}

/// How long a slot stays in transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Ticks in which every flow speaks at least once while its handshake is not remembered.
    pub horizon: u32,
    /// Ticks from the beginning of a transition to the end of tracking.
    pub rebase_after: u32,
}

/// How many slots are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// New flows go elsewhere than untracked ones.
    pub in_transition: u32,
    /// Tables are asked before a packet goes to `base`.
    pub looked_up: u32,
    /// Untracked flows are noted.
    pub learning: u32,
}

/// A set of slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotSet(Box<[u64]>);

impl Default for SlotSet {
    fn default() -> Self {
        Self(vec![0; MISSED_WORDS as usize].into())
    }
}

impl SlotSet {
    /// The slots whose bits are set, 64 in a word, as the data plane flags them.
    #[must_use]
    pub fn of_words(words: impl Iterator<Item = u64>) -> Self {
        let mut slots = Self::default();
        slots.0.iter_mut().zip(words).for_each(|(word, bits)| *word = bits);
        slots
    }

    /// Its slots as bits, 64 in a word.
    #[must_use]
    pub fn words(&self) -> &[u64] {
        &self.0
    }

    /// Adds a slot; numbers that are no slot's are ignored.
    pub fn insert(&mut self, slot: u32) {
        if let Some(word) = self.0.get_mut(slot as usize / 64) {
            *word |= 1 << (slot % 64);
        }
    }

    /// Whether the slot is in it.
    #[must_use]
    pub fn contains(&self, slot: u32) -> bool {
        self.0.get(slot as usize / 64).is_some_and(|word| word & (1 << (slot % 64)) != 0)
    }
}

impl<const N: usize> Slots<N> {
    /// The slots of a service that begins: all flows of a slot belong to the owner in `ring`.
    #[must_use]
    pub const fn beginning(ring: Box<[Slot; N]>) -> Self {
        Self { ring, marks: None }
    }

    /// The slots as an earlier controller left them, read back at tick `now`. Since when is not
    /// known any more: learning starts over.
    #[must_use]
    pub fn read_back(ring: Box<[Slot; N]>, now: u32) -> Self {
        let moves = ring.iter().any(|slot| slot.base() != slot.current());
        let mark = Mark { entered: now, learning: now };
        Self { ring, marks: moves.then(|| vec![mark; N].into()) }
    }

    /// Leads new flows where `target` says. Old ones stay with their `base`, unless `stays` says
    /// that it is gone.
    #[must_use]
    pub fn lead_to(&self, target: &[Slot; N], stays: impl Fn(u32) -> bool, now: u32) -> Self {
        self.step(|old, mark, number| {
            let current = target[number].current();
            // Whoever asks for nobody's flows is told that there are none.
            let base = if stays(old.base()) { old.base() } else { current };
            let moves = base != current;
            let flags = if moves { old.flags() | LOOKUP } else { old.flags() & !LEARN };
            let moved_before = old.base() != old.current() && old.base() == base;
            if moves && !moved_before {
                *mark = Mark { entered: now, learning: now };
            }
            Slot::in_transition(base, current).with(flags)
        })
    }

    /// Learns what is to be learned and rebases what has been learned, as `pace` says. Slots whose
    /// `base` is one that `drains` are learned at once. `missed` are slots that could not note a
    /// flow: they begin anew.
    ///
    /// Returns which slots begin to learn. What they missed before can be forgotten once they do: a
    /// flow that was missed in between speaks again in time.
    #[must_use]
    pub fn advance(
        &self,
        pace: Pace,
        drains: impl Fn(u32) -> bool,
        missed: &SlotSet,
        now: u32,
    ) -> (Self, SlotSet) {
        let mut begun = SlotSet::default();
        let next = self.step(|old, mark, number| {
            if old.base() == old.current() {
                return old;
            }
            let number = number as u32;
            if !old.has(LEARN) {
                let late = pace.rebase_after.saturating_sub(pace.horizon);
                if !drains(old.base()) && ticks::age(now, mark.entered) < late {
                    return old;
                }
                mark.learning = now;
                begun.insert(number);
                return old.with(old.flags() | LEARN | LOOKUP);
            }
            if ticks::age(now, mark.learning) <= pace.horizon.saturating_add(MARGIN) {
                return old;
            }
            if missed.contains(number) {
                mark.learning = now;
                begun.insert(number);
                return old;
            }
            if ticks::age(now, mark.entered) < pace.rebase_after {
                return old;
            }
            Slot::stable(old.current()).with(LOOKUP)
        });
        (next, begun)
    }

    /// Spares the packets of a slot the tables where a whole sweep found that they hold nothing of
    /// it: `occupied` are the others.
    #[must_use]
    pub fn settle(&self, occupied: &SlotSet) -> Self {
        self.step(|old, _, number| {
            let stable = old.base() == old.current() && !occupied.contains(number as u32);
            if stable { old.with(old.flags() & !LOOKUP) } else { old }
        })
    }

    /// Whether nothing is left to be done: every slot is stable, and no table is asked about it.
    #[must_use]
    pub fn rests(&self) -> bool {
        self.marks.is_none() && !self.ring.iter().any(|slot| slot.has(LOOKUP))
    }

    /// A copy of the slots themselves.
    #[must_use]
    pub fn to_ring(&self) -> Box<[Slot; N]> {
        self.ring.clone()
    }

    /// The slots themselves.
    #[must_use]
    pub const fn ring(&self) -> &[Slot; N] {
        &self.ring
    }

    /// How long, in ticks from `now`, until all connections of a `backend` that takes no new ones
    /// are known; `None` if its slots are not learned. Those in `missed` have to begin anew.
    #[must_use]
    pub fn known_in(&self, backend: u32, pace: Pace, missed: &SlotSet, now: u32) -> Option<u32> {
        let horizon = pace.horizon.saturating_add(MARGIN);
        let left = |(number, slot): (usize, &Slot)| {
            let mark = self.marks.as_ref().filter(|_| slot.has(LEARN))?.get(number)?;
            if missed.contains(number as u32) {
                return Some(horizon);
            }
            Some(horizon.saturating_sub(ticks::age(now, mark.learning)))
        };
        let slots = self.ring.iter().enumerate().filter(|(_, slot)| slot.base() == backend);
        slots.map(left).try_fold(0, |most, left| Some(most.max(left?)))
    }

    /// How many slots are in which state.
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.ring.iter().fold(Summary::default(), |sum, slot| Summary {
            in_transition: sum.in_transition + u32::from(slot.base() != slot.current()),
            looked_up: sum.looked_up + u32::from(slot.has(LOOKUP)),
            learning: sum.learning + u32::from(slot.has(LEARN)),
        })
    }

    /// Whether some slot's untracked flows belong to `backend`.
    #[must_use]
    pub fn is_base(&self, backend: u32) -> bool {
        backend != NO_BACKEND && self.ring.iter().any(|slot| slot.base() == backend)
    }

    fn step(&self, mut step: impl FnMut(Slot, &mut Mark, usize) -> Slot) -> Self {
        let mut ring = self.ring.clone();
        let mut marks = match &self.marks {
            Some(marks) => marks.clone(),
            None => vec![Mark::default(); N].into(),
        };
        for (number, (slot, mark)) in ring.iter_mut().zip(&mut marks).enumerate() {
            *slot = step(*slot, mark, number);
            if slot.base() == slot.current() {
                *mark = Mark::default();
            }
        }
        let moves = ring.iter().any(|slot| slot.base() != slot.current());
        Self { ring, marks: moves.then_some(marks) }
    }
}

#[cfg(test)]
mod tests;

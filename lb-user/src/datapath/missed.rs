//! Slots with connections that found no room in the table of learned ones.

use lb_common::{
    atomic::Word,
    layout::{maps, sizes},
    ring::{MISSED_WORDS, missed_place},
};

use super::{StartError, mapped::Mapped, pins::Pins, table::Table};
use crate::ring::transition::SlotSet;

/// A flag for each slot of each service.
#[derive(Debug)]
pub(super) struct Missed(Mapped<Word>);

impl Missed {
    pub(super) fn open(pins: &Pins) -> Result<Self, StartError> {
        let path = pins.map(maps::MISSED);
        let table: Table<u32, u64> = Table::open(pins, maps::MISSED)?;
        let mapped = Mapped::new(table.into_fd(), sizes::MISSED);
        mapped.map(Self).map_err(|error| StartError::file("map", &path, error))
    }

    /// The slots of `service` that are flagged.
    pub(super) fn of(&self, service: u32) -> SlotSet {
        SlotSet::of_words(self.words(service).iter().map(Word::load))
    }

    /// Clears the flags of `slots`, and of no other slot.
    pub(super) fn clear(&self, service: u32, slots: &SlotSet) {
        for (word, bits) in self.words(service).iter().zip(slots.words()) {
            if *bits != 0 {
                word.clear(*bits);
            }
        }
    }

    /// The words of a service; none if there is no such service.
    fn words(&self, service: u32) -> &[Word] {
        let (first, _) = missed_place(service, 0);
        let first = first as usize;
        self.0.get(first..first + MISSED_WORDS as usize).unwrap_or_default()
    }
}

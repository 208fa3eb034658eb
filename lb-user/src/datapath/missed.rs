//! Slots with connections that found no room in the table of learned ones.

use lb_common::{
    atomic::Word,
    layout::{maps, sizes},
    ring::{SLOTS, missed_place},
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
        let mut slots = SlotSet::default();
        for slot in 0..SLOTS as u32 {
            let (index, bit) = missed_place(service, slot);
            if self.0.get(index as usize).is_some_and(|word| word.load() & bit != 0) {
                slots.insert(slot);
            }
        }
        slots
    }

    /// Clears the flags of `slots`, and of no other slot.
    pub(super) fn clear(&self, service: u32, slots: &SlotSet) {
        for slot in (0..SLOTS as u32).filter(|slot| slots.contains(*slot)) {
            let (index, bit) = missed_place(service, slot);
            if let Some(word) = self.0.get(index as usize) {
                word.clear(bit);
            }
        }
    }
}

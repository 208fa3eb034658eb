//! Entries in the order of their last use: a doubly linked list in one allocation.

use super::Entry;

/// No slot.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Recency {
    slots: Vec<Slot>,
    newest: u32,
    oldest: u32,
    free: u32,
    /// Uses so far; it begins anew after four billions of them.
    uses: u32,
}

#[derive(Debug)]
struct Slot {
    /// `None` if the slot is free; then `older` is the next free one.
    entry: Option<Entry>,
    newer: u32,
    older: u32,
}

impl Default for Recency {
    fn default() -> Self {
        Self { slots: Vec::new(), newest: NONE, oldest: NONE, free: NONE, uses: 0 }
    }
}

impl Recency {
    pub(super) fn get(&self, slot: u32) -> Option<&Entry> {
        self.slots.get(slot as usize)?.entry.as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Entry> {
        self.slots.get_mut(slot as usize)?.entry.as_mut()
    }

    /// The slot that was not used for longest.
    pub(super) fn oldest(&self) -> Option<u32> {
        (self.oldest != NONE).then_some(self.oldest)
    }

    /// Adds `entry` as the newest.
    pub(super) fn push(&mut self, entry: Entry) -> u32 {
        let slot = self.free;
        let entry = Some(entry);
        let slot = if let Some(free) = self.slots.get_mut(slot as usize) {
            self.free = free.older;
            free.entry = entry;
            slot
        } else {
            self.slots.push(Slot { entry, newer: NONE, older: NONE });
            self.slots.len() as u32 - 1
        };
        self.link(slot);
        slot
    }

    /// Makes `slot`, which is in use, the newest.
    pub(super) fn touch(&mut self, slot: u32) {
        self.unlink(slot);
        self.link(slot);
    }

    /// Frees `slot`.
    pub(super) fn take(&mut self, slot: u32) -> Option<Entry> {
        let entry = self.slots.get_mut(slot as usize)?.entry.take()?;
        self.unlink(slot);
        self.slots[slot as usize].older = self.free;
        self.free = slot;
        Some(entry)
    }

    pub(super) fn newest_first(&self) -> impl Iterator<Item = &Entry> {
        self.walk(self.newest, |slot| slot.older).map(|(_, entry)| entry)
    }

    /// How many slots there are, used or free.
    pub(super) fn slots(&self) -> u32 {
        self.slots.len() as u32
    }

    /// How often one of them was used so far.
    pub(super) fn uses(&self) -> u32 {
        self.uses
    }

    /// The slots of all that are `chosen`.
    pub(super) fn find_all(&self, mut chosen: impl FnMut(&Entry) -> bool) -> Vec<u32> {
        let all = self.walk(self.newest, |slot| slot.older);
        all.filter(|(_, entry)| chosen(entry)).map(|(slot, _)| slot).collect()
    }

    #[cfg(test)]
    pub(super) fn set_uses(&mut self, uses: u32) {
        self.uses = uses;
    }

    fn walk(&self, first: u32, next: fn(&Slot) -> u32) -> impl Iterator<Item = (u32, &Entry)> {
        let mut slot = first;
        std::iter::from_fn(move || {
            let here = self.slots.get(slot as usize)?;
            let number = std::mem::replace(&mut slot, next(here));
            Some((number, here.entry.as_ref()?))
        })
    }

    fn link(&mut self, slot: u32) {
        let second = std::mem::replace(&mut self.newest, slot);
        self.uses = self.uses.wrapping_add(1);
        let here = &mut self.slots[slot as usize];
        (here.newer, here.older) = (NONE, second);
        if let Some(entry) = &mut here.entry {
            entry.used = self.uses;
        }
        match self.slots.get_mut(second as usize) {
            Some(second) => second.newer = slot,
            None => self.oldest = slot,
        }
    }

    fn unlink(&mut self, slot: u32) {
        let Slot { newer, older, .. } = self.slots[slot as usize];
        match self.slots.get_mut(newer as usize) {
            Some(one) => one.older = older,
            None => self.newest = older,
        }
        match self.slots.get_mut(older as usize) {
            Some(one) => one.newer = newer,
            None => self.oldest = newer,
        }
    }
}

//! How much a backend may take, and how much it has.

use crate::{
    atomic::Word,
    rate::{Bucket, Rate},
    shared_type,
};

/// The most that a backend takes; indexed by its id. It is looked at only if the backend has
/// [`crate::backend::backend_flags::LIMITED`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadLimits {
    /// New connections.
    pub new: Rate,
    /// Connections that are open; zero: as many as come.
    pub connections: u64,
}

shared_type!(LoadLimits, 24);

/// What a backend has taken; indexed by its id.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Load {
    /// What is left of [`LoadLimits::new`].
    pub new: Bucket,
    open: Word,
}

const _: () = assert!(size_of::<Load>() == 16);

impl Load {
    /// Connections that are open, where both directions pass here. Those that end unseen are
    /// subtracted when they are collected.
    #[inline(always)]
    #[must_use]
    pub fn open(&self) -> u64 {
        // For a moment it may be below zero: who closes a connection may be seen before who opened it.
        let open = self.balance();
        if open < 0 { 0 } else { open.cast_unsigned() }
    }

    /// Connections opened less those closed.
    #[inline(always)]
    #[must_use]
    pub fn balance(&self) -> i64 {
        self.open.load().cast_signed()
    }

    /// Begins anew, for another backend.
    pub fn clear(&self) {
        self.open.store(0);
        self.new.fill();
    }

    /// Adds connections, or, by a negative number, subtracts them.
    #[inline(always)]
    pub fn change(&self, by: i64) {
        self.open.add(by.cast_unsigned());
    }

    /// Whether no more connection may be opened.
    #[inline(always)]
    #[must_use]
    pub fn is_full(&self, limits: &LoadLimits) -> bool {
        limits.connections != 0 && self.open() >= limits.connections
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_full_when_so_many_are_open() {
        let (load, limits) =
            (Load::default(), LoadLimits { connections: 2, ..LoadLimits::default() });
        load.change(1);
        assert!(!load.is_full(&limits));
        load.change(1);
        assert!(load.is_full(&limits) && !load.is_full(&LoadLimits::default()));
        load.change(-3);
        assert_eq!(load.open(), 0, "below none");
        load.change(2);
        assert_eq!(load.open(), 1);
    }
}

//! The ring of a service: which slot belongs to which backend.

/// Slots of a ring: a prime, and about 650 slots for each of 100 backends, so that Maglev's shares
/// stay within 1 % of the weights.
pub const SLOTS: usize = 65_537;

/// A ring as its map holds it: one value, replaced as a whole by one pointer swap.
pub type Ring = [Slot; SLOTS];

/// A slot in one aligned word, so that a packet reads it in one piece.
///
/// Bits 0 to 23 are `base`, the owner of every flow that nobody tracked; bits 24 to 47 `current`,
/// the owner of new flows; bits 48 to 63 flags.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Slot(pub u64);

crate::shared_type!(Slot, 8);

/// The backend number that means "no backend".
pub const NO_BACKEND: u32 = 0xff_ffff;

const MASK: u64 = 0xff_ffff;

impl Slot {
    /// A slot that no backend owns.
    pub const EMPTY: Self = Self::stable(NO_BACKEND);

    /// A slot whose flows all belong to `backend` (24 bits; higher bits are cut off).
    #[inline(always)]
    #[must_use]
    pub const fn stable(backend: u32) -> Self {
        Self::in_transition(backend, backend)
    }

    /// A slot whose untracked flows belong to `base` and whose new flows go to `current`.
    #[inline(always)]
    #[must_use]
    pub const fn in_transition(base: u32, current: u32) -> Self {
        Self((base as u64 & MASK) | ((current as u64 & MASK) << 24))
    }

    /// The same slot with these [`slot_flags`] set, and no others.
    #[inline(always)]
    #[must_use]
    pub const fn with(self, flags: u64) -> Self {
        Self((self.0 & !slot_flags::ALL) | flags)
    }

    /// Whether any of these [`slot_flags`] is set.
    #[inline(always)]
    #[must_use]
    pub const fn has(self, flags: u64) -> bool {
        self.0 & flags != 0
    }

    /// Its [`slot_flags`].
    #[inline(always)]
    #[must_use]
    pub const fn flags(self) -> u64 {
        self.0 & slot_flags::ALL
    }

    /// The owner of untracked flows.
    #[inline(always)]
    #[must_use]
    pub const fn base(self) -> u32 {
        (self.0 & MASK) as u32
    }

    /// The owner of new flows, or [`NO_BACKEND`].
    #[inline(always)]
    #[must_use]
    pub const fn current(self) -> u32 {
        ((self.0 >> 24) & MASK) as u32
    }
}

/// Bits 48 to 63 of a [`Slot`].
pub mod slot_flags {
    /// Some table may hold a flow of this slot: packets look there before they go to `base`.
    pub const LOOKUP: u64 = 1 << 48;
    /// Flows that are in no table are noted as `base`'s, so that one day all of them are known.
    pub const LEARN: u64 = 1 << 49;
    /// All of them.
    pub const ALL: u64 = 0xffff << 48;
}

impl core::fmt::Debug for Slot {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let lookup = if self.has(slot_flags::LOOKUP) { ", lookup" } else { "" };
        let learn = if self.has(slot_flags::LEARN) { ", learn" } else { "" };
        write!(f, "Slot({} -> {}{lookup}{learn})", self.base(), self.current())
    }
}

/// The slot that a flow with this hash falls into.
#[inline(always)]
#[must_use]
pub const fn slot_of(flow_hash: u64) -> u32 {
    // The high half, scaled: every slot gets the same share of the hashes to within 2^-16.
    (((flow_hash >> 32) * SLOTS as u64) >> 32) as u32
}

/// Words of flags that a service needs, one per slot.
pub const MISSED_WORDS: u32 = SLOTS.div_ceil(64) as u32;

/// Where the flag of a slot lies among those of all services: index of a word, and the bit in it.
#[inline(always)]
#[must_use]
pub const fn missed_place(service: u32, slot: u32) -> (u32, u64) {
    (service.wrapping_mul(MISSED_WORDS).wrapping_add(slot / 64), 1 << (slot % 64))
}

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

impl core::fmt::Debug for Slot {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Slot({} -> {})", self.base(), self.current())
    }
}

/// The slot that a flow with this hash falls into.
#[inline(always)]
#[must_use]
pub const fn slot_of(flow_hash: u64) -> u32 {
    // The high half, scaled: every slot gets the same share of the hashes to within 2^-16.
    (((flow_hash >> 32) * SLOTS as u64) >> 32) as u32
}

//! The clock of the data plane.
//!
//! A tick is 2^30 ns of the kernel's coarse monotonic clock, about 1.07 s: a shift in place of a
//! 64-bit division per packet. Ticks wrap after 146 years; ages are taken with wrapping
//! subtraction all the same.

use core::time::Duration;

/// Nanoseconds per tick, as a power of two.
pub const SHIFT: u32 = 30;

/// The tick that `monotonic_ns`, a reading of `CLOCK_MONOTONIC`, falls into.
#[inline(always)]
#[must_use]
pub const fn from_ns(monotonic_ns: u64) -> u32 {
    (monotonic_ns >> SHIFT) as u32
}

/// The number of ticks that last at least `duration` (rounded up), at most `u32::MAX / 2`.
#[must_use]
pub const fn from_duration(duration: Duration) -> u32 {
    let ticks = duration.as_nanos().div_ceil(1 << SHIFT);
    if ticks > (u32::MAX / 2) as u128 { u32::MAX / 2 } else { ticks as u32 }
}

/// The number of ticks after which a client has been silent for longer than 1.5 times this Keep
/// Alive, and a broker that goes by it has said so: a tick is longer than a second, and half a minute
/// is for the segments under way.
#[inline(always)]
#[must_use]
pub const fn of_keep_alive(keep_alive_s: u16) -> u32 {
    keep_alive_s as u32 * 3 / 2 + 30
}

/// How long `ticks` last.
#[must_use]
pub const fn to_duration(ticks: u32) -> Duration {
    Duration::from_nanos((ticks as u64) << SHIFT)
}

/// Ticks passed from `then` to `now`; 0 if `then` lies ahead (another CPU read a later clock).
#[inline(always)]
#[must_use]
pub const fn age(now: u32, then: u32) -> u32 {
    let age = now.wrapping_sub(then);
    if age > u32::MAX / 2 { 0 } else { age }
}

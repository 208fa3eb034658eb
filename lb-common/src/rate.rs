//! How many new connections there may be in a time.

use crate::{atomic::Word, shared_type};

const NS_PER_SECOND: u64 = 1_000_000_000;

/// How often a CPU tries to take from a bucket that others take from at the same moment.
const TRIES: u32 = 4;

/// A rate with a burst.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// Time from one to the next, in nanoseconds; zero: as many as come.
    interval_ns: u64,
    /// Time in which an empty bucket fills, in nanoseconds.
    depth_ns: u64,
}

shared_type!(Rate, 16);

impl Rate {
    /// As many as come.
    pub const UNLIMITED: Self = Self { interval_ns: 0, depth_ns: 0 };

    /// So many per second, and so many at once after a pause; zero is taken for one.
    #[must_use]
    pub const fn new(per_second: u32, burst: u32) -> Self {
        let per_second = if per_second == 0 { 1 } else { per_second as u64 };
        Self::every(NS_PER_SECOND.div_ceil(per_second), burst)
    }

    /// One in each `interval_ns` nanoseconds, and so many at once after a pause; zero is taken for
    /// one.
    #[must_use]
    pub const fn every(interval_ns: u64, burst: u32) -> Self {
        let burst = if burst == 0 { 1 } else { burst as u64 };
        Self { interval_ns, depth_ns: interval_ns.saturating_mul(burst) }
    }

    /// Whether there is a limit.
    #[inline(always)]
    #[must_use]
    pub const fn is_limited(&self) -> bool {
        self.interval_ns != 0
    }
}

/// What is left of a rate, in one word: the time at which the bucket is full again, in nanoseconds
/// of the coarse monotonic clock. (The generic cell rate algorithm, ITU-T I.371: what flows back
/// need not be added by anybody.)
#[repr(transparent)]
#[derive(Debug, Default)]
pub struct Bucket(Word);

impl Bucket {
    /// A bucket from which one was taken at `now_ns`, and none before.
    #[inline(always)]
    #[must_use]
    pub const fn begun(rate: &Rate, now_ns: u64) -> Self {
        Self(Word::new(now_ns.wrapping_add(rate.interval_ns)))
    }

    /// Makes it full.
    pub fn fill(&self) {
        self.0.store(0);
    }

    /// Takes one, if there is one at `now_ns`.
    ///
    /// There is none, either, for a CPU to which others were ahead several times in a row: it is
    /// never more than the rate allows.
    #[inline(always)]
    pub fn take(&self, rate: &Rate, now_ns: u64) -> bool {
        let mut tries = 0;
        while tries < TRIES {
            let full_at = self.0.load();
            // Another CPU may have read a later clock, which is as if the bucket were emptier.
            let ahead = full_at.saturating_sub(now_ns);
            if ahead + rate.interval_ns > rate.depth_ns {
                if ahead > rate.depth_ns {
                    // Left of a larger burst, before the configuration changed.
                    self.0.exchange(full_at, now_ns + rate.depth_ns);
                }
                return false;
            }
            if self.0.exchange(full_at, now_ns + ahead + rate.interval_ns) {
                return true;
            }
            tries += 1;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::{thread, vec::Vec};

    use super::*;

    const SECOND: u64 = NS_PER_SECOND;
    const NOW: u64 = 5_000 * SECOND;

    fn taken(bucket: &Bucket, rate: &Rate, now_ns: u64, asked: u32) -> u32 {
        (0..asked).map(|_| u32::from(bucket.take(rate, now_ns))).sum()
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let (bucket, rate) = (Bucket::default(), Rate::new(10, 25));
        assert_eq!(taken(&bucket, &rate, NOW, 100), 25);
        assert_eq!(taken(&bucket, &rate, NOW + SECOND / 20, 100), 0);
        assert_eq!(taken(&bucket, &rate, NOW + SECOND, 100), 10);
        assert_eq!(taken(&bucket, &rate, NOW + 4 * SECOND, 100), 25, "no more than the burst");
    }

    #[test]
    fn over_a_minute_no_more_than_the_rate_gets_through() {
        let (bucket, rate) = (Bucket::default(), Rate::new(7, 3));
        let moments = (0..60_000).map(|ms| NOW + ms * 1_000_000);
        let total: u32 = moments.map(|now| taken(&bucket, &rate, now, 2)).sum();
        assert_eq!(total, 3 + 7 * 60 - 1);
    }

    #[test]
    fn the_first_of_a_bucket_counts() {
        let rate = Rate::new(1, 3);
        assert_eq!(taken(&Bucket::begun(&rate, NOW), &rate, NOW, 10), 2);
    }

    #[test]
    fn the_least_and_the_greatest_rate_are_kept() {
        for (rate, each) in [(Rate::new(1, 1), SECOND), (Rate::new(1_000_000, 1), 1_000)] {
            let bucket = Bucket::default();
            assert_eq!(taken(&bucket, &rate, NOW, 2), 1);
            assert_eq!(taken(&bucket, &rate, NOW + each - 1, 2), 0);
            assert_eq!(taken(&bucket, &rate, NOW + each, 2), 1);
        }
        assert!(Rate::new(u32::MAX, u32::MAX).is_limited() && !Rate::UNLIMITED.is_limited());
        assert_eq!(Rate::default(), Rate::UNLIMITED);
    }

    #[test]
    fn a_clock_that_is_behind_gives_nothing_away() {
        let (bucket, rate) = (Bucket::default(), Rate::new(10, 10));
        assert_eq!(taken(&bucket, &rate, NOW, 10), 10);
        assert_eq!(taken(&bucket, &rate, NOW - SECOND / 100, 10), 0);
    }

    #[test]
    fn what_a_larger_burst_left_is_forgotten_under_a_smaller_one() {
        let bucket = Bucket::default();
        assert_eq!(taken(&bucket, &Rate::new(1, 1_000), NOW, 1_000), 1_000);
        let rate = Rate::new(100, 10);
        assert_eq!(taken(&bucket, &rate, NOW, 100), 0);
        assert_eq!(taken(&bucket, &rate, NOW + SECOND, 100), 10);
    }

    #[test]
    fn cpus_that_race_take_each_of_it_once() {
        const BURST: u32 = 1_000;
        let (bucket, rate) = (Bucket::default(), Rate::new(1, BURST));
        let raced: u32 = thread::scope(|scope| {
            let racers: Vec<_> =
                (0..8).map(|_| scope.spawn(|| taken(&bucket, &rate, NOW, BURST / 5))).collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).sum()
        });
        // Who lost a race several times in a row took nothing; what is left says how many did.
        assert_eq!(raced + taken(&bucket, &rate, NOW, 2 * BURST), BURST);
    }
}

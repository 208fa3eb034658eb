//! When the next probe of a broker is due.
//!
//! Times run from the start of one probe to the start of the next, so that a broker that lets
//! probes time out is found out as fast as one that refuses them: after `fall` intervals and one
//! timeout. Jitter only ever makes a probe early; that bound holds with it.

use std::time::Duration;

/// The rhythm of the probes of one broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    interval: Duration,
    jitter_percent: u32,
}

impl Schedule {
    /// Probes every `interval`, each up to `jitter_percent` (at most 100) of it early.
    #[must_use]
    pub fn new(interval: Duration, jitter_percent: u8) -> Self {
        Self { interval, jitter_percent: u32::from(jitter_percent).min(100) }
    }

    /// From the start of the first probe to that of the second; `random` is uniform over all `u32`.
    ///
    /// The first probes of all brokers start together, because nothing is forwarded before they
    /// end. The second ones are spread over a whole interval, and the rest keep that spread.
    #[must_use]
    pub fn after_first(&self, random: u32) -> Duration {
        fraction(self.interval, random)
    }

    /// From the start of a later probe to that of the next; `random` is uniform over all `u32`.
    #[must_use]
    pub fn after(&self, random: u32) -> Duration {
        let jitter = self.interval * self.jitter_percent / 100;
        self.interval.saturating_sub(fraction(jitter, random))
    }

    /// The longest time from a broker's death to the verdict, for probes given up after `timeout`.
    #[must_use]
    pub fn detection_time(&self, fall: u32, timeout: Duration) -> Duration {
        self.interval * fall + timeout
    }
}

/// The part `random / 2^32` of `whole`.
fn fraction(whole: Duration, random: u32) -> Duration {
    whole.mul_f64(f64::from(random) / (f64::from(u32::MAX) + 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const INTERVAL: Duration = Duration::from_secs(2);

    #[test]
    fn without_jitter_the_rhythm_is_exact() {
        let schedule = Schedule::new(INTERVAL, 0);
        for random in [0, 1, u32::MAX / 2, u32::MAX] {
            assert_eq!(schedule.after(random), INTERVAL);
        }
    }

    #[test]
    fn the_same_random_number_gives_the_same_time() {
        let schedule = Schedule::new(INTERVAL, 10);
        assert_eq!(schedule.after(1 << 31), Duration::from_millis(1900));
        assert_eq!(schedule.after_first(1 << 31), Duration::from_secs(1));
    }

    #[test]
    fn the_second_probes_of_1000_brokers_fill_the_interval_evenly() {
        let schedule = Schedule::new(INTERVAL, 10);
        let mut tenths = [0u32; 10];
        for broker in 0..1000 {
            let at = schedule.after_first(u32::MAX / 1000 * broker);
            tenths[(at.as_millis() / 200) as usize] += 1;
        }
        assert!(tenths.iter().all(|n| (95..=105).contains(n)), "{tenths:?}");
    }

    #[test]
    fn detection_takes_fall_intervals_and_a_timeout() {
        let schedule = Schedule::new(INTERVAL, 10);
        assert_eq!(schedule.detection_time(3, Duration::from_secs(1)), Duration::from_secs(7));
    }

    proptest! {
        #[test]
        fn a_probe_is_never_late_and_early_by_the_jitter_at_most(
            interval_ms in 1u64..3_600_000, jitter in 0u8..=100, random: u32,
        ) {
            let interval = Duration::from_millis(interval_ms);
            let schedule = Schedule::new(interval, jitter);
            let gap = schedule.after(random);
            prop_assert!(gap <= interval);
            prop_assert!(gap + interval * u32::from(jitter) / 100 >= interval);
            prop_assert!(schedule.after_first(random) <= interval);
        }
    }
}

//! A slow start: a backend that comes up gets less than its rate of new connections for a while.

/// The share of its rate that a backend begins with, in percent.
const FIRST_PERCENT: u64 = 10;

/// How many new connections per second a backend is given of `full`, `up_for` ticks after it came
/// up; `None` is that it has been up all the time. It has its full rate after `slow_start` ticks.
#[must_use]
pub fn rate(full: u32, up_for: Option<u32>, slow_start: u32) -> u32 {
    let Some(age) = up_for.filter(|age| *age < slow_start) else { return full };
    let gained = (100 - FIRST_PERCENT) * u64::from(age) / u64::from(slow_start);
    // In whole percents: not every tick is worth an edit.
    let rate = u64::from(full) * (FIRST_PERCENT + gained) / 100;
    u32::try_from(rate).unwrap_or(full).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_grows_evenly_from_a_tenth_to_all_of_it() {
        let at = |age| rate(1000, Some(age), 60);
        assert_eq!([at(0), at(20), at(30), at(59)], [100, 400, 550, 980]);
        assert_eq!([at(60), at(u32::MAX)], [1000, 1000]);
        assert!((0..60).all(|age| at(age) <= at(age + 1)));
    }

    #[test]
    fn who_was_up_all_the_time_has_its_rate_and_so_has_everybody_without_a_slow_start() {
        assert_eq!(rate(1000, None, 60), 1000);
        assert_eq!(rate(1000, Some(0), 0), 1000);
    }

    #[test]
    fn even_the_least_rate_lets_somebody_in() {
        assert_eq!(rate(1, Some(0), 60), 1);
        assert_eq!(rate(u32::MAX, Some(1), 2), 2_362_232_012);
    }
}

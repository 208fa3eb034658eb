//! What a broker has told of its load, and how long that is believed; no I/O, no clock.

use std::time::{Duration, Instant};

/// The readings of one broker.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gauge {
    /// The last load that was read, and when.
    last: Option<(f64, Instant)>,
    reads: u64,
    failed: u64,
    last_error: Option<String>,
    /// What was said last about whether the load is known.
    told: Option<bool>,
}

/// What has changed for the operator to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The load is known, for the first time or again.
    Known,
    /// The load is not known: it counts as the median of those that are.
    Unknown,
}

/// What is known at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// The load; `None` if it is not known, or too old to be believed.
    pub load: Option<f64>,
    /// How long ago a load was read last; `None` if none ever was.
    pub age: Option<Duration>,
    /// Readings that ended.
    pub reads: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Why the last one failed, if it did.
    pub last_error: Option<String>,
}

impl Gauge {
    /// Takes note of the end of a reading; loads are believed for `max_age`.
    pub fn note(
        &mut self,
        now: Instant,
        result: Result<f64, String>,
        max_age: Duration,
    ) -> Option<Turn> {
        self.reads += 1;
        match result {
            Ok(load) => {
                self.last = Some((load, now));
                self.last_error = None;
            }
            Err(error) => {
                self.failed += 1;
                self.last_error = Some(error);
            }
        }
        let known = self.load(now, max_age).is_some();
        let turned = self.told != Some(known);
        self.told = Some(known);
        turned.then_some(if known { Turn::Known } else { Turn::Unknown })
    }

    /// The load, if one was read within `max_age`.
    #[must_use]
    pub fn load(&self, now: Instant, max_age: Duration) -> Option<f64> {
        let (load, at) = self.last?;
        (now.saturating_duration_since(at) <= max_age).then_some(load)
    }

    /// All that is known.
    #[must_use]
    pub fn reading(&self, now: Instant, max_age: Duration) -> Reading {
        Reading {
            load: self.load(now, max_age),
            age: self.last.map(|(_, at)| now.saturating_duration_since(at)),
            reads: self.reads,
            failed: self.failed,
            last_error: self.last_error.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_AGE: Duration = Duration::from_secs(30);

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    fn failure() -> Result<f64, String> {
        Err("connection refused".to_owned())
    }

    #[test]
    fn a_load_is_believed_for_its_age_and_no_longer_whatever_fails_meanwhile() {
        let start = Instant::now();
        let mut gauge = Gauge::default();
        assert_eq!(gauge.load(start, MAX_AGE), None);
        gauge.note(start, Ok(4.5), MAX_AGE);
        gauge.note(after(start, 10), failure(), MAX_AGE);
        assert_eq!(gauge.load(after(start, 30), MAX_AGE), Some(4.5));
        assert_eq!(gauge.load(after(start, 31), MAX_AGE), None, "also if nobody reads any more");
        let reading = gauge.reading(after(start, 31), MAX_AGE);
        assert_eq!((reading.load, reading.age), (None, Some(Duration::from_secs(31))));
        assert_eq!((reading.reads, reading.failed), (2, 1));
        assert_eq!(reading.last_error.as_deref(), Some("connection refused"));
    }

    #[test]
    fn each_turn_is_told_once() {
        let start = Instant::now();
        let mut gauge = Gauge::default();
        let mut turns = Vec::new();
        for (seconds, result) in [
            (0, failure()),
            (10, failure()),
            (20, Ok(1.0)),
            (30, Ok(2.0)),
            (40, failure()),
            (60, failure()),
            (70, failure()),
            (80, failure()),
            (90, Ok(3.0)),
        ] {
            let turn = gauge.note(after(start, seconds), result, MAX_AGE);
            turns.extend(turn.map(|turn| (seconds, turn)));
        }
        let expected = [(0, Turn::Unknown), (20, Turn::Known), (70, Turn::Unknown)];
        assert_eq!(turns[..3], expected);
        assert_eq!(turns[3..], [(90, Turn::Known)]);
    }
}

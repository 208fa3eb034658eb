//! Passive health: takes backends out that refuse clients, by what their CONNACKs say.
//!
//! A broker may accept connections, and answer its health check, and refuse every client: a full
//! disk, a lost database, a quota. Judged is each interval by itself, and by the backend's share of
//! refusals; one that is taken out comes back after a time, which grows as long as it goes on
//! refusing. At most a part of the backends is out, and never the last one that takes connections:
//! what all do at once is not theirs to be blamed for. Times are ticks.

use std::collections::BTreeMap;

use lb_common::ticks;

/// When backends are taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The share of refusals, in percent, from which on a backend is taken out; not zero.
    pub refused_percent: u8,
    /// Fewer answers than these in an interval say nothing; not zero.
    pub min_connects: u64,
    /// Ticks from one judgement to the next.
    pub interval: u32,
    /// Ticks for which a backend is out the first time.
    pub eject_for: u32,
    /// The most ticks for which a backend is out.
    pub max_eject_for: u32,
    /// The most backends that may be out, in percent of all.
    pub max_ejected_percent: u8,
}

/// Answers of a backend to CONNECT, counted from some time on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// Those that show that the broker works, refusals for a reason that lies with the client
    /// included.
    pub fine: u64,
    /// Those that show that it does not.
    pub refused: u64,
}

impl Answers {
    /// Those since `before`.
    const fn since(self, before: Self) -> Self {
        Self {
            fine: self.fine.saturating_sub(before.fine),
            refused: self.refused.saturating_sub(before.refused),
        }
    }

    const fn all(self) -> u64 {
        self.fine.saturating_add(self.refused)
    }
}

/// A backend at the time of a judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Its number.
    pub backend: u32,
    /// All its answers so far.
    pub answers: Answers,
    /// Whether it takes new connections.
    pub accepts: bool,
}

/// Why, since when and for how long a backend is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// The answers for which it was taken out.
    pub answers: Answers,
    /// The tick at which it was taken out.
    pub since: u32,
    /// For how many ticks.
    pub lasts: u32,
    /// How many times in a row.
    pub times: u32,
}

impl Ejection {
    /// Ticks that are left of it.
    #[must_use]
    pub const fn left(&self, now: u32) -> u32 {
        self.lasts.saturating_sub(ticks::age(now, self.since))
    }
}

/// News.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A backend was taken out.
    Ejected(u32, Ejection),
    /// It would have been taken out, but enough others are.
    Spared(u32, Answers),
    /// A backend is back.
    Returned(u32),
}

/// The backends of one service.
#[derive(Clone, Debug, Default)]
pub struct Ejections {
    /// The tick at which the interval began; `None` before the first one.
    began: Option<u32>,
    records: BTreeMap<u32, Record>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Record {
    /// Its answers when the interval began.
    before: Answers,
    /// How often it was taken out, less the good intervals since.
    times: u32,
    /// How often it was ever taken out.
    total: u64,
    out: Option<Ejection>,
}

impl Ejections {
    /// Why and how long this backend is out; `None` if it is not.
    #[must_use]
    pub fn of(&self, backend: u32) -> Option<Ejection> {
        self.records.get(&backend)?.out
    }

    /// How often this backend was taken out.
    #[must_use]
    pub fn total(&self, backend: u32) -> u64 {
        self.records.get(&backend).map_or(0, |record| record.total)
    }

    /// The backends that are out.
    pub fn out(&self) -> impl Iterator<Item = u32> {
        self.records.iter().filter(|(_, record)| record.out.is_some()).map(|(id, _)| *id)
    }

    /// Lets those back in whose time is over.
    pub fn let_back(&mut self, now: u32) -> Vec<Event> {
        let mut events = Vec::new();
        for (id, record) in &mut self.records {
            if record.out.is_some_and(|ejection| ejection.left(now) == 0) {
                record.out = None;
                events.push(Event::Returned(*id));
            }
        }
        events
    }

    /// Whether the interval is over, and [`Ejections::judge`] is to be called.
    #[must_use]
    pub fn is_due(&self, rules: &Rules, now: u32) -> bool {
        self.began.is_none_or(|began| ticks::age(now, began) >= rules.interval)
    }

    /// Judges the interval that ends now by the answers of all backends, and begins the next one.
    pub fn judge(&mut self, rules: &Rules, observed: &[Observed], now: u32) -> Vec<Event> {
        let first = self.began.is_none();
        self.began = Some(now);
        self.records.retain(|id, _| observed.iter().any(|one| one.backend == *id));
        let mut suspects = Vec::new();
        for one in observed {
            // What was counted before anybody looked is not judged.
            let known = self.records.contains_key(&one.backend) && !first;
            let record = self.records.entry(one.backend).or_default();
            let answers = one.answers.since(record.before);
            record.before = one.answers;
            if !known || record.out.is_some() || answers.all() < rules.min_connects {
                continue;
            }
            if share(answers) < u64::from(rules.refused_percent) {
                record.times = record.times.saturating_sub(1);
            } else if one.accepts {
                suspects.push((one.backend, answers));
            }
        }
        // The worst ones first.
        suspects.sort_by_key(|(id, answers)| (std::cmp::Reverse(share(*answers)), *id));
        let most = observed.len() * usize::from(rules.max_ejected_percent) / 100;
        let mut room = most.saturating_sub(self.out().count());
        let mut accepting = observed.iter().filter(|one| one.accepts).count();
        let mut events = Vec::new();
        for (id, answers) in suspects {
            if room == 0 || accepting <= 1 {
                events.push(Event::Spared(id, answers));
                continue;
            }
            let record = self.records.entry(id).or_default();
            record.times = record.times.saturating_add(1);
            record.total += 1;
            let lasts = rules.eject_for.saturating_mul(record.times).min(rules.max_eject_for);
            let ejection = Ejection { answers, since: now, lasts, times: record.times };
            record.out = Some(ejection);
            events.push(Event::Ejected(id, ejection));
            room -= 1;
            accepting -= 1;
        }
        events
    }
}

/// The share of refusals in percent, rounded down.
const fn share(answers: Answers) -> u64 {
    answers.refused.saturating_mul(100) / if answers.all() == 0 { 1 } else { answers.all() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        refused_percent: 50,
        min_connects: 20,
        interval: 10,
        eject_for: 30,
        max_eject_for: 100,
        max_ejected_percent: 50,
    };

    /// Four backends, 0 to 3, and a clock.
    struct Rig {
        ejections: Ejections,
        rules: Rules,
        counted: [Answers; 4],
        now: u32,
    }

    impl Rig {
        fn new(rules: Rules) -> Self {
            let ejections = Ejections::default();
            let mut rig = Self { ejections, rules, counted: [Answers::default(); 4], now: 1000 };
            assert_eq!(rig.interval([(0, 0); 4]), []);
            rig
        }

        /// An interval in which the backends give so many (fine, refused) answers.
        fn interval(&mut self, answers: [(u64, u64); 4]) -> Vec<Event> {
            for (counted, (fine, refused)) in self.counted.iter_mut().zip(answers) {
                counted.fine += fine;
                counted.refused += refused;
            }
            self.now += self.rules.interval;
            let mut events = self.ejections.let_back(self.now);
            assert!(self.ejections.is_due(&self.rules, self.now));
            let observed: Vec<Observed> = (0..)
                .zip(self.counted)
                .map(|(backend, answers)| Observed {
                    backend,
                    answers,
                    accepts: self.ejections.of(backend).is_none(),
                })
                .collect();
            events.extend(self.ejections.judge(&self.rules, &observed, self.now));
            events
        }

        fn out(&self) -> Vec<u32> {
            self.ejections.out().collect()
        }
    }

    const GOOD: (u64, u64) = (100, 0);
    const BAD: (u64, u64) = (10, 90);

    #[test]
    fn one_that_refuses_too_many_is_taken_out_and_comes_back() {
        let mut rig = Rig::new(RULES);
        let events = rig.interval([GOOD, BAD, GOOD, GOOD]);
        let answers = Answers { fine: 10, refused: 90 };
        let expected = Ejection { answers, since: rig.now, lasts: 30, times: 1 };
        assert_eq!(events, [Event::Ejected(1, expected)]);
        assert_eq!(rig.ejections.of(1).map(|e| e.left(rig.now + 10)), Some(20));
        for _ in 0..2 {
            assert_eq!(rig.interval([GOOD, (0, 0), GOOD, GOOD]), []);
            assert_eq!(rig.out(), [1]);
        }
        assert_eq!(rig.interval([GOOD, (0, 0), GOOD, GOOD]), [Event::Returned(1)]);
        assert_eq!((rig.out(), rig.ejections.total(1)), (vec![], 1));
    }

    #[test]
    fn few_answers_and_few_refusals_say_nothing() {
        let mut rig = Rig::new(RULES);
        assert_eq!(rig.interval([(0, 19), (51, 49), GOOD, (0, 0)]), []);
        assert_eq!(rig.interval([(0, 19), (0, 0), GOOD, (0, 0)]), [], "each interval by itself");
        assert!(matches!(rig.interval([(10, 10), GOOD, GOOD, GOOD])[..], [Event::Ejected(0, _)]));
    }

    #[test]
    fn what_was_counted_before_is_not_judged() {
        let mut rig = Rig { ejections: Ejections::default(), ..Rig::new(RULES) };
        assert_eq!(rig.interval([BAD; 4]), []);
        assert_eq!(rig.interval([GOOD; 4]), []);
    }

    #[test]
    fn no_more_are_out_than_may_be_and_the_worst_go_first() {
        let mut rig = Rig::new(RULES);
        let events = rig.interval([(40, 60), (30, 70), (20, 80), (10, 90)]);
        assert!(matches!(
            events[..],
            [Event::Ejected(3, _), Event::Ejected(2, _), Event::Spared(1, _), Event::Spared(0, _)]
        ));
        assert_eq!(rig.out(), [2, 3]);
        let events = rig.interval([BAD, BAD, (0, 0), (0, 0)]);
        assert!(matches!(events[..], [Event::Spared(..), Event::Spared(..)]));
    }

    #[test]
    fn the_last_one_that_takes_connections_is_never_taken_out() {
        let mut rig = Rig::new(Rules { max_ejected_percent: 100, ..RULES });
        rig.interval([BAD; 4]);
        assert_eq!(rig.out(), [0, 1, 2]);
        let mut rig = Rig::new(Rules { max_ejected_percent: 100, ..RULES });
        let alone =
            [Observed { backend: 0, answers: Answers { fine: 0, refused: 1000 }, accepts: true }];
        let events = rig.ejections.judge(&rig.rules, &alone, rig.now + 10);
        assert!(matches!(events[..], [Event::Spared(0, _)]));
    }

    #[test]
    fn who_goes_on_refusing_is_out_longer_each_time_up_to_a_limit() {
        let mut rig = Rig::new(RULES);
        for (times, lasts) in [(1, 30), (2, 60), (3, 90), (4, 100), (5, 100)] {
            let events = rig.interval([BAD, GOOD, GOOD, GOOD]);
            let ejection = rig.ejections.of(0).unwrap();
            assert_eq!(events.last(), Some(&Event::Ejected(0, ejection)));
            assert_eq!((ejection.times, ejection.lasts), (times, lasts));
            while rig.ejections.of(0).is_some_and(|e| e.left(rig.now + 10) > 0) {
                rig.interval([(0, 0), GOOD, GOOD, GOOD]);
            }
        }
        // Each good interval takes one back.
        for _ in 0..4 {
            rig.interval([GOOD; 4]);
        }
        assert!(rig.out().is_empty());
        rig.interval([BAD, GOOD, GOOD, GOOD]);
        assert_eq!(rig.ejections.of(0).unwrap().times, 2);
    }

    #[test]
    fn a_backend_that_goes_is_forgotten() {
        let mut rig = Rig::new(RULES);
        rig.interval([BAD, GOOD, GOOD, GOOD]);
        assert_eq!(rig.ejections.judge(&RULES, &[], rig.now + 10), []);
        assert_eq!((rig.out(), rig.ejections.total(0)), (vec![], 0));
    }
}

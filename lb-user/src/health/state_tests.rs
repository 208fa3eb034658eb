use super::*;
use proptest::prelude::*;

const INTERVAL: Duration = Duration::from_secs(2);

fn thresholds(rise: u32, fall: u32) -> Thresholds {
    Thresholds { rise: NonZeroU32::new(rise).unwrap(), fall: NonZeroU32::new(fall).unwrap() }
}

fn outcome(mark: char) -> Outcome {
    match mark {
        '+' => Outcome::Success { latency: Duration::from_millis(3) },
        '-' => Outcome::Failure { reason: "refused".into() },
        '?' => Outcome::Inconclusive { reason: "no file descriptor".into() },
        other => panic!("no outcome is written {other}"),
    }
}

/// Plays `results` (one per interval) and writes after each: `U` went up, `D` went down, `.` no change.
fn play(known: Option<bool>, rise: u32, fall: u32, results: &str) -> String {
    let start = Instant::now();
    let mut state = State::new(start, thresholds(rise, fall), known);
    (1u32..)
        .zip(results.chars())
        .map(|(n, mark)| match state.observe(start + INTERVAL * n, outcome(mark)) {
            None => '.',
            Some(Event::WentUp) => 'U',
            Some(Event::WentDown { .. }) => 'D',
        })
        .collect()
}

#[test]
fn results_lead_to_the_verdicts_of_this_table() {
    let table = [
        // known, rise, fall, results, events: why
        (None, 2, 3, "+", "U", "the first result decides upwards"),
        (None, 2, 3, "-", "D", "the first result decides downwards"),
        (None, 2, 3, "-+-++", "D...U", "a broker that started down has to rise"),
        (None, 1, 1, "+-+-", "UDUD", "thresholds of one follow every result"),
        (Some(true), 2, 3, "--", "..", "taken over as up: fewer than fall failures change nothing"),
        (Some(true), 2, 3, "---", "..D", "taken over as up: fall failures do"),
        (Some(true), 2, 3, "--+--+", "......", "a success in between starts the count again"),
        (Some(false), 2, 3, "+", ".", "taken over as down: one success is not yet rise"),
        (Some(false), 2, 3, "++", ".U", "taken over as down: rise successes are"),
        (Some(true), 2, 3, "-----", "..D..", "going down is said once"),
        (None, 2, 3, "?", ".", "an inconclusive first probe decides nothing"),
        (None, 2, 3, "?+", ".U", "the first conclusive one does"),
        (Some(true), 2, 3, "?????????", ".........", "this host's trouble takes nobody down"),
        (Some(true), 2, 3, "--?-", "...D", "an inconclusive probe does not break a run"),
    ];
    for (known, rise, fall, results, events, why) in table {
        assert_eq!(play(known, rise, fall, results), events, "{why}: {results}");
    }
}

#[test]
fn an_event_names_the_failure_that_tipped_the_verdict() {
    let start = Instant::now();
    let mut state = State::new(start, thresholds(1, 2), Some(true));
    state.observe(start, Outcome::Failure { reason: "timed out".into() });
    let event = state.observe(start, Outcome::Failure { reason: "refused".into() });
    assert_eq!(event, Some(Event::WentDown { reason: "refused".into() }));
}

#[test]
fn the_record_tells_what_an_operator_asks() {
    let start = Instant::now();
    let mut state = State::new(start, thresholds(2, 2), None);
    assert_eq!((state.health(), state.last_probe()), (Health::Unknown, None));
    state.observe(start + INTERVAL, outcome('+'));
    state.observe(start + INTERVAL * 2, outcome('-'));
    assert_eq!(state.health(), Health::Up);
    assert_eq!(state.since(), start + INTERVAL);
    assert_eq!(state.last_probe(), Some(start + INTERVAL * 2));
    assert_eq!(state.last_latency(), Some(Duration::from_millis(3)));
    assert_eq!(state.last_error(), Some("refused"));
    assert_eq!(state.in_a_row(), Run::Failures(1));
    assert_eq!(state.probes(), (2, 1));
    state.observe(start + INTERVAL * 3, outcome('+'));
    assert_eq!(state.last_error(), None, "a success clears the error");
}

proptest! {
    #[test]
    fn a_verdict_changes_only_after_a_full_run_of_results(
        known in proptest::option::of(any::<bool>()),
        rise in 1u32..6,
        fall in 1u32..6,
        results in "[-+?]{1,80}",
    ) {
        let conclusive = |upto: usize| -> Vec<char> {
            results.chars().take(upto).filter(|c| *c != '?').collect()
        };
        let events = play(known, rise, fall, &results);
        let mut up = known;
        for (index, event) in events.chars().enumerate() {
            let history = conclusive(index + 1);
            let ends_with = |mark: char, n: u32| {
                history.len() >= n as usize && history.iter().rev().take(n as usize).all(|c| *c == mark)
            };
            match event {
                'U' => {
                    prop_assert!(up != Some(true), "up twice");
                    let needed = up.map_or(1, |_| rise);
                    prop_assert!(ends_with('+', needed));
                    up = Some(true);
                }
                'D' => {
                    prop_assert!(up != Some(false), "down twice");
                    let needed = up.map_or(1, |_| fall);
                    prop_assert!(ends_with('-', needed));
                    up = Some(false);
                }
                _ => {
                    // And no change is late.
                    prop_assert!(!(up == Some(true) && ends_with('-', fall)));
                    prop_assert!(!(up == Some(false) && ends_with('+', rise)));
                    prop_assert!(up.is_some() || history.is_empty());
                }
            }
        }
    }
}

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use proptest::prelude::*;

use super::*;

fn rate(per_second: u32, burst: u32) -> Rate {
    Rate {
        per_second: NonZeroU32::new(per_second).unwrap(),
        burst: NonZeroU32::new(burst).unwrap(),
    }
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn service(per_second: u32, burst: u32, max_wait: Duration) -> Pacer {
    let service = Some(rate(per_second, burst));
    Pacer::new(Paces { service, max_wait, ..Paces::default() }, 0)
}

/// The most of `times` (sorted) that lie in a window of this length, its end excluded.
fn most_in(times: &[Duration], window: Duration) -> usize {
    let within =
        |(i, first): (usize, &Duration)| times[i..].partition_point(|time| *time < *first + window);
    times.iter().enumerate().map(within).max().unwrap_or(0)
}

#[test]
fn a_place_in_the_queue_is_a_time() {
    let mut pacer = service(10, 3, ms(500));
    let mut pass = |now| pacer.pass(Gate::Service, now, now + ms(500));
    let passed: Vec<_> = (0..8).map(|_| pass(ms(0)).unwrap()).collect();
    assert_eq!(passed, [0, 0, 0, 100, 200, 300, 400, 500].map(ms));
    assert_eq!(pass(ms(0)), Err(Refusal::Service), "the next place is at 600");
    assert_eq!(pass(ms(100)), Ok(ms(600)), "who was refused has taken none");
    assert_eq!([0; 4].map(|_| pass(ms(5000)).unwrap()), [5000, 5000, 5000, 5100].map(ms));
}

#[test]
fn each_backend_has_turns_of_its_own_which_are_forgotten_with_it() {
    let rates = Paces { backend: Some(rate(10, 1)), ..Paces::default() };
    let mut pacer = Pacer::new(rates, 0);
    let pass = |pacer: &mut Pacer, id| pacer.pass(Gate::Backend(id), ms(1000), ms(9000));
    assert_eq!([7, 7, 8].map(|id| pass(&mut pacer, id).unwrap()), [1000, 1100, 1000].map(ms));
    pacer.retain_backends(|id| id != 7);
    assert_eq!([7, 8].map(|id| pass(&mut pacer, id).unwrap()), [1000, 1100].map(ms));
}

#[test]
fn the_turn_of_a_client_that_went_away_is_somebody_elses() {
    let mut pacer = service(10, 1, ms(500));
    let pass = |pacer: &mut Pacer, now| pacer.pass(Gate::Service, now, now + ms(500));
    for turn in [0, 100, 200, 300, 400, 500] {
        assert_eq!(pass(&mut pacer, ms(0)), Ok(ms(turn)));
    }
    assert_eq!(pass(&mut pacer, ms(0)), Err(Refusal::Service));
    for turn in [400, 100, 300] {
        pacer.give_back(Gate::Service, ms(turn), ms(50));
    }
    assert_eq!(pass(&mut pacer, ms(60)), Ok(ms(100)), "the first of them");
    assert_eq!(pass(&mut pacer, ms(310)), Ok(ms(400)), "300 has passed meanwhile");
    assert_eq!(pass(&mut pacer, ms(310)), Ok(ms(600)), "then those that nobody had");
    pacer.give_back(Gate::Service, ms(600), ms(310));
    assert_eq!(pacer.pass(Gate::Service, ms(310), ms(599)), Err(Refusal::Service));
}

#[test]
fn a_fast_source_does_not_hold_up_the_others() {
    let rates = Paces {
        source: Some(rate(1, 1)),
        service: Some(rate(1000, 1)),
        max_wait: ms(10_000),
        ..Paces::default()
    };
    let mut pacer = Pacer::new(rates, 1000);
    let fast: IpAddr = [192, 0, 2, 1].into();
    let deadline = pacer.deadline(ms(0));
    let times: Vec<_> = (0..12).map(|_| pacer.pass(Gate::Source(fast), ms(0), deadline)).collect();
    assert_eq!((times[10], times[11]), (Ok(ms(10_000)), Err(Refusal::Source)));
    let other = Gate::Source([192, 0, 2, 2].into());
    assert_eq!(pacer.pass(other, ms(0), deadline), Ok(ms(0)));
    assert_eq!(pacer.pass(Gate::Service, ms(0), deadline), Ok(ms(0)));
}

#[test]
fn a_network_of_ipv6_is_one_source() {
    let rates = Paces { source: Some(rate(1, 1)), ..Paces::default() };
    let mut pacer = Pacer::new(rates, 1000);
    let mut pass =
        |address: &str| pacer.pass(Gate::Source(address.parse().unwrap()), ms(0), ms(0)).is_ok();
    assert!(pass("2001:db8::1") && !pass("2001:db8::2") && pass("2001:db8:0:1::1"));
    assert!(pass("192.0.2.1") && !pass("::ffff:192.0.2.1") && pass("192.0.2.2"));
}

#[test]
fn sources_take_bounded_memory_and_those_beyond_pass() {
    let rates = Paces { source: Some(rate(1, 1)), ..Paces::default() };
    let mut pacer = Pacer::new(rates, 100);
    let source = |number: u32| Gate::Source(IpAddr::V4(number.into()));
    for number in 0..100_000u32 {
        let now = Duration::from_micros(u64::from(number) * 50);
        pacer.pass(source(number), now, now).unwrap();
        assert!(pacer.sources.len() <= 100);
    }
    let now = ms(60_000);
    assert_eq!(pacer.pass(source(1), now, now), Ok(now));
    assert_eq!(pacer.pass(source(1), now, now), Err(Refusal::Source), "there is room again");
    for number in 2..1000 {
        pacer.pass(source(number), now, now).unwrap();
    }
    assert_eq!(pacer.pass(source(1), now, now), Err(Refusal::Source), "who is in stays in");
}

#[test]
fn without_paces_nobody_waits() {
    let mut pacer = Pacer::new(Paces::default(), 10);
    let gates = [Gate::Source([192, 0, 2, 1].into()), Gate::Service, Gate::Backend(1)];
    for gate in gates.into_iter().cycle().take(300) {
        assert_eq!(pacer.pass(gate, ms(1), ms(1)), Ok(ms(1)));
    }
}

/// A client of the simulation, ordered by the time of its next step, the earliest first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Step {
    at: Reverse<Duration>,
    client: u32,
    arrived: Duration,
    gate: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Service,
    Backend,
    Broker,
}

/// What happened: when clients passed the gate of the service, and when the brokers saw them.
#[derive(Default)]
struct Seen {
    service: Vec<Duration>,
    brokers: BTreeMap<u32, Vec<Duration>>,
    all: Vec<Duration>,
}

/// 10,000 clients return within a second. Each waits as it is told; who is refused comes again after
/// one to three seconds, as MQTT clients do.
fn outage(rates: Paces, backends: u32) -> Seen {
    const CLIENTS: u32 = 10_000;
    let mut pacer = Pacer::new(rates, 0);
    let jitter = |client: u32, round: u64| {
        u64::from(client.wrapping_mul(2_654_435_761).rotate_left(round as u32 % 31) % 2000)
    };
    let step = |at, client, arrived, gate| Step { at: Reverse(at), client, arrived, gate };
    let mut steps: BinaryHeap<Step> = (0..CLIENTS)
        .map(|client| (client, ms(jitter(client, 0) / 2)))
        .map(|(client, at)| step(at, client, at, Stage::Service))
        .collect();
    let mut seen = Seen::default();
    while let Some(Step { at: Reverse(now), client, arrived, gate }) = steps.pop() {
        let backend = client % backends;
        let (asked, behind) = match gate {
            Stage::Service => (Gate::Service, Stage::Backend),
            Stage::Backend => (Gate::Backend(backend), Stage::Broker),
            Stage::Broker => {
                seen.brokers.entry(backend).or_default().push(now);
                seen.all.push(now);
                continue;
            }
        };
        if let Ok(time) = pacer.pass(asked, now, pacer.deadline(arrived)) {
            if gate == Stage::Service {
                seen.service.push(time);
            }
            steps.push(step(time, client, arrived, behind));
        } else {
            let again = now + ms(1000 + jitter(client, now.as_secs()));
            steps.push(step(again, client, again, Stage::Service));
        }
    }
    assert_eq!(seen.all.len(), CLIENTS as usize, "none is lost, none comes twice");
    seen
}

fn assert_pace(times: &[Duration], per_second: u32, burst: u32) {
    for window in [1, 10, 100, 1000, 3700].map(ms) {
        let most = f64::from(burst) + (window.as_secs_f64() * f64::from(per_second)).ceil();
        let seen = most_in(times, window);
        assert!(f64::from(seen as u32) <= most, "{seen} in {window:?}, at most {most}");
    }
}

#[test]
fn after_an_outage_10_000_clients_are_let_in_at_the_pace_and_none_is_lost() {
    let max_wait = ms(5000);
    let rates = Paces { service: Some(rate(500, 1)), max_wait, ..Paces::default() };
    let seen = outage(rates, 4);
    assert_pace(&seen.all, 500, 1);
    let end = seen.all.last().unwrap().as_secs_f64();
    assert!((19.9..20.5).contains(&end), "the queue never runs dry: all are in after {end} s");
}

#[test]
fn no_broker_sees_more_than_its_own_pace_after_an_outage() {
    let max_wait = ms(5000);
    let (service, backend) = (Some(rate(500, 1)), Some(rate(120, 5)));
    let seen = outage(Paces { service, backend, max_wait, ..Paces::default() }, 4);
    assert_pace(&seen.service, 500, 1);
    assert_eq!(seen.brokers.len(), 4);
    for times in seen.brokers.values() {
        assert_pace(times, 120, 5);
    }
    let end = seen.all.last().unwrap().as_secs_f64();
    assert!((20.0..24.0).contains(&end), "480 a second is what four take: {end} s");
}

proptest! {
    #[test]
    fn no_window_ever_sees_more_than_the_pace(
        per_second in 1u32..2000,
        burst in 1u32..50,
        gaps in proptest::collection::vec(0u64..20_000, 1..300),
        wait in 0u64..2000,
        window in 1u64..3000,
        impatient in 2usize..10,
    ) {
        let mut pacer = service(per_second, burst, ms(wait));
        let mut now = Duration::ZERO;
        let mut passed = Vec::new();
        for gap in gaps {
            now += Duration::from_micros(gap);
            if let Ok(time) = pacer.pass(Gate::Service, now, pacer.deadline(now)) {
                prop_assert!(now <= time && time <= now + ms(wait));
                // Some go away at once.
                if now < time && passed.len() % impatient == 0 && gap % 2 == 0 {
                    pacer.give_back(Gate::Service, time, now);
                } else {
                    passed.push(time);
                }
            }
        }
        passed.sort();
        let window = ms(window);
        // The interval is whole nanoseconds, rounded down.
        let interval = Duration::from_secs(1) / per_second;
        let most = u128::from(burst) + window.as_nanos().div_ceil(interval.as_nanos());
        prop_assert!(most_in(&passed, window) as u128 <= most);
    }
}

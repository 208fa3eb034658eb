use proptest::prelude::*;

use super::*;

fn backend(id: u32, weight: u32, connections: u32) -> Backend {
    Backend { id, weight, connections, takes: weight > 0 }
}

fn rules(moves_per_second: u32, tolerance_percent: u32) -> Rules {
    let moves_per_second = NonZeroU32::new(moves_per_second).unwrap();
    Rules { moves_per_second, tolerance_percent, sessions: Sessions::Last }
}

fn surpluses(backends: &[Backend], tolerance: u32) -> Vec<u32> {
    assess(backends, &rules(10, tolerance)).backends.iter().map(|one| one.surplus).collect()
}

/// Connections of backend `backend`, numbered from `first` on, every third with a session.
fn connections(backend: u32, first: u64, count: u64) -> Vec<Connection> {
    let connection = |id: u64| Connection {
        id,
        backend,
        session: id.is_multiple_of(3),
        idle: Duration::from_secs(id * 7 % 101),
    };
    (first..first + count).map(connection).collect()
}

fn moves(round: Round) -> (Vec<Move>, Duration) {
    match round {
        Round::Moves { moves, next } => (moves, next),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_backend_that_joined_is_owed_its_share() {
    let three = [backend(1, 100, 600), backend(2, 100, 600), backend(3, 100, 0)];
    let assessment = assess(&three, &rules(50, 0));
    assert_eq!((assessment.moves, assessment.seconds), (400, 8));
    assert_eq!(
        assessment.backends[0],
        Standing { id: 1, connections: 600, share: 400, surplus: 200 }
    );
    let words = "400 connections to move from 2 of 3 backends, in 8 s or more";
    assert_eq!(assessment.to_string(), words);
    assert_eq!(surpluses(&three, 10), [160, 160, 0]);
    assert_eq!(surpluses(&three, 50), [0, 0, 0]);
    assert_eq!(assess(&three, &rules(50, 50)).to_string(), "balanced: nothing to move");
}

#[test]
fn shares_follow_weights_and_who_takes_nothing_new_is_left_alone() {
    assert_eq!(surpluses(&[backend(1, 300, 600), backend(2, 100, 600)], 0), [0, 300]);
    let down = Backend { takes: false, ..backend(3, 100, 500) };
    assert_eq!(surpluses(&[backend(1, 100, 600), backend(2, 100, 0), down], 0), [300, 0, 0]);
    assert_eq!(surpluses(&[down], 0), [0], "there is nowhere to go");
    assert_eq!(surpluses(&[backend(1, 100, 4), backend(2, 100, 3), backend(3, 100, 3)], 0), [0; 3]);
}

#[test]
fn a_drained_backend_gives_up_all_whatever_the_tolerance() {
    let two = [backend(1, 0, 70), backend(2, 100, 30)];
    assert_eq!(surpluses(&two, 20), [70, 0]);
    assert_eq!(surpluses(&[backend(1, 0, 70)], 20), [0], "unless it is the only one");
}

#[test]
fn those_without_a_session_leave_first_and_the_longest_idle_before_others() {
    let two = [backend(1, 100, 60), backend(2, 100, 0)];
    let all = connections(1, 0, 60);
    let mut rebalance = Rebalance::new(rules(20, 0), &assess(&two, &rules(20, 0)));
    let (moves, _) = moves(rebalance.round(&two, &all, Duration::ZERO));
    let of = |one: &Move| all.iter().find(|all| all.id == one.connection).unwrap();
    assert!(moves.iter().all(|one| !of(one).session));
    assert!(moves.iter().map(|one| std::cmp::Reverse(of(one).idle)).is_sorted());
    let left = all.iter().filter(|one| !one.session);
    let least_idle = left.map(|one| one.idle).filter(|idle| *idle > of(&moves[19]).idle).count();
    assert!(least_idle <= 19, "nobody who was idle longer stays");
}

#[test]
fn sessions_that_are_at_their_broker_alone_stay() {
    let two = [backend(1, 100, 9), backend(2, 100, 0)];
    let all: Vec<Connection> =
        connections(1, 0, 27).into_iter().filter(|one| one.session).collect();
    let keep = Rules { sessions: Sessions::Stay, ..rules(20, 0) };
    let mut rebalance = Rebalance::new(keep, &assess(&two, &keep));
    assert_eq!(rebalance.round(&two, &all, Duration::ZERO), Round::OnlySessions);
}

#[test]
fn the_fullest_backend_gives_most() {
    let three = [backend(1, 100, 90), backend(2, 100, 60), backend(3, 100, 0)];
    let all = [connections(1, 0, 90), connections(2, 1000, 60)].concat();
    let mut rebalance = Rebalance::new(rules(40, 0), &assess(&three, &rules(40, 0)));
    let (moves, _) = moves(rebalance.round(&three, &all, Duration::ZERO));
    let from = |id| moves.iter().filter(|one| one.backend == id).count();
    assert_eq!((from(1), from(2)), (35, 5));
}

#[test]
fn clients_that_take_their_time_to_come_back_make_no_move_too_many() {
    let mut two = [backend(1, 100, 600), backend(2, 100, 0)];
    let mut all = connections(1, 0, 600);
    let rules = rules(50, 0);
    let mut rebalance = Rebalance::new(rules, &assess(&two, &rules));
    let mut now = Duration::ZERO;
    let mut away = std::collections::VecDeque::new();
    loop {
        match rebalance.round(&two, &all, now) {
            Round::Moves { moves, next } => {
                all.retain(|one| moves.iter().all(|gone| gone.connection != one.id));
                two[0].connections -= moves.len() as u32;
                away.push_back(moves.len() as u32);
                // They come back three rounds later.
                if away.len() > 3 {
                    two[1].connections += away.pop_front().unwrap();
                }
                now = next;
            }
            end => {
                assert_eq!(end, Round::Balanced);
                break;
            }
        }
    }
    assert_eq!(two[0].connections, 300);
}

#[test]
fn clients_that_always_come_back_end_it() {
    let two = [backend(1, 100, 40), backend(2, 100, 0)];
    let all = connections(1, 0, 40);
    let mut rebalance = Rebalance::new(rules(10, 0), &assess(&two, &rules(10, 0)));
    let mut now = Duration::ZERO;
    let rounds = std::iter::from_fn(|| match rebalance.round(&two, &all, now) {
        Round::Moves { moves, next } => {
            now = next;
            Some(moves.len())
        }
        end => {
            assert_eq!(end, Round::Futile);
            None
        }
    });
    assert_eq!(rounds.sum::<usize>(), 30, "20 needed, and half as many again");
}

/// Plays a rebalancing to its end: who is moved goes to the backend with the fewest connections for
/// its weight. The times of the moves.
fn play(backends: &mut [Backend], all: &mut [Connection], rules: Rules) -> Vec<Duration> {
    let mut rebalance = Rebalance::new(rules, &assess(backends, &rules));
    let mut times = Vec::new();
    let mut now = Duration::ZERO;
    loop {
        let (moves, next) = match rebalance.round(backends, all, now) {
            Round::Moves { moves, next } => (moves, next),
            Round::Balanced => return times,
            other => panic!("{other:?}"),
        };
        for one in moves {
            times.push(one.at);
            let connection = all.iter_mut().find(|all| all.id == one.connection).unwrap();
            let of = |backends: &mut [Backend], id: u32| {
                backends.iter().position(|one| one.id == id).unwrap()
            };
            backends[of(backends, connection.backend)].connections -= 1;
            let open = backends.iter_mut().filter(|one| one.takes);
            let least = open
                .min_by_key(|one| {
                    u64::from(one.connections + 1) * 1_000_000 / u64::from(one.weight)
                })
                .unwrap();
            least.connections += 1;
            connection.backend = least.id;
        }
        now = next;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn it_ends_balanced_at_no_more_than_the_pace_and_with_no_move_too_many(
        sizes in proptest::collection::vec((0u32..4, 0u32..120), 2..6),
        per_second in 1u32..60,
        tolerance in 0u32..40,
    ) {
        let mut backends: Vec<Backend> = sizes
            .iter()
            .zip(0..)
            .map(|((weight, connections), id)| backend(id, weight * 50, *connections))
            .collect();
        let mut all: Vec<Connection> = backends
            .iter()
            .flat_map(|one| {
                connections(one.id, u64::from(one.id) * 1000, u64::from(one.connections))
            })
            .collect();
        let rules = rules(per_second, tolerance);
        let needed = assess(&backends, &rules).moves;
        let times = play(&mut backends, &mut all, rules);
        prop_assert_eq!(times.len(), needed as usize);
        prop_assert_eq!(assess(&backends, &rules).moves, 0);
        let interval = Duration::from_secs(1) / per_second;
        prop_assert!(times.windows(2).all(|pair| pair[0] + interval <= pair[1]));
    }
}

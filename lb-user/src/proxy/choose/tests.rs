use std::collections::BTreeMap;

use lb_common::addr::Addr;
use proptest::prelude::*;

use super::{key::Field, *};

const SEED: Seed = Seed(0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210);
const NOBODY: &[u32] = &[];

fn backend(id: u32, weight: u32) -> Candidate {
    Candidate { id, weight, connections: 0, load: None, eligible: true }
}

fn backends(count: u32) -> Vec<Candidate> {
    (0..count).map(|id| backend(id, 100)).collect()
}

fn members(backends: &[Candidate]) -> Vec<Member> {
    let member = |one: &Candidate| Member {
        address: Addr::v4([10, 0, 1, one.id as u8]),
        port: 1883,
        weight: one.weight,
        id: one.id,
    };
    backends.iter().map(member).collect()
}

fn chooser(policy: Policy, backends: &[Candidate]) -> Chooser {
    Chooser::new(policy, &members(backends), SEED)
}

fn by_client_id(bound: Option<f64>) -> Policy {
    let bound = bound.map(|factor| LoadBound::new(factor).unwrap());
    Policy::KeyHash { rules: vec![KeyRule::whole(Field::ClientId)], bound }
}

fn client(client_id: &str) -> Client<'_> {
    let identity = Identity { client_id, ..Identity::default() };
    Client { source: [192, 0, 2, 1].into(), identity }
}

/// A generator with a fixed seed: the tests say the same every time.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        lb_common::hash::siphash13::<1, 0>(SEED, [self.0], 0)
    }

    fn two(&mut self) -> [u64; 2] {
        [self.next(), self.next()]
    }
}

/// Lets `count` clients in, each of which stays; how many each backend has then.
fn fill(chooser: &mut Chooser, backends: &mut [Candidate], count: u32) -> BTreeMap<u32, u32> {
    let mut chance = Chance(7);
    for number in 0..count {
        let id = format!("client-{number}");
        let choice = chooser.choose(backends, &client(&id), NOBODY, chance.two()).unwrap();
        backends.iter_mut().find(|one| one.id == choice.id).unwrap().connections += 1;
    }
    backends.iter().map(|one| (one.id, one.connections)).collect()
}

#[test]
fn turns_come_in_proportion_to_the_weights_and_evenly_spread() {
    let mut all = [backend(0, 5), backend(1, 1), backend(2, 1)];
    let mut chooser = chooser(Policy::WeightedRoundRobin, &all);
    let order: Vec<u32> =
        (0..14).map(|_| chooser.choose(&all, &client("a"), NOBODY, [0; 2]).unwrap().id).collect();
    assert_eq!(order, [0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 0, 2, 0, 0]);
    all[0].eligible = false;
    let next = |chooser: &mut Chooser, all: &[Candidate]| {
        chooser.choose(all, &client("a"), NOBODY, [0; 2]).unwrap().id
    };
    let two: Vec<u32> = (0..4).map(|_| next(&mut chooser, &all)).collect();
    assert_eq!(two, [1, 2, 1, 2], "who is gone has no turn");
}

#[test]
fn the_better_of_two_keeps_connections_close_to_the_weights() {
    let mut all: Vec<Candidate> = (0..10).map(|id| backend(id, 50 + 10 * id)).collect();
    let mut chooser = chooser(Policy::RandomOfTwo, &all);
    let have = fill(&mut chooser, &mut all, 9_500);
    for (id, have) in have {
        let want = 10 * (50 + 10 * id);
        assert!(have.abs_diff(want) <= want / 20, "backend {id}: {have}, not {want}");
    }
}

#[test]
fn least_connections_follows_the_weights_and_spreads_equals_by_chance() {
    let mut all = [backend(0, 100), backend(1, 200), backend(2, 300)];
    let mut least = chooser(Policy::LeastConnections, &all);
    assert_eq!(fill(&mut least, &mut all, 600), BTreeMap::from([(0, 100), (1, 200), (2, 300)]));
    let equal = backends(4);
    let ids = (0..4).map(|i| least.choose(&equal, &client(""), NOBODY, [i << 62, 0]).unwrap().id);
    assert_eq!(ids.collect::<Vec<u32>>(), [0, 1, 2, 3]);
}

#[test]
fn a_broker_with_twice_the_load_gets_half_the_connections_in_whatever_unit() {
    for unit in [1e-9, 1.0, 1e12] {
        let mut all = backends(3);
        for (one, load) in all.iter_mut().zip([4.0, 2.0, 1.0]) {
            one.load = Some(load * unit);
        }
        let mut least = chooser(Policy::LeastLoad, &all);
        let have = fill(&mut least, &mut all, 700);
        assert_eq!(have, BTreeMap::from([(0, 100), (1, 200), (2, 400)]), "{unit}");
    }
}

#[test]
fn weights_count_beside_loads() {
    let mut all = [backend(0, 100), backend(1, 300)];
    (all[0].load, all[1].load) = (Some(10.0), Some(30.0));
    let mut least = chooser(Policy::LeastLoad, &all);
    assert_eq!(fill(&mut least, &mut all, 200), BTreeMap::from([(0, 100), (1, 100)]));
}

#[test]
fn an_unknown_load_counts_as_the_median_and_without_any_connections_decide() {
    let mut all = backends(3);
    (all[0].load, all[1].load) = (Some(0.5), Some(1.5));
    let mut least = chooser(Policy::LeastLoad, &all);
    let have = fill(&mut least, &mut all, 1100);
    assert_eq!(have, BTreeMap::from([(0, 600), (1, 200), (2, 300)]));
    let mut why =
        |all: &[Candidate]| least.choose(all, &client(""), NOBODY, [0; 2]).unwrap().why.to_string();
    assert!(why(&all[..1]).ends_with("weight 100, load 0.50 where the median is 0.50)"));
    all[0].eligible = false;
    all[1].connections = 5000;
    assert!(why(&all).ends_with("load not known, counted as the median)"));
    let mut all = backends(2);
    assert_eq!(
        why(&all),
        "fewest connections for its weight and load (0 connections, weight 100, \
                           no load is known)"
    );
    assert_eq!(fill(&mut least, &mut all, 100), BTreeMap::from([(0, 50), (1, 50)]));
}

#[test]
fn a_gauge_that_is_far_off_moves_a_share_to_a_quarter_or_to_four_times() {
    let mut all = backends(2);
    (all[0].load, all[1].load) = (Some(0.0), Some(1e9));
    let mut least = chooser(Policy::LeastLoad, &all);
    // The median lies between them: twice the load of it, and nothing.
    let have = fill(&mut least, &mut all, 900);
    assert_eq!(have, BTreeMap::from([(0, 800), (1, 100)]));
    for one in &mut all {
        (one.load, one.connections) = (Some(0.0), 0);
    }
    assert_eq!(fill(&mut least, &mut all, 100), BTreeMap::from([(0, 50), (1, 50)]), "all idle");
}

#[test]
fn one_gauge_that_is_far_off_leaves_the_shares_of_others_as_they_are() {
    let mut all = backends(4);
    for (one, load) in all.iter_mut().zip([10.0, 10.0, 10.0, 1e6]) {
        one.load = Some(load);
    }
    let mut least = chooser(Policy::LeastLoad, &all);
    let have = fill(&mut least, &mut all, 1300);
    assert_eq!(have, BTreeMap::from([(0, 400), (1, 400), (2, 400), (3, 100)]));
}

#[test]
fn the_most_loaded_broker_is_taken_when_it_is_the_only_one() {
    let mut all = backends(2);
    (all[0].load, all[1].load) = (Some(f64::MAX), Some(f64::MAX));
    all[1].eligible = false;
    let mut least = chooser(Policy::LeastLoad, &all);
    assert_eq!(least.choose(&all, &client(""), NOBODY, [0; 2]).unwrap().id, 0);
}

#[test]
fn fill_first_fills_one_after_the_other_and_then_levels() {
    let mut all = backends(3);
    let mut first = chooser(Policy::FillFirst { connections: 10 }, &all);
    assert_eq!(fill(&mut first, &mut all, 15), BTreeMap::from([(0, 10), (1, 5), (2, 0)]));
    assert_eq!(fill(&mut first, &mut all, 18), BTreeMap::from([(0, 11), (1, 11), (2, 11)]));
    all[0].connections = 9;
    let choice = first.choose(&all, &client(""), NOBODY, [0; 2]).unwrap();
    assert_eq!((choice.id, choice.why), (0, Why::FirstWithRoom { connections: 9, limit: 10 }));
}

#[test]
fn every_byte_of_a_key_counts_however_long_it_is() {
    let all = backends(50);
    let mut hash = chooser(by_client_id(None), &all);
    let long = "x".repeat(65_000);
    let id = |hash: &mut Chooser, text: &str| {
        hash.choose(&all, &client(text), NOBODY, [0; 2]).unwrap().id
    };
    let ids: Vec<u32> = (0..40).map(|n| id(&mut hash, &format!("{long}{n}"))).collect();
    let distinct: std::collections::BTreeSet<&u32> = ids.iter().collect();
    assert!(distinct.len() > 20, "{ids:?}");
    let zeros = (1..40).map(|n| id(&mut hash, &"\u{1}".repeat(n)));
    assert!(zeros.collect::<std::collections::BTreeSet<u32>>().len() > 20);
}

#[test]
fn clients_of_one_tenant_meet_on_one_backend() {
    let all = backends(10);
    let rules = vec![KeyRule::capture(Field::ClientId, "^([^/]+)/").unwrap()];
    let mut hash = chooser(Policy::KeyHash { rules, bound: None }, &all);
    let mut owners = std::collections::BTreeSet::new();
    for tenant in 0..30 {
        let ids: Vec<u32> = (0..20)
            .map(|n| format!("tenant{tenant}/{n}"))
            .map(|id| hash.choose(&all, &client(&id), NOBODY, [0; 2]).unwrap().id)
            .collect();
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        owners.insert(ids[0]);
    }
    assert!(owners.len() > 5, "{owners:?}");
}

#[test]
fn without_a_key_the_least_connections_decide_and_it_is_said() {
    let mut all = backends(2);
    all[0].connections = 5;
    let choice = chooser(by_client_id(None), &all).choose(&all, &client(""), NOBODY, [0; 2]);
    let why = Why::NoKey { missing: NoKey::Missing(Field::ClientId) };
    assert_eq!(choice, Some(Choice { id: 1, why }));
    let words = "fewest connections for its weight: the client has no Client Identifier";
    assert_eq!(why.to_string(), words);
}

#[test]
fn a_key_returns_to_its_owner_and_only_its_keys_move_while_that_is_down() {
    let mut all = backends(10);
    let mut hash = chooser(by_client_id(None), &all);
    let mut owners = |all: &[Candidate]| -> Vec<Choice> {
        let ids = (0..2000).map(|n| format!("c{n}"));
        ids.map(|id| hash.choose(all, &client(&id), NOBODY, [0; 2]).unwrap()).collect()
    };
    let before = owners(&all);
    all[3].eligible = false;
    let meanwhile = owners(&all);
    let mut heirs = std::collections::BTreeSet::new();
    for (old, new) in before.iter().zip(&meanwhile) {
        if old.id == 3 {
            let passed = Some(Passed::Unavailable { owner: 3 });
            assert!(matches!(new.why, Why::Hash { passed: found, .. } if found == passed));
            heirs.insert(new.id);
        } else {
            assert_eq!(old, new);
        }
    }
    assert_eq!(heirs.len(), 9, "all others inherit");
    all[3].eligible = true;
    assert_eq!(owners(&all), before);
}

#[test]
fn the_source_address_alone_decides_in_a_source_hash() {
    let all = backends(10);
    let mut hash = chooser(Policy::SourceHash { bound: None }, &all);
    let mut of = |source: IpAddr, id: &str| {
        let client = Client { source, ..client(id) };
        hash.choose(&all, &client, NOBODY, [0; 2]).unwrap().id
    };
    let source: IpAddr = "2001:db8::1".parse().unwrap();
    assert_eq!(of(source, "a"), of(source, "b"));
    let ids: std::collections::BTreeSet<u32> =
        (0..100).map(|n| of([192, 0, 2, n].into(), "a")).collect();
    assert_eq!(ids.len(), 10);
}

#[test]
fn a_choice_says_why_in_words() {
    let mut all = backends(2);
    all[0].connections = 3;
    let hash = |all: &[Candidate], bound, tried: &[u32]| {
        let ids = (0..).map(|n| format!("c{n}"));
        let mut chooser = chooser(by_client_id(bound), all);
        let mut choices =
            ids.map(|id| chooser.choose(all, &client(&id), tried, [0; 2]).unwrap().why);
        choices.find(|why| matches!(why, Why::Hash { passed: Some(_), .. })).unwrap().to_string()
    };
    let next = "next on the ring by the hash of the Client Identifier: backend 0";
    assert_eq!(hash(&all, None, &[0]), format!("{next} has refused this client"));
    let full = " has the 2 connections that its share allows";
    assert_eq!(hash(&all, Some(1.0), &[]), format!("{next}{full}"));
    all[0].eligible = false;
    assert_eq!(hash(&all, None, &[]), format!("{next} takes no new connections"));
    let two = chooser(Policy::RandomOfTwo, &all).choose(&all, &client(""), &[], [0; 2]).unwrap();
    assert_eq!(two.why.to_string(), "the only one to draw (0 connections, weight 100)");
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let bound =
        proptest::option::of((1.0f64..3.0).prop_map(|factor| LoadBound::new(factor).unwrap()));
    prop_oneof![
        Just(Policy::WeightedRoundRobin),
        Just(Policy::RandomOfTwo),
        Just(Policy::LeastConnections),
        Just(Policy::LeastLoad),
        bound.clone().prop_map(|bound| Policy::SourceHash { bound }),
        bound.prop_map(|bound| {
            Policy::KeyHash { rules: vec![KeyRule::whole(Field::ClientId)], bound }
        }),
        (0u32..20).prop_map(|connections| Policy::FillFirst { connections }),
    ]
}

fn any_backends() -> impl Strategy<Value = Vec<Candidate>> {
    let one = (0u32..4, 0u32..50, proptest::option::of(0.0f64..1e6), any::<bool>());
    proptest::collection::vec(one, 0..8).prop_map(|all| {
        let numbered = all.into_iter().zip(0..);
        let backend = |((weight, connections, load, eligible), id)| Candidate {
            id,
            weight,
            connections,
            load,
            eligible,
        };
        numbered.map(backend).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_policy_takes_one_that_is_open_whenever_there_is_one(
        policy in any_policy(),
        all in any_backends(),
        tried in proptest::collection::vec(0u32..8, 0..4),
        id in "[a-z]{0,3}",
        random: [u64; 2],
    ) {
        let mut chooser = chooser(policy, &all);
        let choice = chooser.choose(&all, &client(&id), &tried, random);
        let open: Vec<u32> =
            all.iter().filter(|one| is_open(one, &tried)).map(|one| one.id).collect();
        match choice {
            Some(choice) => prop_assert!(open.contains(&choice.id)),
            None => prop_assert!(open.is_empty()),
        }
    }

    #[test]
    fn no_backend_exceeds_the_bound_on_its_load(
        weights in proptest::collection::vec(1u32..100, 2..8),
        factor in 1.0f64..2.0,
        clients in 1u32..400,
    ) {
        let mut all: Vec<Candidate> =
            weights.iter().zip(0..).map(|(weight, id)| backend(id, *weight)).collect();
        let mut hash = chooser(by_client_id(Some(factor)), &all);
        let have = fill(&mut hash, &mut all, clients);
        let total = f64::from(weights.iter().sum::<u32>());
        for (id, have) in have {
            let share = f64::from(clients) * f64::from(weights[id as usize]) / total;
            prop_assert!(f64::from(have) <= (factor * share).ceil());
        }
    }

    #[test]
    fn over_a_sum_of_weights_each_has_exactly_its_weight_in_turns(
        weights in proptest::collection::vec(1u32..20, 1..8),
    ) {
        let all: Vec<Candidate> =
            weights.iter().zip(0..).map(|(weight, id)| backend(id, *weight)).collect();
        let mut rotation = chooser(Policy::WeightedRoundRobin, &all);
        let mut turns = vec![0; weights.len()];
        for _ in 0..weights.iter().sum() {
            turns[rotation.choose(&all, &client(""), NOBODY, [0; 2]).unwrap().id as usize] += 1;
        }
        prop_assert_eq!(turns, weights);
    }
}

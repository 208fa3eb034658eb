use std::collections::BTreeMap;

use lb_common::ring::NO_BACKEND;
use proptest::prelude::*;

use super::*;

const SEED: Seed = Seed(0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210);

fn member(number: u32, weight: u32) -> Member {
    let [_, a, b, c] = number.to_be_bytes();
    Member { address: Addr::v4([10, a, b, c]), port: 1883, weight, id: number }
}

fn equal(count: u32) -> Vec<Member> {
    (0..count).map(|number| member(number, 100)).collect()
}

/// Slots that each backend owns, by id.
pub(crate) fn shares(ring: &Ring) -> BTreeMap<u32, u32> {
    let mut shares = BTreeMap::new();
    for owner in ring.iter().map(|slot| slot.current()).filter(|owner| *owner != NO_BACKEND) {
        *shares.entry(owner).or_default() += 1;
    }
    shares
}

/// Slots that changed hands although their owner is a member of both rings.
fn moved(old: &Ring, new: &Ring, changed: u32) -> usize {
    let pairs = old.iter().zip(new).map(|(old, new)| (old.current(), new.current()));
    pairs.filter(|(old, new)| old != new && *old != changed && *new != changed).count()
}

fn assert_shares(members: &[Member], seed: Seed) {
    let shares = shares(&build(members, seed));
    assert_eq!(shares, slots(members), "foretold");
    let total = f64::from(members.iter().map(|m| m.weight).sum::<u32>());
    for member in members {
        let want = f64::from(SLOTS as u32) * f64::from(member.weight) / total;
        let have = f64::from(shares[&member.id]);
        assert!((have - want).abs() <= 1.0 + want * 0.01, "{member:?}: {have}, not {want}");
    }
    assert_eq!(shares.values().sum::<u32>() as usize, SLOTS);
}

#[test]
fn a_member_whose_share_is_less_than_a_slot_gets_one_and_no_more() {
    let members: Vec<Member> =
        (0..74).map(|number| member(number, if number == 0 { 1 } else { 1000 })).collect();
    assert_shares(&members, SEED);
    assert_eq!(slots(&members)[&0], 1);
}

#[test]
fn removing_any_one_of_100_backends_moves_at_most_2_percent_of_the_other_slots() {
    let members = equal(100);
    let before = build(&members, SEED);
    for gone in &members {
        let others: Vec<Member> = members.iter().filter(|m| *m != gone).copied().collect();
        let moved = moved(&before, &build(&others, SEED), gone.id);
        assert!(moved <= SLOTS / 50, "{moved} slots moved when {} left", gone.id);
    }
}

#[test]
fn removing_one_of_100_unequal_backends_moves_at_most_2_percent_of_the_other_slots() {
    let members: Vec<Member> = (0..100).map(|n| member(n, 1 + n * 37 % 1000)).collect();
    let before = build(&members, SEED);
    for gone in members.iter().step_by(7) {
        let others: Vec<Member> = members.iter().filter(|m| *m != gone).copied().collect();
        let moved = moved(&before, &build(&others, SEED), gone.id);
        assert!(moved <= SLOTS / 50, "{moved} slots moved when {} left", gone.id);
    }
}

#[test]
fn doubling_one_weight_of_100_moves_at_most_2_percent_among_the_others() {
    let mut members = equal(100);
    let before = build(&members, SEED);
    members[41].weight *= 2;
    assert!(moved(&before, &build(&members, SEED), 41) <= SLOTS / 50);
}

#[test]
fn hundred_equal_backends_have_equal_shares() {
    assert_shares(&equal(100), SEED);
}

#[test]
fn a_weight_of_1_beside_thousands_still_gets_a_slot() {
    let mut members: Vec<Member> = (0..200).map(|number| member(number, 1000)).collect();
    members.extend((200..204).map(|number| member(number, 1)));
    let shares = shares(&build(&members, SEED));
    assert_eq!(shares.len(), 204);
    assert_eq!(shares.values().sum::<u32>() as usize, SLOTS);
}

#[test]
fn the_largest_member_pays_when_many_need_their_minimum() {
    let mut members: Vec<Member> = (0..1000).map(|number| member(number, 1)).collect();
    members.push(member(1000, 1_000_000));
    let shares = shares(&build(&members, SEED));
    assert_eq!(shares.len(), 1001);
    assert_eq!(shares[&1000] as usize, SLOTS - 1000);
}

#[test]
fn a_ring_without_members_is_empty() {
    assert!(build(&[], SEED).iter().all(|slot| *slot == Slot::EMPTY));
}

#[test]
fn another_seed_gives_another_ring() {
    let members = equal(10);
    assert!(build(&members, SEED) != build(&members, Seed(1, 2)));
}

#[test]
fn the_numbers_of_the_backends_do_not_decide_where_they_are() {
    let members = equal(10);
    let renumbered: Vec<Member> =
        members.iter().map(|m| Member { id: 1000 - m.id, ..*m }).collect();
    let [here, there] = [&members, &renumbered].map(|members| build(members, SEED));
    assert!(here.iter().zip(there.iter()).all(|(a, b)| a.current() == 1000 - b.current()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn shares_are_within_1_percent_of_the_weights(
        weights in proptest::collection::vec(1u32..=1000, 1..200),
        seed: (u64, u64),
    ) {
        let members: Vec<Member> =
            weights.iter().zip(0..).map(|(weight, number)| member(number, *weight)).collect();
        assert_shares(&members, Seed(seed.0, seed.1));
    }

    #[test]
    fn the_order_of_the_members_does_not_matter(
        weights in proptest::collection::vec(1u32..=1000, 1..40),
        rotation: usize,
    ) {
        let mut members: Vec<Member> =
            weights.iter().zip(0..).map(|(weight, number)| member(number, *weight)).collect();
        let ring = build(&members, SEED);
        members.rotate_left(rotation % weights.len());
        prop_assert!(ring == build(&members, SEED));
    }
}

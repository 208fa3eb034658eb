use lb_common::ring::Ring;

use super::*;

const PACE: Pace = Pace { horizon: 100, rebase_after: 1000 };

/// A ring whose slots all belong to `owner`.
fn all(owner: u32) -> Box<Ring> {
    vec![Slot::stable(owner); SLOTS].into_boxed_slice().try_into().unwrap()
}

fn everybody(_: u32) -> bool {
    true
}

fn nobody(_: u32) -> bool {
    false
}

/// From backend 1 to backend 2, at tick 500.
fn moving() -> Slots {
    Slots::beginning(all(1)).lead_to(&all(2), everybody, 500)
}

fn advance(slots: &Slots, now: u32) -> Slots {
    slots.advance(PACE, nobody, &SlotSet::default(), now).0
}

#[test]
fn new_flows_move_at_once_and_old_ones_stay() {
    let slots = moving();
    assert!(slots.ring.iter().all(|slot| *slot == Slot::in_transition(1, 2).with(LOOKUP)));
    assert_eq!(slots.summary().in_transition, SLOTS as u32);
}

#[test]
fn a_second_change_only_changes_where_new_flows_go() {
    let slots = moving().lead_to(&all(3), everybody, 600);
    assert!(slots.ring.iter().all(|slot| *slot == Slot::in_transition(1, 3).with(LOOKUP)));
    // The transition goes on since its beginning.
    assert_eq!(advance(&slots, 500 + 900).summary().learning, SLOTS as u32);
}

#[test]
fn the_flows_of_a_backend_that_is_gone_follow_the_new_ones() {
    let slots = moving().lead_to(&all(2), |id| id != 1, 600);
    assert!(slots.ring.iter().all(|slot| *slot == Slot::stable(2).with(LOOKUP)));
}

#[test]
fn a_slot_that_goes_back_is_still_looked_up() {
    let slots = moving().lead_to(&all(1), everybody, 600);
    assert!(slots.ring.iter().all(|slot| *slot == Slot::stable(1).with(LOOKUP)));
    let slots = slots.lead_to(&all(1), everybody, 700);
    assert!(slots.ring.iter().all(|slot| slot.has(LOOKUP)));
}

#[test]
fn a_slot_is_learned_late_and_then_rebased() {
    let slots = advance(&moving(), 500 + 899);
    assert_eq!(slots.summary().learning, 0);
    let slots = advance(&slots, 500 + 900);
    assert!(slots.ring.iter().all(|slot| *slot == Slot::in_transition(1, 2).with(LOOKUP | LEARN)));
    let slots = advance(&slots, 500 + 900 + 100 + MARGIN);
    assert_eq!(slots.summary().learning, SLOTS as u32, "every flow speaks within the horizon");
    let slots = advance(&slots, 500 + 900 + 101 + MARGIN);
    assert!(slots.ring.iter().all(|slot| *slot == Slot::stable(2).with(LOOKUP)));
}

#[test]
fn a_slot_that_entered_later_is_learned_for_as_long() {
    let mut target = all(1);
    target[7] = Slot::stable(2);
    let slots = Slots::beginning(all(1)).lead_to(&target, everybody, 500);
    let slots = advance(&slots, 500 + 900);
    target[8] = Slot::stable(2);
    let slots = slots.lead_to(&target, everybody, 500 + 950);
    let slots = advance(&slots, 500 + 900 + 101 + MARGIN);
    assert_eq!(slots.ring[7], Slot::stable(2).with(LOOKUP));
    assert_eq!(slots.ring[8], Slot::in_transition(1, 2).with(LOOKUP));
}

#[test]
fn a_slot_that_missed_a_flow_begins_anew() {
    let slots = advance(&moving(), 500 + 900);
    let mut missed = SlotSet::default();
    missed.insert(5);
    let now = 500 + 900 + 101 + MARGIN;
    let (slots, begun) = slots.advance(PACE, nobody, &missed, now);
    assert!(begun.contains(5) && !begun.contains(6));
    assert_eq!(slots.ring[5], Slot::in_transition(1, 2).with(LOOKUP | LEARN));
    assert_eq!(slots.ring[6], Slot::stable(2).with(LOOKUP));
    assert_eq!(advance(&slots, now + 100).ring[5], slots.ring[5]);
    assert_eq!(advance(&slots, now + 101 + MARGIN).ring[5], Slot::stable(2).with(LOOKUP));
}

#[test]
fn the_slots_of_a_backend_that_drains_are_learned_at_once_and_rebased_late() {
    let (slots, begun) = moving().advance(PACE, |id| id == 1, &SlotSet::default(), 501);
    assert!(begun.contains(0) && slots.summary().learning == SLOTS as u32);
    assert_eq!(advance(&slots, 500 + 999).summary().learning, SLOTS as u32);
    assert_eq!(advance(&slots, 500 + 1000).summary().learning, 0);
}

/// As [`Slots::known_in`] says of backend 1, where no slot has missed a flow.
fn known_in(slots: &Slots<SLOTS>, now: u32) -> Option<u32> {
    slots.known_in(1, PACE, &SlotSet::default(), now)
}

#[test]
fn what_is_open_is_known_when_every_slot_was_learned_for_long_enough() {
    assert_eq!(known_in(&moving(), 501), None, "nothing is learned");
    let (slots, _) = moving().advance(PACE, |id| id == 1, &SlotSet::default(), 501);
    assert_eq!(known_in(&slots, 501), Some(100 + MARGIN));
    assert_eq!(known_in(&slots, 600 + MARGIN), Some(1));
    assert_eq!(known_in(&slots, 601 + MARGIN), Some(0));
    assert_eq!(slots.known_in(3, PACE, &SlotSet::default(), 501), Some(0), "it never had any");
}

#[test]
fn the_slot_that_was_learned_last_says_when_what_is_open_is_known() {
    let mut target = all(1);
    target[7] = Slot::stable(2);
    let slots = Slots::beginning(all(1)).lead_to(&target, everybody, 500);
    let drains = |id| id == 1;
    let (slots, _) = slots.advance(PACE, drains, &SlotSet::default(), 500);
    assert_eq!(known_in(&slots, 550), None, "all others are not left");
    let (slots, _) =
        slots.lead_to(&all(2), everybody, 550).advance(PACE, drains, &SlotSet::default(), 550);
    assert_eq!(known_in(&slots, 560), Some(90 + MARGIN));
}

#[test]
fn what_is_open_is_not_known_while_a_slot_has_missed_a_flow() {
    let (slots, _) = moving().advance(PACE, |id| id == 1, &SlotSet::default(), 501);
    let mut missed = SlotSet::default();
    missed.insert(5);
    let now = 501 + 200;
    assert_eq!(slots.known_in(1, PACE, &missed, now), Some(100 + MARGIN));
    assert_eq!(known_in(&slots, now), Some(0));
    let (slots, begun) = slots.advance(PACE, |id| id == 1, &missed, now);
    assert!(begun.contains(5) && !begun.contains(6));
    assert_eq!(known_in(&slots, now + 1), Some(99 + MARGIN), "it begins anew");
}

#[test]
fn only_a_slot_that_is_empty_and_stable_is_not_looked_up_any_more() {
    let mut target = all(1);
    target[7] = Slot::stable(2);
    let slots = moving().lead_to(&target, everybody, 600);
    let mut occupied = SlotSet::default();
    occupied.insert(3);
    let settled = slots.settle(&occupied);
    assert_eq!(settled.ring[3], Slot::stable(1).with(LOOKUP));
    assert_eq!(settled.ring[4], Slot::stable(1));
    assert_eq!(settled.ring[7], Slot::in_transition(1, 2).with(LOOKUP));
}

#[test]
fn after_a_restart_learning_starts_over() {
    let slots = advance(&moving(), 500 + 900);
    let slots = Slots::read_back(slots.ring, 5000);
    assert_eq!(advance(&slots, 5100).summary().learning, SLOTS as u32);
    assert_eq!(advance(&slots, 6000).summary().learning, 0);
}

#[test]
fn without_backends_old_flows_keep_theirs() {
    let slots = Slots::beginning(all(1)).lead_to(&all(NO_BACKEND), everybody, 500);
    assert!(slots.ring.iter().all(|slot| *slot == Slot::in_transition(1, NO_BACKEND).with(LOOKUP)));
    let slots = slots.lead_to(&all(NO_BACKEND), nobody, 600);
    assert!(slots.ring.iter().all(|slot| *slot == Slot::EMPTY.with(LOOKUP)));
    let slots = slots.lead_to(&all(4), nobody, 700);
    assert!(slots.ring.iter().all(|slot| *slot == Slot::stable(4).with(LOOKUP)));
}

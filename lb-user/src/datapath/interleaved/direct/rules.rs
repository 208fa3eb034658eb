//! Each rule that connections rely on: what breaks without it does not happen.

use std::sync::Mutex;

use lb_common::{flow::FlowKey, ring::Slot};
use lb_ebpf::{
    host::{Frame, golden::Net},
    parse::tcp_flags::{ACK, FIN, RST, SYN},
};

use super::{
    super::schedule::{self, Schedule, section},
    HORIZON, Rules,
    brokers::{Brokers, Health},
    controller::Controller,
    run::send,
    world::{NET, Room, SLOTS, Shared},
};
use crate::ring::transition::Pace;

const ISN: u32 = 1_000_000;
/// More than a first segment may lie behind its SYN.
const FAR: u32 = 70_000;
const PENDING: u32 = 4;
/// So long a slot learns, with the margin.
const LEARNING: u32 = HORIZON + PENDING + 9;

/// Brokers 1 and 2, and a client with the port of the number.
struct Case<'a> {
    shared: &'a Shared,
    controller: Controller<'a>,
    port: u16,
}

fn shared(room: Room) -> Shared {
    Shared::new(room, HORIZON, PENDING)
}

impl<'a> Case<'a> {
    /// All flows belong to broker 1.
    fn new(shared: &'a Shared, rules: Rules) -> Self {
        let pace = Pace { horizon: HORIZON + PENDING, rebase_after: 0 };
        let mut controller = Controller::new(shared, rules, pace, Brokers::new(1000));
        for broker in 0..2 {
            controller.brokers.all[broker].wanted = true;
        }
        let mut case = Self { shared, controller, port: Net::CLIENT_PORT };
        case.lead_to([1; SLOTS]);
        case
    }

    fn lead_to(&mut self, owners: [u32; SLOTS]) {
        self.controller.give_numbers();
        self.controller.change(owners, None);
    }

    /// Which broker gets this segment of the client.
    fn sends(&self, flags: u8, sequence: u32) -> Option<u16> {
        let source = (NET.client(1).0, self.port);
        send(self.shared, &Frame { sequence, ..Frame::new(source, NET.vip(), flags) }).1
    }

    /// Opens a connection: the broker that gets it.
    fn opens(&self, isn: u32) -> Option<u16> {
        let broker = self.sends(SYN, isn);
        assert_eq!(self.sends(ACK, isn + 1), broker, "the handshake is lost");
        broker
    }

    /// The slots are learned and rebased, while the client speaks now and then.
    fn rebases(&mut self, sequence: u32) {
        self.controller.sweep(None);
        for _ in 0..3 {
            self.sends(ACK, sequence);
            self.shared.pass(LEARNING / 3);
        }
        self.controller.sweep(None);
    }

    /// Uses a port whose flow falls into this slot.
    fn use_slot(&mut self, slot: u32) {
        let address = NET.client(1).0.into();
        let falls = |port: &u16| {
            let key = FlowKey::new(address, port.to_be_bytes(), Net::SERVICE);
            self.shared.slot_number(&key) == slot
        };
        self.port = (Net::CLIENT_PORT..u16::MAX).find(falls).unwrap();
    }
}

#[test]
fn a_learned_flow_stays_with_its_broker_after_its_slot_was_rebased() {
    let gets = |rules| {
        let shared = shared(Room::AMPLE);
        let mut case = Case::new(&shared, rules);
        assert_eq!(case.opens(ISN), Some(1));
        case.lead_to([2; SLOTS]);
        case.rebases(ISN + FAR);
        case.controller.sweep(None);
        assert!(case.controller.ring().iter().all(|slot| slot.base() == 2));
        case.sends(ACK, ISN + FAR)
    };
    assert_eq!(gets(Rules::ALL), Some(1));
    assert_eq!(gets(Rules { looks_up: false, ..Rules::ALL }), Some(2));
}

#[test]
fn a_spoofed_syn_of_a_live_untracked_flow_moves_nothing() {
    let shared = shared(Room::AMPLE);
    let mut case = Case::new(&shared, Rules::ALL);
    assert_eq!(case.opens(ISN), Some(1));
    case.lead_to([2; SLOTS]);
    for forged in [ISN + 0x1000_0000, ISN + 0x2000_0000] {
        assert_eq!(case.sends(SYN, forged), Some(2));
        assert_eq!(case.sends(ACK, ISN + FAR), Some(1));
    }
}

#[test]
fn a_slot_that_entered_transition_later_is_learned_for_as_long() {
    let shared = shared(Room::AMPLE);
    let mut case = Case::new(&shared, Rules::ALL);
    case.use_slot(1);
    assert_eq!(case.opens(ISN), Some(1));
    case.lead_to([2, 1, 1]);
    case.controller.sweep(None);
    shared.pass(HORIZON - 2);
    assert_eq!(case.sends(ACK, ISN + FAR), Some(1));
    // Right after the flow has spoken.
    case.lead_to([2, 2, 1]);
    case.controller.sweep(None);
    shared.pass(LEARNING - HORIZON + 2);
    case.controller.sweep(None);
    assert_eq!(case.controller.ring().map(Slot::base), [2, 1, 1]);
    shared.pass(HORIZON - (LEARNING - HORIZON + 2));
    assert_eq!(case.sends(ACK, ISN + FAR), Some(1));
}

/// Runs two actors in many orders.
fn race(mut work: impl FnMut(fastrand::Rng)) {
    lb_common::interleave::set_hook(schedule::step);
    (0..300).for_each(|seed| work(fastrand::Rng::with_seed(seed)));
}

#[test]
fn no_entry_is_swept_while_a_packet_is_under_way_on_the_ring_before() {
    let always_arrives = |rules| {
        let mut always = true;
        race(|random| {
            let shared = shared(Room::AMPLE);
            let mut case = Case::new(&shared, rules);
            case.lead_to([2; SLOTS]);
            assert_eq!(case.opens(ISN), Some(2));
            case.controller.sweep(None);
            shared.pass(HORIZON);
            assert_eq!(case.sends(ACK, ISN + FAR), Some(2));
            shared.pass(LEARNING - HORIZON);
            let source = (NET.client(1).0, case.port);
            let frame = Frame { sequence: ISN + FAR, ..Frame::new(source, NET.vip(), ACK) };
            let controller = &mut case.controller;
            let mut sweep_twice = move || (0..2).for_each(|_| controller.sweep(None));
            let shared = &shared;
            let mut gets = None;
            let cpu = || gets = section(|| send(shared, &frame).1);
            Schedule::run(random, vec![Box::new(cpu), Box::new(&mut sweep_twice)]);
            always &= gets == Some(2);
        });
        always
    };
    assert!(always_arrives(Rules::ALL));
    assert!(!always_arrives(Rules { swap_waits: false, ..Rules::ALL }));
}

#[test]
fn a_segment_that_meets_the_promotion_of_its_handshake_finds_its_broker() {
    race(|random| {
        let shared = shared(Room::AMPLE);
        let mut case = Case::new(&shared, Rules::ALL);
        case.lead_to([2; SLOTS]);
        assert_eq!(case.sends(SYN, ISN), Some(2));
        let got = Mutex::new(Vec::new());
        let source = (NET.client(1).0, case.port);
        let cpu = || {
            let frame = Frame { sequence: ISN + 1, ..Frame::new(source, NET.vip(), ACK) };
            let broker = section(|| send(&shared, &frame).1);
            got.lock().unwrap().push(broker);
        };
        Schedule::run(random, vec![Box::new(cpu), Box::new(cpu)]);
        assert_eq!(*got.lock().unwrap(), [Some(2), Some(2)]);
    });
}

#[test]
fn nothing_is_left_of_a_backend_that_is_removed_while_a_handshake_is_completed() {
    race(|random| {
        let shared = shared(Room::AMPLE);
        let mut case = Case::new(&shared, Rules::ALL);
        case.lead_to([2; SLOTS]);
        assert_eq!(case.sends(SYN, ISN), Some(2));
        case.lead_to([1; SLOTS]);
        let source = (NET.client(1).0, case.port);
        let frame = Frame { sequence: ISN + 1, ..Frame::new(source, NET.vip(), ACK) };
        let cpu = || {
            section(|| send(&shared, &frame));
        };
        // The controller itself looks for what is left before it frees the number.
        let remove = || {
            case.controller.brokers.all[1].wanted = false;
            case.lead_to([1; SLOTS]);
        };
        Schedule::run(random, vec![Box::new(cpu), Box::new(remove)]);
    });
}

#[test]
fn a_spoofed_fin_or_reset_of_a_tracked_flow_untracks_nothing() {
    for forged in [RST, FIN | ACK] {
        let shared = shared(Room::AMPLE);
        let mut case = Case::new(&shared, Rules::ALL);
        case.lead_to([2; SLOTS]);
        assert_eq!(case.opens(ISN), Some(2));
        assert_eq!(case.sends(forged, ISN + 1), Some(2));
        shared.pass(HORIZON);
        case.controller.sweep(None);
        assert_eq!(case.sends(ACK, ISN + FAR), Some(2));
    }
}

#[test]
fn a_flapping_health_check_resets_no_connection() {
    let gets = |rules| {
        let shared = shared(Room::AMPLE);
        let mut case = Case::new(&shared, rules);
        assert_eq!(case.opens(ISN), Some(1));
        case.controller.brokers.all[0].health = Health::Down(shared.time());
        case.lead_to([2; SLOTS]);
        let while_down = case.sends(ACK, ISN + FAR);
        case.controller.brokers.all[0].health = Health::Up;
        case.lead_to([1; SLOTS]);
        [while_down, case.sends(ACK, ISN + FAR)]
    };
    assert_eq!(gets(Rules::ALL), [Some(1), Some(1)]);
    assert_eq!(gets(Rules { grace: false, ..Rules::ALL })[0], Some(2));
}

#[test]
fn a_port_used_again_is_not_led_to_the_broker_of_its_older_connection() {
    let shared = shared(Room::AMPLE);
    let mut case = Case::new(&shared, Rules::ALL);
    assert_eq!(case.opens(ISN), Some(1));
    case.lead_to([2; SLOTS]);
    case.rebases(ISN + FAR);
    // The older connection was learned of late, and the ring says where the newer one belongs.
    assert_eq!(case.opens(ISN + 0x1000_0000), Some(2));
    case.controller.sweep(None);
    shared.pass(PENDING + 3);
    case.controller.sweep(None);
    assert_eq!(case.sends(ACK, ISN + 0x1000_0000 + FAR), Some(2));
}

#[test]
fn a_flow_that_meets_an_older_entry_is_learned_before_its_slot_is_rebased() {
    let shared = shared(Room { pending: 0, ..Room::AMPLE });
    let mut case = Case::new(&shared, Rules::ALL);
    assert_eq!(case.opens(ISN), Some(1));
    case.lead_to([2; SLOTS]);
    case.controller.sweep(None);
    case.sends(ACK, ISN + FAR);
    shared.pass(HORIZON + 1);
    // What was learned is over; without room for a handshake the newer connection is 1's as well.
    assert_eq!(case.opens(ISN + 0x1000_0000), Some(1));
    shared.pass(LEARNING - HORIZON - 1);
    case.controller.sweep(None);
    assert_eq!(case.sends(ACK, ISN + 0x1000_0000 + FAR), Some(1));
}

#[test]
fn forged_syns_do_not_keep_a_completed_handshake_alive() {
    let shared = shared(Room::AMPLE);
    let mut case = Case::new(&shared, Rules::ALL);
    case.lead_to([2; SLOTS]);
    assert_eq!(case.opens(ISN), Some(2));
    let forged = |case: &mut Case<'_>, ticks: u32| {
        for _ in 0..ticks.div_ceil(PENDING) {
            shared.pass(PENDING);
            case.sends(SYN, ISN + 0x1000_0000);
            case.sends(ACK, ISN + FAR);
        }
    };
    // Broker 1 goes, so that the slots are 2's at once, and the connection is not tracked any more.
    case.controller.brokers.all[0].wanted = false;
    case.lead_to([2; SLOTS]);
    case.controller.sweep(None);
    case.controller.brokers.all[0].wanted = true;
    case.lead_to([1; SLOTS]);
    case.controller.sweep(None);
    forged(&mut case, LEARNING);
    case.controller.sweep(None);
    shared.pass(PENDING + 1);
    assert_eq!(case.sends(ACK, ISN + FAR), Some(2));
}

#[test]
fn what_a_slot_missed_is_not_forgotten_when_it_could_not_begin_anew() {
    let shared = shared(Room { learned: 0, ..Room::AMPLE });
    let mut case = Case::new(&shared, Rules::ALL);
    case.use_slot(1);
    assert_eq!(case.opens(ISN), Some(1));
    case.lead_to([2, 2, 1]);
    case.controller.sweep(None);
    assert_eq!(case.sends(ACK, ISN + FAR), Some(1));
    shared.pass(LEARNING);
    // Slot 0 is to be rebased, slot 1 to be learned once more, and neither can be done.
    case.controller.sweep(Some(0));
    case.controller.sweep(None);
    assert_eq!(case.controller.ring().map(Slot::base), [2, 1, 1]);
}

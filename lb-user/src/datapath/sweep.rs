//! Which entries are collected, and what becomes of their source ports. Pure.

use lb_common::{
    addr::Addr,
    flow::{Flow, FlowKey},
    port::{Owner, Port, port_flags},
    ticks,
};

/// Which of the two tables an entry lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The pending table.
    Handshake,
    /// The connection table.
    Connection,
    /// The table of learned connections.
    Learned,
}

/// Whether the time of `flow` is over at tick `now`.
pub(super) fn is_over(flow: &Flow, now: u32, closed_ticks: u32) -> bool {
    let idle = if flow.is_closed() { closed_ticks.min(flow.idle_ticks) } else { flow.idle_ticks };
    ticks::age(now, flow.last_seen) > idle
}

/// What a packet may take for alive because its clock is behind; ticks.
const CLOCKS: u32 = 2;

/// Whether the time of a `flow` of a backend that answers directly is over at tick `now`. Packets
/// count it as absent a little earlier: nobody is using an entry while it is removed.
pub(super) fn is_direct_over(flow: &Flow, stage: Stage, now: u32, pending_ticks: u32) -> bool {
    let idle = if stage == Stage::Handshake { pending_ticks } else { flow.idle_ticks };
    ticks::age(now, flow.last_seen) > idle.saturating_add(CLOCKS)
}

/// What a port says about the entry that names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// The port belongs to the entry, with this owner word.
    Own(Owner),
    /// The port belongs to another flow, or to nobody: the entry stands alone.
    Lost,
    /// The XDP program took the port away just now, or left it to the connection: it is about to
    /// remove the entry itself.
    Leaving,
}

/// A port as it was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct PortState {
    pub owner: Owner,
    pub client: Addr,
}

impl PortState {
    pub(super) fn read(port: &Port) -> Self {
        Self { owner: port.owner(), client: port.client() }
    }
}

/// Whose the port is that the entry `flow` of `key` names.
pub(super) fn claim(port: &PortState, key: &FlowKey, flow: &Flow, stage: Stage, now: u32) -> Claim {
    let owner = port.owner;
    if owner.has(port_flags::RESTING) && ticks::age(now, owner.resting_since()) < 2 {
        return Claim::Leaving;
    }
    if !owner.is_of(port.client, key, flow) {
        return Claim::Lost;
    }
    // A handshake that is being completed leaves its port to the connection.
    let is_left = stage == Stage::Handshake && owner.has(port_flags::PROMOTED);
    if is_left { Claim::Leaving } else { Claim::Own(owner) }
}

/// The owner of a port from the moment it is taken from its flow until it rests: not claimed, and
/// not to be claimed before the entry of the flow is removed.
const TAKEN: Owner = Owner(port_flags::TAKEN);

/// Takes `port` from `owner`; whether it was still `owner`'s. The entry of the flow is removed next,
/// and only then the port may rest: a crash in between leaves a port that nobody uses, never one
/// that two flows use.
pub(super) fn take(port: &Port, owner: Owner) -> bool {
    port.take(owner, TAKEN)
}

/// Whether a port with this owner is in a state that only a crash or a stray packet leaves behind:
/// taken and never rested, or marked while it was free.
pub(super) fn is_stuck(owner: Owner) -> bool {
    owner != Owner::FREE && !owner.has(port_flags::CLAIMED | port_flags::RESTING)
}

/// Whether no new connection can get the port at tick `now`.
pub(super) fn is_taken(port: &Port, now: u32, rest_ticks: u32) -> bool {
    !port.owner().is_free(now, rest_ticks)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: Addr = Addr::v4([192, 0, 2, 1]);
    const PORT: [u8; 2] = [0x12, 0x34];
    const KEY: FlowKey = FlowKey::new(CLIENT, PORT, 1);

    fn flow(word: u32, last_seen: u32) -> Flow {
        Flow { word: 7 << 8 | word, nat_port: [0, 1], source: 0, last_seen, idle_ticks: 100 }
    }

    fn claimed(flags: u64) -> PortState {
        let owner = Owner(Owner::claimed(7, PORT).0 | flags);
        PortState { owner, client: CLIENT }
    }

    #[test]
    fn a_flow_is_over_when_it_was_idle_for_longer_than_it_may() {
        assert!(!is_over(&flow(0, 1000), 1100, 10));
        assert!(is_over(&flow(0, 1000), 1101, 10));
    }

    #[test]
    fn a_closed_flow_is_over_sooner() {
        assert!(!is_over(&flow(1, 1000), 1010, 10));
        assert!(is_over(&flow(1, 1000), 1011, 10));
    }

    #[test]
    fn a_flow_seen_by_a_later_clock_is_not_over() {
        assert!(!is_over(&flow(0, 1001), 1000, 10));
    }

    #[test]
    fn a_port_belongs_to_the_flow_whose_client_it_names() {
        let judge = |port: &PortState| claim(port, &KEY, &flow(0, 0), Stage::Connection, 500);
        assert_eq!(judge(&claimed(0)), Claim::Own(Owner::claimed(7, PORT)));
        let other = PortState { client: Addr::v4([192, 0, 2, 2]), ..claimed(0) };
        assert_eq!(judge(&other), Claim::Lost);
        let other = PortState { owner: Owner::claimed(8, PORT), ..claimed(0) };
        assert_eq!(judge(&other), Claim::Lost);
        assert_eq!(judge(&PortState { owner: Owner::FREE, ..claimed(0) }), Claim::Lost);
    }

    #[test]
    fn a_completed_handshake_has_left_its_port_to_the_connection() {
        let port = claimed(port_flags::SYN_ACKED | port_flags::PROMOTED);
        assert_eq!(claim(&port, &KEY, &flow(0, 0), Stage::Handshake, 500), Claim::Leaving);
        assert!(matches!(claim(&port, &KEY, &flow(0, 0), Stage::Connection, 500), Claim::Own(_)));
    }

    #[test]
    fn an_entry_whose_port_went_to_rest_just_now_is_left_to_the_fast_path() {
        let resting = |since| PortState { owner: Owner::resting(since), client: CLIENT };
        let judge = |since| claim(&resting(since), &KEY, &flow(0, 0), Stage::Connection, 500);
        assert_eq!(judge(500), Claim::Leaving);
        assert_eq!(judge(498), Claim::Lost);
    }

    #[test]
    fn a_port_is_taken_only_from_the_owner_that_was_read() {
        let port = Port::default();
        let owner = Owner::claimed(7, PORT);
        assert!(port.take(Owner::FREE, owner));
        port.set(port_flags::PROMOTED);
        assert!(!take(&port, owner));
        assert!(take(&port, Owner(owner.0 | port_flags::PROMOTED)));
        assert!(!port.owner().has(port_flags::CLAIMED | port_flags::RESTING));
    }

    #[test]
    fn a_port_that_is_taken_stays_so_whatever_a_late_packet_marks() {
        let port = Port::default();
        assert!(take(&port, Owner::FREE));
        port.set(port_flags::CLIENT_FIN | port_flags::BROKER_FIN);
        port.clear(port_flags::CLIENT_FIN | port_flags::BROKER_FIN);
        assert_eq!(port.owner(), TAKEN);
    }

    #[test]
    fn a_port_that_nobody_finished_resting_is_stuck() {
        let port = Port::default();
        assert!(!is_stuck(port.owner()));
        assert!(port.take(Owner::FREE, TAKEN));
        assert!(is_stuck(port.owner()));
        port.rest(500);
        assert!(!is_stuck(port.owner()));
        assert!(is_stuck(Owner(port_flags::SYN_ACKED)));
    }
}

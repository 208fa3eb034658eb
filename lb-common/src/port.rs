//! Source ports of the balancer: the reverse half of a NAT flow.
//!
//! Every peer (a broker and one source address) has a table of ports, indexed by the port's
//! distance from the first of the configured range. A port belongs to at most one flow; who moves
//! its owner from free to claimed has it. When its flow ends it rests before it is free again, so
//! that a late packet of the old connection never reaches a new one.

use crate::{
    addr::Addr,
    atomic::Word,
    flow::{Flow, FlowKey},
    ticks,
};

/// One source port of one peer. 32 bytes, so that it never crosses a cache line.
///
/// All zero is a port that was never used.
#[repr(C, align(32))]
#[derive(Debug, Default)]
pub struct Port {
    /// See [`Owner`].
    owner: Word,
    /// Address of the client, its bytes as they lie.
    client: [Word; 2],
    /// The sequence number that the broker sends next in bits 0 to 31; above it the last
    /// acknowledgement that the broker sent. A late packet of the broker may still write it while
    /// the port rests: it says something only about a port that is claimed.
    progress: Word,
}

const _: () = assert!(size_of::<Port>() == 32);

/// Who has a port: bits of [`port_flags`] in bits 0 to 7, the backend's number in bits 8 to 31, the
/// client's port (its bytes as they lie) in bits 32 to 47. Of a port that rests: the tick at which
/// its rest began in bits 32 to 63.
///
/// All that decides who may use the port lies in this one word, so that it changes hands by one
/// compare-and-swap: between the XDP program on several CPUs and the controller, who wins it from
/// the flow that has it is the one who removes that flow's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner(pub u64);

/// Bits 0 to 7 of an [`Owner`].
pub mod port_flags {
    /// A flow owns the port.
    pub const CLAIMED: u64 = 1 << 0;
    /// No flow owns the port, but it must not be used yet.
    pub const RESTING: u64 = 1 << 1;
    /// The chosen broker has acknowledged the client's SYN.
    pub const SYN_ACKED: u64 = 1 << 2;
    /// The client has sent a FIN that fits.
    pub const CLIENT_FIN: u64 = 1 << 3;
    /// The broker has sent a FIN that fits.
    pub const BROKER_FIN: u64 = 1 << 4;
    /// The handshake is complete: the flow is in the connection table.
    pub const PROMOTED: u64 = 1 << 5;
    /// The controller has taken the port from its flow, whose entry it removes before the port may
    /// rest. A flag of its own: packets of the flow still set and clear the others.
    pub const TAKEN: u64 = 1 << 6;
    /// The client has sent a CONNECT that the broker has not answered yet.
    pub const AWAITS_CONNACK: u64 = 1 << 7;
}

impl Owner {
    /// Nobody, and nobody had it.
    pub const FREE: Self = Self(0);

    /// A flow from the client's big-endian `client_port` to `backend`.
    #[inline(always)]
    #[must_use]
    pub const fn claimed(backend: u32, client_port: [u8; 2]) -> Self {
        let port = u16::from_le_bytes(client_port) as u64;
        Self(port_flags::CLAIMED | (backend as u64) << 8 | port << 32)
    }

    /// Nobody, from tick `since` on.
    #[inline(always)]
    #[must_use]
    pub const fn resting(since: u32) -> Self {
        Self(port_flags::RESTING | (since as u64) << 32)
    }

    /// Whether any of `flags` is set.
    #[inline(always)]
    #[must_use]
    pub const fn has(self, flags: u64) -> bool {
        self.0 & flags != 0
    }

    /// The number of the backend.
    #[inline(always)]
    #[must_use]
    pub const fn backend(self) -> u32 {
        (self.0 as u32) >> 8
    }

    /// Big-endian port of the client.
    #[inline(always)]
    #[must_use]
    pub const fn client_port(self) -> [u8; 2] {
        ((self.0 >> 32) as u16).to_le_bytes()
    }

    /// The tick at which the rest of a resting port began.
    #[inline(always)]
    #[must_use]
    pub const fn resting_since(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Whether a new flow can have the port at tick `now`: nobody had it, or it has rested for more than
    /// `rest_ticks`.
    #[inline(always)]
    #[must_use]
    pub fn is_free(self, now: u32, rest_ticks: u32) -> bool {
        let rested =
            self.has(port_flags::RESTING) && ticks::age(now, self.resting_since()) > rest_ticks;
        self == Self::FREE || rested
    }

    /// Whether the port, which `client` was written to last, is that of the entry `flow` of `key`.
    #[inline(always)]
    #[must_use]
    pub fn is_of(self, client: Addr, key: &FlowKey, flow: &Flow) -> bool {
        self.has(port_flags::CLAIMED)
            && self.backend() == flow.backend()
            && self.client_port() == key.port
            && client == key.client
    }
}

/// What the broker has said, by its own segments. Host byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The sequence number that it sends next. Before its SYN-ACK nothing is known of that: then it
    /// is the acknowledgement of another connection that the broker still has with this port, and
    /// else the same as `acknowledged`.
    pub next: u32,
    /// Its last acknowledgement; before its SYN-ACK, the client's initial sequence number plus one.
    pub acknowledged: u32,
}

impl Progress {
    /// Before the broker has said anything to a client that sends `sequence` next.
    #[inline(always)]
    #[must_use]
    pub const fn begun(sequence: u32) -> Self {
        Self { next: sequence, acknowledged: sequence }
    }
}

impl Port {
    /// Who has the port.
    #[inline(always)]
    #[must_use]
    pub fn owner(&self) -> Owner {
        Owner(self.owner.load())
    }

    /// Moves the port from `before` to `after`; whether nobody else was faster.
    #[inline(always)]
    pub fn take(&self, before: Owner, after: Owner) -> bool {
        self.owner.exchange(before.0, after.0)
    }

    /// Moves the port from nobody to `owner` at tick `now`, if it has rested for more than
    /// `rest_ticks`; whether this CPU did it.
    #[inline(always)]
    pub fn claim(&self, owner: Owner, now: u32, rest_ticks: u32) -> bool {
        let before = self.owner();
        before.is_free(now, rest_ticks) && self.take(before, owner)
    }

    /// Frees a port that `owner` claimed and that no packet was sent from.
    #[inline(always)]
    pub fn give_back(&self, owner: Owner) {
        // A stray SYN-ACK may have left its mark meanwhile; nothing else changes such a port but
        // the controller, which lets it rest then.
        if !self.take(owner, Owner::FREE) {
            self.take(Owner(owner.0 | port_flags::SYN_ACKED), Owner::FREE);
        }
    }

    /// Lets a port rest from tick `now` on; only for who has taken it from everybody else.
    #[inline(always)]
    pub fn rest(&self, now: u32) {
        self.owner.store(Owner::resting(now).0);
    }

    /// Sets `flags` of the owner, and returns what it was before.
    #[inline(always)]
    pub fn set(&self, flags: u64) -> Owner {
        Owner(self.owner.set(flags))
    }

    /// Clears `flags` of the owner.
    #[inline(always)]
    pub fn clear(&self, flags: u64) {
        self.owner.clear(flags);
    }

    /// Address of the client.
    #[inline(always)]
    #[must_use]
    pub fn client(&self) -> Addr {
        Addr::from_words([self.client[0].load(), self.client[1].load()])
    }

    /// Writes the address of the client; only for who has claimed the port.
    #[inline(always)]
    pub fn set_client(&self, client: Addr) {
        let [first, second] = client.words();
        self.client[0].store(first);
        self.client[1].store(second);
    }

    /// What the broker has said.
    #[inline(always)]
    #[must_use]
    pub fn progress(&self) -> Progress {
        let word = self.progress.load();
        Progress { next: word as u32, acknowledged: (word >> 32) as u32 }
    }

    /// Notes what the broker has said.
    #[inline(always)]
    pub fn set_progress(&self, to: Progress) {
        self.progress.store(u64::from(to.next) | u64::from(to.acknowledged) << 32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_keeps_backend_and_port() {
        let owner = Owner::claimed(0xab_cdef, [0x12, 0x34]);
        assert_eq!(owner.backend(), 0xab_cdef);
        assert_eq!(owner.client_port(), [0x12, 0x34]);
        assert!(owner.has(port_flags::CLAIMED) && !owner.has(port_flags::RESTING));
    }

    #[test]
    fn a_port_is_taken_once() {
        let port = Port::default();
        let owner = Owner::claimed(1, [0, 1]);
        assert!(port.take(Owner::FREE, owner));
        assert!(!port.take(Owner::FREE, Owner::claimed(2, [0, 2])));
        assert_eq!(port.owner(), owner);
        port.rest(77);
        assert!(port.owner().has(port_flags::RESTING));
        assert_eq!(port.owner().resting_since(), 77);
    }

    #[test]
    fn a_late_packet_of_the_broker_does_not_shorten_the_rest() {
        let port = Port::default();
        port.rest(77);
        port.set_progress(Progress { next: 5, acknowledged: 6 });
        port.set(port_flags::BROKER_FIN);
        assert!(port.owner().has(port_flags::RESTING));
        assert_eq!(port.owner().resting_since(), 77);
    }

    #[test]
    fn a_port_is_given_back_only_by_who_claimed_it() {
        let (port, mine) = (Port::default(), Owner::claimed(1, [0, 1]));
        assert!(port.take(Owner::FREE, mine));
        port.give_back(Owner::claimed(1, [0, 2]));
        assert_eq!(port.owner(), mine);
        port.set(port_flags::SYN_ACKED);
        port.give_back(mine);
        assert_eq!(port.owner(), Owner::FREE);
    }
}

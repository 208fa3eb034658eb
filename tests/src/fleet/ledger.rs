//! What became of every message a client has published.

use std::collections::BTreeMap;
use std::time::Duration;

/// A message, as its payload says: number and time of sending since the start of the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub sequence: u64,
    pub sent: Duration,
}

impl Stamp {
    /// The smallest payload that carries it.
    pub const BYTES: usize = 16;

    /// The payload, padded with zeros to at least `size` bytes.
    pub fn encode(self, size: usize) -> Vec<u8> {
        let nanoseconds = u64::try_from(self.sent.as_nanos()).unwrap_or(u64::MAX);
        let mut payload = Vec::with_capacity(size.max(Self::BYTES));
        payload.extend(self.sequence.to_be_bytes());
        payload.extend(nanoseconds.to_be_bytes());
        payload.resize(size.max(Self::BYTES), 0);
        payload
    }

    /// Reads a payload; `None` if it is too short to be one of ours.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let (sequence, rest) = payload.split_first_chunk()?;
        let (sent, _) = rest.split_first_chunk()?;
        let sent = Duration::from_nanos(u64::from_be_bytes(*sent));
        Some(Self { sequence: u64::from_be_bytes(*sequence), sent })
    }
}

/// Totals of one client or of all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages published, each counted once however often it was sent.
    pub published: u64,
    /// Messages the broker acknowledged (at `QoS` 0: all).
    pub acknowledged: u64,
    /// Messages that came back.
    pub received: u64,
    /// Further copies of messages that had come back already.
    pub duplicated: u64,
    /// Messages the broker acknowledged that never came back.
    pub lost: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.published += other.published;
        self.acknowledged += other.acknowledged;
        self.received += other.received;
        self.duplicated += other.duplicated;
        self.lost += other.lost;
    }
}

#[derive(Debug, Clone, Copy)]
struct Outstanding {
    stamp: Stamp,
    acknowledged: bool,
    received: bool,
}

/// The messages of one client that are under way, and the totals of those that were.
#[derive(Debug, Default)]
pub struct Ledger {
    counts: Counts,
    next: u64,
    outstanding: BTreeMap<u64, Outstanding>,
}

impl Ledger {
    /// Enters a new message.
    pub fn publish(&mut self, now: Duration, acknowledged: bool) -> Stamp {
        let stamp = Stamp { sequence: self.next, sent: now };
        self.next += 1;
        self.counts.published += 1;
        self.counts.acknowledged += u64::from(acknowledged);
        self.outstanding
            .insert(stamp.sequence, Outstanding { stamp, acknowledged, received: false });
        stamp
    }

    /// The broker has acknowledged the message with this Packet Identifier.
    pub fn acknowledge(&mut self, packet_identifier: u16) {
        let found = self.outstanding.iter_mut().find(|(sequence, message)| {
            !message.acknowledged && self::packet_identifier(**sequence) == packet_identifier
        });
        if let Some((&sequence, message)) = found {
            message.acknowledged = true;
            self.counts.acknowledged += 1;
            self.settle(sequence);
        }
    }

    /// A message has come back; true the first time.
    pub fn receive(&mut self, sequence: u64) -> bool {
        match self.outstanding.get_mut(&sequence) {
            Some(message) if !message.received => {
                message.received = true;
                self.counts.received += 1;
                self.settle(sequence);
                true
            }
            _ => {
                self.counts.duplicated += 1;
                false
            }
        }
    }

    /// The session has ended: what the broker had acknowledged but not delivered is lost, the rest
    /// is to be sent again.
    pub fn end_session(&mut self) -> Vec<Stamp> {
        let counts = &mut self.counts;
        self.outstanding.retain(|_, message| {
            let over = message.acknowledged || message.received;
            counts.lost += u64::from(message.acknowledged && !message.received);
            !over
        });
        self.outstanding.values().map(|message| message.stamp).collect()
    }

    /// How many messages are under way.
    pub fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// The totals; a message that is still under way is not lost yet.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The totals at the end, when nothing more will come.
    pub fn final_counts(&self) -> Counts {
        let lost =
            self.outstanding.values().filter(|one| one.acknowledged && !one.received).count();
        Counts { lost: self.counts.lost + lost as u64, ..self.counts }
    }

    fn settle(&mut self, sequence: u64) {
        if self.outstanding.get(&sequence).is_some_and(|one| one.acknowledged && one.received) {
            self.outstanding.remove(&sequence);
        }
    }
}

/// The Packet Identifier of a message: 1 to 65,535, unique among those under way, because there are
/// never that many.
pub fn packet_identifier(sequence: u64) -> u16 {
    (sequence % u64::from(u16::MAX)) as u16 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_settled_by_its_acknowledgement_and_its_return_in_any_order() {
        let mut ledger = Ledger::default();
        let first = ledger.publish(Duration::ZERO, false).sequence;
        let second = ledger.publish(Duration::ZERO, false).sequence;
        ledger.acknowledge(packet_identifier(first));
        assert!(ledger.receive(first));
        assert!(ledger.receive(second));
        assert_eq!(ledger.outstanding(), 1);
        ledger.acknowledge(packet_identifier(second));
        assert_eq!(ledger.outstanding(), 0);
        let counts = ledger.final_counts();
        assert_eq!((counts.published, counts.acknowledged, counts.received), (2, 2, 2));
        assert_eq!((counts.duplicated, counts.lost), (0, 0));
    }

    #[test]
    fn an_acknowledged_message_that_never_returns_is_lost() {
        let mut ledger = Ledger::default();
        let first = ledger.publish(Duration::ZERO, false).sequence;
        ledger.publish(Duration::ZERO, false);
        ledger.acknowledge(packet_identifier(first));
        assert_eq!(ledger.counts().lost, 0);
        assert_eq!(ledger.final_counts().lost, 1);
    }

    #[test]
    fn after_a_disconnect_only_what_was_not_acknowledged_is_sent_again() {
        let mut ledger = Ledger::default();
        let first = ledger.publish(Duration::ZERO, false).sequence;
        let second = ledger.publish(Duration::ZERO, false);
        ledger.acknowledge(packet_identifier(first));
        assert_eq!(ledger.end_session(), [second]);
        assert_eq!(ledger.counts().lost, 1);
        assert!(ledger.receive(second.sequence));
        assert!(!ledger.receive(second.sequence), "the copy sent again");
        assert_eq!(ledger.counts().duplicated, 1);
    }

    #[test]
    fn a_stamp_survives_its_payload() {
        let stamp = Stamp { sequence: 7, sent: Duration::from_nanos(123_456_789) };
        assert_eq!(stamp.encode(64).len(), 64);
        assert_eq!(Stamp::decode(&stamp.encode(0)), Some(stamp));
        assert_eq!(Stamp::decode(b"short"), None);
    }
}

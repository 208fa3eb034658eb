//! Where brokers answer clients themselves: slots, and flows that disagree with them.

use std::net::SocketAddr;

use lb_common::verdict::Verdict;

use super::{
    Kind, Model, Way,
    hash::flow_hash,
    packet::{FIN, RST, Segment},
};
use crate::setup::{FLOWS_ROOM, LEARNED_ROOM, Mode, PENDING_ROOM, Slot};

/// A handshake that went to the owner of new flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    pub broker: u32,
    /// Initial sequence numbers of the first SYN and of the last one.
    pub first: u32,
    pub last: u32,
    pub seen: u32,
    pub promoted: bool,
}

/// A flow whose broker is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracked {
    pub broker: u32,
    pub seen: u32,
}

/// How far the first segment may lie behind a SYN.
const FIRST_DATA: u32 = 1 << 16;

pub fn slot_of(hash: u64) -> usize {
    ((u128::from(hash >> 32) * 65_537) >> 32) as usize
}

/// Where a segment goes.
struct Led {
    broker: Option<u32>,
    verdict: Verdict,
    /// Whether it is the first of a new connection.
    is_new: bool,
}

impl Led {
    const fn tracked(broker: Option<u32>) -> Self {
        Self { broker, verdict: Verdict::ToBackend, is_new: false }
    }
}

impl Model {
    pub(super) fn hash_of(&self, client: SocketAddr) -> u64 {
        flow_hash(self.setup.seed, client, self.setup.affinity, self.setup.vip())
    }

    pub(super) fn lead_client_directly(&mut self, segment: &Segment) -> Result<Way, Verdict> {
        let (client, hash) = (segment.source, self.hash_of(segment.source));
        let place = slot_of(hash);
        let slot = self.setup.slots[place];
        let led = if !slot.looks_up {
            Led { broker: slot.base, verdict: Verdict::ToBackend, is_new: segment.opens() }
        } else if segment.opens() {
            self.open(client, segment, slot)?
        } else {
            Led::tracked(self.follow(client, segment, slot, place)?)
        };
        let broker = self.serving(led.broker, segment)?;
        if led.is_new {
            self.count(broker).attempted += 1;
        }
        Ok(Way { verdict: led.verdict, ..self.direct_way(broker, hash) })
    }

    fn direct_way(&self, broker: u32, hash: u64) -> Way {
        let address = self.broker(broker).address.ip();
        let kind = if self.setup.mode == Mode::Dsr {
            Kind::Direct(address)
        } else {
            Kind::Tunnelled { broker: address, hash: hash as u32 }
        };
        Way { kind, broker, to_broker: true, verdict: Verdict::ToBackend }
    }

    /// The broker, if there is one that may get the segments of its flows.
    fn serving(&mut self, broker: Option<u32>, segment: &Segment) -> Result<u32, Verdict> {
        let Some(broker) = broker else {
            let opens = segment.opens();
            return Err(if opens { self.no_backend() } else { self.unknown_flow() });
        };
        if !self.broker(broker).serves {
            self.count(broker).refused += 1;
            return Err(Verdict::BackendGone);
        }
        Ok(broker)
    }

    const fn age(&self, seen: u32) -> u32 {
        self.now.saturating_sub(seen)
    }

    fn live(&self, flow: Option<&Tracked>) -> Option<u32> {
        flow.filter(|flow| self.age(flow.seen) <= self.setup.idle_ticks).map(|flow| flow.broker)
    }

    fn is_opening_over(&self, opening: &Opening) -> bool {
        self.age(opening.seen) > self.setup.pending_ticks.min(self.setup.idle_ticks)
    }

    /// Where a SYN goes. What is tracked is not moved by it.
    fn open(&mut self, client: SocketAddr, segment: &Segment, slot: Slot) -> Result<Led, Verdict> {
        let isn = segment.sequence;
        let tracked = |broker| Ok(Led::tracked(Some(broker)));
        if let Some(flow) = self.tracked.get(&client) {
            return self.live(Some(flow)).map_or(Err(Verdict::Contended), tracked);
        }
        if let Some(opening) = self.openings.get(&client).copied() {
            if !self.is_opening_over(&opening) && self.broker(opening.broker).accepts {
                if !opening.promoted {
                    let again = Opening { last: isn, seen: self.now, ..opening };
                    self.openings.insert(client, again);
                }
                return tracked(opening.broker);
            }
            self.openings.remove(&client);
        }
        let Some(current) = slot.current else { return Err(self.no_backend()) };
        let otherwise = self.live(self.learned.get(&client)).or(slot.base);
        let new = Led { broker: Some(current), verdict: Verdict::ToBackend, is_new: true };
        if otherwise == Some(current) {
            return Ok(new);
        }
        self.serving(Some(current), segment)?;
        if self.openings.len() >= PENDING_ROOM {
            return Ok(Led { broker: otherwise, verdict: Verdict::ToBackendUntracked, ..new });
        }
        let opening =
            Opening { broker: current, first: isn, last: isn, seen: self.now, promoted: false };
        self.openings.insert(client, opening);
        Ok(new)
    }

    /// Where any other segment goes.
    fn follow(
        &mut self,
        client: SocketAddr,
        segment: &Segment,
        slot: Slot,
        place: usize,
    ) -> Result<Option<u32>, Verdict> {
        let now = self.now;
        if let Some(broker) = self.live(self.tracked.get(&client)) {
            self.tracked.insert(client, Tracked { broker, seen: now });
            return Ok(Some(broker));
        }
        if let Some(broker) = self.complete(client, segment)? {
            return Ok(Some(broker));
        }
        if let Some(broker) = self.live(self.learned.get(&client)) {
            self.learned.insert(client, Tracked { broker, seen: now });
            return Ok(Some(broker));
        }
        if let (true, false, Some(base)) = (slot.learns, segment.has(FIN | RST), slot.base) {
            if self.learned.contains_key(&client) || self.learned.len() >= LEARNED_ROOM {
                self.missed.insert(place);
            } else {
                self.learned.insert(client, Tracked { broker: base, seen: now });
            }
        }
        Ok(slot.base)
    }

    /// The broker of a handshake that the segment completes, or has completed.
    fn complete(&mut self, client: SocketAddr, segment: &Segment) -> Result<Option<u32>, Verdict> {
        let Some(opening) = self.openings.get(&client).copied() else { return Ok(None) };
        let fits = |isn: u32| segment.sequence.wrapping_sub(isn) < FIRST_DATA;
        let is_its = opening.promoted || fits(opening.first) || fits(opening.last);
        if self.is_opening_over(&opening) || !is_its {
            return Ok(None);
        }
        if opening.promoted || !self.broker(opening.broker).serves {
            return Ok(Some(opening.broker));
        }
        let seen = Opening { seen: self.now, ..opening };
        self.openings.insert(client, seen);
        if self.tracked.contains_key(&client) {
            // One whose time is over.
            return Err(Verdict::Contended);
        }
        if self.tracked.len() >= FLOWS_ROOM {
            return Err(Verdict::FlowsFull);
        }
        self.tracked.insert(client, Tracked { broker: opening.broker, seen: self.now });
        self.openings.insert(client, Opening { promoted: true, ..seen });
        self.count(opening.broker).opened += 1;
        Ok(Some(opening.broker))
    }

    /// The way of an ICMP error about a segment that the broker sent to this client.
    pub(super) fn direct_way_of_error(&self, client: SocketAddr) -> Option<Way> {
        let hash = self.hash_of(client);
        let slot = self.setup.slots[slot_of(hash)];
        let known = || {
            let tracked = self.live(self.tracked.get(&client));
            tracked.or_else(|| self.live(self.learned.get(&client)))
        };
        let broker = slot.looks_up.then(known).flatten().or(slot.base)?;
        let way = Way { verdict: Verdict::IcmpToBackend, ..self.direct_way(broker, hash) };
        self.broker(broker).serves.then_some(way)
    }
}

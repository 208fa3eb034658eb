//! From a client's SYN to a connection, where brokers answer through the balancer.

use std::net::SocketAddr;

use lb_common::verdict::Verdict;

use super::{
    Choice, Model, NatFlow, Owner, Port,
    direct::slot_of,
    nat::{Claim, fits},
    packet::{ACK, RST, Segment},
};
use crate::setup::{FIRST_PORT, FLOWS_ROOM, PENDING_ROOM};

/// How far the acknowledgement that completes a handshake may lie ahead.
const FIRST_DATA: u32 = 4096;

impl Model {
    /// A SYN of no connection.
    pub(super) fn begin(
        &mut self,
        segment: &Segment,
        choice: &mut impl Choice,
    ) -> Result<NatFlow, Verdict> {
        let client = segment.source;
        if let Some(handshake) = self.handshakes.get(&client).copied() {
            let age = self.now.saturating_sub(handshake.seen);
            if self.broker(handshake.broker).accepts && age <= handshake.idle {
                return Ok(handshake);
            }
            self.rest(&handshake);
            self.handshakes.remove(&client);
        }
        let slot = self.setup.slots[slot_of(self.hash_of(client))];
        let Some(broker) = slot.current else { return Err(self.no_backend()) };
        let port = self.free_port(broker, client, choice)?;
        let claim = Claim {
            client,
            syn_acked: false,
            promoted: false,
            client_fin: false,
            broker_fin: false,
            awaits_connack: false,
        };
        let next = segment.next_sequence();
        let port_entry = Port { owner: Owner::Flow(claim), next, acknowledged: next };
        self.ports.insert((broker, port), port_entry);
        let (seen, idle) = (self.now, self.setup.pending_ticks);
        let handshake = NatFlow { broker, port, seen, idle, closed: false, unread: false };
        self.handshakes.insert(client, handshake);
        self.count(broker).attempted += 1;
        Ok(handshake)
    }

    /// The port that the program has taken, if it may take that.
    fn free_port(
        &self,
        broker: u32,
        client: SocketAddr,
        choice: &mut impl Choice,
    ) -> Result<u16, Verdict> {
        let is_free = |port: &u16| match self.ports.get(&(broker, *port)).map(|it| it.owner) {
            None => true,
            Some(Owner::RestsSince(since)) => {
                self.now.saturating_sub(since) > self.setup.rest_ticks
            }
            Some(Owner::Flow(_)) => false,
        };
        let all = FIRST_PORT..FIRST_PORT + self.setup.ports;
        let free = all.clone().filter(is_free).count();
        // It tries 32 times, and the same SYN, in the same tick, tries the same ones: where it was
        // led to a broker that takes nothing new, all of these may rest. With fewer than 16 in use
        // some of them is free.
        let may_fail = all.len() - free >= 16;
        if free == 0 || may_fail && choice.found_none() {
            return Err(Verdict::PortsExhausted);
        }
        if self.handshakes.len() >= PENDING_ROOM {
            return Err(Verdict::PendingFull);
        }
        let chosen = choice.port(client).filter(|port| all.contains(port) && is_free(port));
        // Any other choice is a difference: there is none to expect.
        chosen.ok_or(Verdict::Inconsistent)
    }

    /// A segment, not a SYN, of a handshake.
    pub(super) fn complete_handshake(
        &mut self,
        segment: &Segment,
        handshake: &NatFlow,
    ) -> Result<NatFlow, Verdict> {
        let client = segment.source;
        if !self.broker(handshake.broker).serves {
            self.count(handshake.broker).refused += 1;
            return Err(Verdict::BackendGone);
        }
        let (idle, now) = (self.setup.idle_ticks, self.now);
        let is_full = self.flows.len() >= FLOWS_ROOM;
        let (next, acknowledged, claim) = self.claim(handshake).ok_or(Verdict::Contended)?;
        if segment.has(RST) {
            let ends_remnant = !claim.syn_acked && segment.sequence == *next;
            let is_its = ends_remnant || fits(segment.sequence, *acknowledged);
            return if is_its { Ok(*handshake) } else { Err(Verdict::Unproven) };
        }
        let beyond = segment.acknowledgement.wrapping_sub(*next);
        if !claim.syn_acked || !segment.has(ACK) || beyond >= FIRST_DATA {
            return Err(Verdict::Unproven);
        }
        if is_full {
            return Err(Verdict::FlowsFull);
        }
        claim.promoted = true;
        let flow = NatFlow { seen: now, idle, unread: true, ..*handshake };
        self.handshakes.remove(&client);
        self.flows.insert(client, flow);
        self.count(flow.broker).opened += 1;
        Ok(flow)
    }
}

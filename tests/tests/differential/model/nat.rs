//! Where brokers answer through the balancer: flows with a source port.

use std::net::SocketAddr;

use lb_common::verdict::Verdict;

use super::{
    Choice, Kind, Model, Way,
    mqtt::{self, Answer, Greeting, KeepAlive},
    packet::{ACK, FIN, RST, SYN, Segment},
};
use crate::setup::{FIRST_PORT, Guard};

/// A handshake or a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatFlow {
    pub broker: u32,
    pub port: u16,
    pub seen: u32,
    pub idle: u32,
    pub closed: bool,
    /// Its client has sent no data yet.
    pub unread: bool,
}

/// A source port towards a broker.
#[derive(Clone, Copy, Debug)]
pub struct Port {
    pub owner: Owner,
    /// What the broker sends next, and has acknowledged.
    pub(super) next: u32,
    pub(super) acknowledged: u32,
}

#[derive(Clone, Copy, Debug)]
pub enum Owner {
    RestsSince(u32),
    Flow(Claim),
}

#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    pub(super) client: SocketAddr,
    pub(super) syn_acked: bool,
    pub(super) promoted: bool,
    pub(super) client_fin: bool,
    pub(super) broker_fin: bool,
    pub(super) awaits_connack: bool,
}

const WINDOW: u32 = 1 << 16;

/// Whether `sequence` lies in the window from `expected` on.
pub(super) const fn fits(sequence: u32, expected: u32) -> bool {
    sequence.wrapping_sub(expected) < WINDOW
}

const fn is_near(sequence: u32, expected: u32) -> bool {
    sequence.wrapping_sub(expected.wrapping_sub(WINDOW)) < 2 * WINDOW
}

impl Model {
    pub(super) fn lead_client(
        &mut self,
        frame: &[u8],
        segment: &Segment,
        choice: &mut impl Choice,
    ) -> Result<Way, Verdict> {
        let flow = self.flow_of(segment, choice)?;
        if flow.unread && !segment.data.is_empty() {
            self.read_greeting(frame, segment, &flow)?;
        }
        Ok(self.to_broker(&flow, Verdict::ToBackend))
    }

    fn to_broker(&self, flow: &NatFlow, verdict: Verdict) -> Way {
        let source = SocketAddr::new(self.setup.source(), flow.port);
        let destination = self.broker(flow.broker).address;
        let kind = Kind::Translated { source, destination };
        Way { kind, broker: flow.broker, to_broker: true, verdict }
    }

    fn to_client(&self, broker: u32, client: SocketAddr, verdict: Verdict) -> Way {
        let kind = Kind::Translated { source: self.setup.vip(), destination: client };
        Way { kind, broker, to_broker: false, verdict }
    }

    /// The ports that flows own, by peer and index.
    pub fn claimed_ports(&self) -> impl Iterator<Item = (u32, u32)> {
        let claimed = self.ports.iter().filter(|(_, port)| matches!(port.owner, Owner::Flow(_)));
        claimed.map(|((broker, port), _)| (32 * broker, u32::from(port - FIRST_PORT)))
    }

    /// The port of a flow with its claim.
    pub(super) fn claim(&mut self, flow: &NatFlow) -> Option<(&mut u32, &mut u32, &mut Claim)> {
        let Port { owner, next, acknowledged } = self.ports.get_mut(&(flow.broker, flow.port))?;
        let Owner::Flow(claim) = owner else { return None };
        Some((next, acknowledged, claim))
    }

    pub(super) fn rest(&mut self, flow: &NatFlow) {
        let now = self.now;
        if let Some(port) = self.ports.get_mut(&(flow.broker, flow.port)) {
            port.owner = Owner::RestsSince(now);
        }
    }

    fn flow_of(&mut self, segment: &Segment, choice: &mut impl Choice) -> Result<NatFlow, Verdict> {
        let client = segment.source;
        if let Some(flow) = self.flows.get(&client).copied() {
            let serves = self.broker(flow.broker).serves;
            if segment.opens() && (flow.closed || !serves) {
                self.forget(client);
                return self.begin(segment, choice);
            }
            if !serves {
                self.count(flow.broker).refused += 1;
                return Err(Verdict::BackendGone);
            }
            self.touch(client, segment);
            return Ok(flow);
        }
        if segment.opens() {
            return self.begin(segment, choice);
        }
        match self.handshakes.get(&client).copied() {
            Some(handshake) => self.complete_handshake(segment, &handshake),
            None => Err(self.unknown_flow()),
        }
    }

    /// Ends a connection at once.
    fn forget(&mut self, client: SocketAddr) {
        let Some(flow) = self.flows.remove(&client) else { return };
        self.rest(&flow);
        if !flow.closed {
            self.count_closed(flow.broker, 1);
        }
    }

    fn count_closed(&mut self, broker: u32, change: i64) {
        let closed = &mut self.count(broker).closed;
        *closed = closed.wrapping_add_signed(change);
    }

    /// A segment of the client in a connection.
    fn touch(&mut self, client: SocketAddr, segment: &Segment) {
        let now = self.now;
        let Some(flow) = self.flows.get_mut(&client) else { return };
        flow.seen = now;
        let flow = *flow;
        let Some((_, acknowledged, claim)) = self.claim(&flow) else { return };
        if segment.has(FIN | RST) {
            if !fits(segment.sequence, *acknowledged) {
                return;
            }
            claim.client_fin |= !segment.has(RST);
            if segment.has(RST) || claim.broker_fin {
                self.close(client);
            }
        } else if flow.closed && !segment.data.is_empty() {
            (claim.client_fin, claim.broker_fin) = (false, false);
            self.flows.insert(client, NatFlow { closed: false, ..flow });
            self.count_closed(flow.broker, -1);
        }
    }

    fn close(&mut self, client: SocketAddr) {
        let Some(flow) = self.flows.get_mut(&client).filter(|flow| !flow.closed) else { return };
        flow.closed = true;
        let broker = flow.broker;
        self.count_closed(broker, 1);
    }

    /// The first data of a client.
    fn read_greeting(
        &mut self,
        frame: &[u8],
        segment: &Segment,
        flow: &NatFlow,
    ) -> Result<(), Verdict> {
        let (client, now) = (segment.source, self.now);
        let (_, acknowledged, _) = self.claim(flow).ok_or(Verdict::Inconsistent)?;
        if *acknowledged != segment.sequence {
            return Ok(());
        }
        let greeting = mqtt::greeting(&frame[segment.data.clone()]);
        let passes = match greeting {
            Greeting::Connect(_) => self.setup.guard != Guard::Tls,
            Greeting::Tls => self.setup.guard != Guard::Mqtt,
            Greeting::Other => self.setup.guard == Guard::Off,
            Greeting::Beginning => true,
        };
        if !passes {
            self.forget(client);
            return Err(Verdict::Guarded);
        }
        let Some(entry) = self.flows.get_mut(&client) else { return Ok(()) };
        entry.unread = false;
        if let Greeting::Connect(keep_alive) = greeting {
            if keep_alive != 0 {
                (entry.idle, entry.seen) = (ticks_of(keep_alive), now);
            }
            if let Some((_, _, claim)) = self.claim(flow) {
                claim.awaits_connack = true;
            }
        }
        Ok(())
    }

    /// A segment of a broker to one of our ports.
    pub(super) fn lead_broker(
        &mut self,
        frame: &[u8],
        segment: &Segment,
        broker: u32,
    ) -> Result<Way, Verdict> {
        let number = segment.destination.port();
        let Some(Port { owner: Owner::Flow(claim), next, .. }) =
            self.ports.get(&(broker, number)).copied()
        else {
            return Err(Verdict::UnknownReply);
        };
        if !self.broker(broker).serves {
            self.count(broker).refused += 1;
            return Err(Verdict::BackendGone);
        }
        if segment.has(FIN | RST) && claim.promoted && is_near(segment.sequence, next) {
            if segment.has(RST) || claim.client_fin {
                self.close(claim.client);
            }
            if !segment.has(RST) {
                self.with_claim(broker, number, |claim| claim.broker_fin = true);
            }
        }
        if claim.awaits_connack && !segment.data.is_empty() && segment.sequence == next {
            self.with_claim(broker, number, |claim| claim.awaits_connack = false);
            self.read_connack(&frame[segment.data.clone()], broker, claim.client);
        }
        self.note_progress(segment, broker, number);
        Ok(self.to_client(broker, claim.client, Verdict::ToClient))
    }

    fn with_claim(&mut self, broker: u32, port: u16, change: impl FnOnce(&mut Claim)) {
        if let Some(Port { owner: Owner::Flow(claim), .. }) = self.ports.get_mut(&(broker, port)) {
            change(claim);
        }
    }

    fn read_connack(&mut self, data: &[u8], broker: u32, client: SocketAddr) {
        let (answer, keep_alive) = mqtt::connack(data);
        let counters = self.count(broker);
        *match answer {
            Answer::Accepted => &mut counters.connack_accepted,
            Answer::Refused => &mut counters.connack_refused,
            Answer::Unavailable => &mut counters.connack_unavailable,
            Answer::Other => &mut counters.connack_missing,
        } += 1;
        let idle = match keep_alive {
            KeepAlive::AsAsked => return,
            KeepAlive::Other(seconds @ 1..) => ticks_of(seconds),
            KeepAlive::Other(0) | KeepAlive::Unknown => self.setup.idle_ticks,
        };
        let now = self.now;
        if let Some(flow) = self.flows.get_mut(&client) {
            (flow.idle, flow.seen) = (idle, now);
        }
    }

    /// What the broker has sent and acknowledged.
    fn note_progress(&mut self, segment: &Segment, broker: u32, port: u16) {
        if segment.has(RST) || !segment.has(ACK) {
            return;
        }
        let Some(Port { owner: Owner::Flow(claim), next, acknowledged }) =
            self.ports.get_mut(&(broker, port))
        else {
            return;
        };
        let syn = segment.has(SYN);
        if syn || claim.promoted {
            (*next, *acknowledged) = (segment.next_sequence(), segment.acknowledgement);
        } else if !claim.syn_acked {
            *next = segment.acknowledgement;
        }
        claim.syn_acked |= syn;
    }

    /// The way of an ICMP error about a client's segment to that client.
    pub(super) fn way_of_error_to_client(&self, about: &Segment, broker: u32) -> Option<Way> {
        let port = self.ports.get(&(broker, about.destination.port()))?;
        let Owner::Flow(claim) = port.owner else { return None };
        let is_known = self.broker(broker).serves && is_near(about.sequence, port.acknowledged);
        is_known.then(|| self.to_client(broker, claim.client, Verdict::IcmpToClient))
    }

    /// The way of an ICMP error about a broker's segment to that broker.
    pub(super) fn way_of_error_to_broker(&self, about: &Segment) -> Option<Way> {
        let client = &about.source;
        let flow = self.flows.get(client).or_else(|| self.handshakes.get(client))?;
        let port = self.ports.get(&(flow.broker, flow.port))?;
        let Owner::Flow(claim) = port.owner else { return None };
        let is_known = claim.syn_acked
            && self.broker(flow.broker).serves
            && is_near(about.sequence, port.next);
        is_known.then(|| self.to_broker(flow, Verdict::IcmpToBackend))
    }
}

/// Longer than 1.5 times a Keep Alive, by half a minute.
fn ticks_of(keep_alive: u16) -> u32 {
    u32::from(keep_alive) + u32::from(keep_alive) / 2 + 30
}

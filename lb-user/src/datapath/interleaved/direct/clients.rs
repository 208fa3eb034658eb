//! Clients that open, speak, fall silent, close and come back from the same port, and what may
//! become of their connections.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use lb_common::{flow::FlowKey, ticks, verdict::Verdict};
use lb_ebpf::{
    host::{Frame, golden::Net},
    parse::tcp_flags::{ACK, FIN, RST, SYN},
};

use super::world::NET;

/// Further than a first segment may lie behind its SYN.
const FAR: u32 = 70_000;
/// From one attempt of a client to the next: more than it ever sends.
const NEXT_ATTEMPT: u32 = 0x0100_0000;
/// Where forged sequence numbers lie, from those of an attempt.
const FORGED: u32 = 0x0080_0000;

/// What clients see of the world around them.
pub(in crate::datapath) trait Around {
    /// The current tick.
    fn time(&self) -> u32;
    /// Ticks in which every client speaks.
    fn horizon(&self) -> u32;
    /// What has happened so far.
    fn events(&self) -> &Happened;
}

/// What has happened so far: for the judgement.
#[derive(Default)]
pub(in crate::datapath) struct Happened {
    /// Beginnings and ends of changes: odd while one is under way.
    pub changes: AtomicU64,
    /// Insertions that found no room.
    pub full: AtomicU64,
    /// Which brokers, as they came, were removed or given up.
    pub gone: Mutex<BTreeSet<u16>>,
    /// Removals by the collection, by key.
    pub collected: Mutex<BTreeMap<FlowKey, u64>>,
}

/// The clients of a run.
pub(in crate::datapath) struct Clients {
    pub all: Vec<Client>,
    pub tally: Tally,
}

/// What became of the connections of some runs.
#[derive(Clone, Debug, Default)]
pub(in crate::datapath) struct Tally {
    /// Connections that were established.
    pub established: u64,
    /// Segments of those.
    pub segments: u64,
    /// Handshakes that were lost, by what came between.
    pub lost: BTreeMap<&'static str, u64>,
}

impl Tally {
    pub(in crate::datapath) fn add(&mut self, other: &Self) {
        self.established += other.established;
        self.segments += other.segments;
        for (cause, lost) in &other.lost {
            *self.lost.entry(cause).or_default() += lost;
        }
    }
}

/// A client with one port.
pub(in crate::datapath) struct Client {
    pub source: (IpAddr, u16),
    pub key: FlowKey,
    phase: Phase,
    attempt: Attempt,
    /// SYNs that others sent in its name, and those that have arrived again.
    forged: u64,
}

/// How far a client is, and with which broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Closed,
    /// It has sent a SYN.
    Opening,
    /// It has taken the SYN-ACK of this broker and acknowledges it.
    Accepted(u16),
    /// The broker has got that.
    Established(u16),
    /// Another broker got it, or nobody: the client is about to give up.
    Refused,
}

/// One connection of a client.
#[derive(Clone, Debug, Default)]
struct Attempt {
    number: u32,
    /// Bytes sent.
    sent: u32,
    under_way: u32,
    syns_under_way: u32,
    /// Brokers that got its SYN.
    answered: Vec<u16>,
    /// The tick of its last segment that kept the connection alive.
    spoke: u32,
    before: Events,
}

/// What may cost a handshake if it happens meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Events {
    changes: u64,
    now: u32,
    full: u64,
    forged: u64,
    collected: u64,
}

/// A segment under way.
pub(in crate::datapath) struct Sent {
    client: usize,
    attempt: u32,
    kind: Kind,
    pub frame: Frame,
    /// The broker that is to get it.
    peer: Option<u16>,
}

impl Sent {
    const fn is_forged_syn(&self) -> bool {
        matches!(self.kind, Kind::Stray) && self.frame.flags == SYN
    }
}

impl fmt::Debug for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, attempt, kind, frame, peer } = self;
        let at = frame.sequence.wrapping_sub(attempt * NEXT_ATTEMPT);
        let flags = frame.flags;
        write!(f, "{kind:?} of {client}.{attempt} (flags {flags}, {at} behind) for {peer:?}")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Syn,
    Data,
    Fin,
    Rst,
    /// Of nobody, or of a connection that has ended.
    Stray,
}

impl Clients {
    pub(in crate::datapath) fn new(count: u8) -> Self {
        let client = |number: u8| {
            let source = (NET.client(number).0, Net::CLIENT_PORT);
            let key = FlowKey::new(source.0.into(), source.1.to_be_bytes(), Net::SERVICE);
            let (phase, attempt) = (Phase::Closed, Attempt::default());
            Client { source, key, phase, attempt, forged: 0 }
        };
        Self { all: (1..=count).map(client).collect(), tally: Tally::default() }
    }

    /// The next segment of anybody.
    pub(in crate::datapath) fn next(
        &mut self,
        around: &impl Around,
        random: &mut fastrand::Rng,
    ) -> Sent {
        let client = random.usize(..self.all.len());
        if random.u8(..5) == 0 {
            self.forge(client, random)
        } else {
            self.speak(client, around, random)
        }
    }

    /// Those that have a connection and must speak before this tick.
    pub(in crate::datapath) fn due(&self, around: &impl Around, tick: u32) -> Vec<usize> {
        let must = |client: &Client| {
            let is_open = matches!(client.phase, Phase::Established(_));
            is_open && ticks::age(tick, client.attempt.spoke) > around.horizon()
        };
        (0..self.all.len()).filter(|index| must(&self.all[*index])).collect()
    }

    /// Those that have a connection and have spoken within the horizon, and with which broker.
    pub(in crate::datapath) fn connected(
        &self,
        around: &impl Around,
    ) -> impl Iterator<Item = (FlowKey, u16)> {
        self.all.iter().filter_map(|client| {
            let Phase::Established(peer) = client.phase else { return None };
            let spoke = ticks::age(around.time(), client.attempt.spoke) <= around.horizon();
            spoke.then_some((client.key, peer))
        })
    }

    /// A segment that somebody else sends in the name of a client.
    fn forge(&mut self, client: usize, random: &mut fastrand::Rng) -> Sent {
        let flags = [SYN, SYN, ACK, ACK, FIN | ACK, RST][random.usize(..6)];
        let it = &mut self.all[client];
        // Acknowledgements never lie behind a forged SYN.
        let at = FORGED + FAR * random.u32(..20) * 2 + if flags == SYN { 0 } else { FAR };
        let sent = it.segment(client, Kind::Stray, flags, at);
        it.forged += u64::from(sent.is_forged_syn());
        sent
    }

    /// A segment of this client.
    pub(in crate::datapath) fn speak(
        &mut self,
        client: usize,
        around: &impl Around,
        random: &mut fastrand::Rng,
    ) -> Sent {
        let it = &mut self.all[client];
        if let Phase::Established(_) = it.phase
            && ticks::age(around.time(), it.attempt.spoke) > around.horizon()
        {
            // It was silent for too long, and nobody owes it anything.
            it.phase = Phase::Closed;
            return it.segment(client, Kind::Stray, ACK, it.attempt.sent);
        }
        match it.phase {
            Phase::Closed if it.attempt.number > 0 && random.u8(..6) == 0 => {
                it.segment(client, Kind::Stray, ACK, it.attempt.sent)
            }
            Phase::Refused if it.attempt.under_way > 0 => {
                it.segment(client, Kind::Stray, RST, it.attempt.sent)
            }
            Phase::Closed | Phase::Refused => it.open(client, around),
            Phase::Opening => {
                let attempt = &it.attempt;
                if attempt.syns_under_way == 0
                    && random.u8(..4) > 0
                    && let Some(peer) = random.choice(&attempt.answered)
                {
                    it.phase = Phase::Accepted(*peer);
                    return it.segment(client, Kind::Data, ACK, 0);
                }
                if attempt.under_way == 0 && random.u8(..6) == 0 {
                    return it.open(client, around);
                }
                it.segment(client, Kind::Syn, SYN, 0)
            }
            Phase::Accepted(_) if it.attempt.under_way == 0 && random.u8(..6) == 0 => {
                it.open(client, around)
            }
            Phase::Accepted(_) => it.segment(client, Kind::Data, ACK, 0),
            Phase::Established(_) => {
                it.attempt.sent += if random.bool() { 10 } else { FAR };
                let sent = it.attempt.sent;
                match random.u8(..16) {
                    0 => it.segment(client, Kind::Fin, FIN | ACK, sent),
                    1 => it.segment(client, Kind::Rst, RST, sent),
                    2 if it.attempt.under_way == 0 => it.open(client, around),
                    _ => it.segment(client, Kind::Data, ACK, sent),
                }
            }
        }
    }

    /// Takes note of where a segment went; panics if that must not be.
    pub(in crate::datapath) fn judge(
        &mut self,
        around: &impl Around,
        sent: &Sent,
        verdict: Verdict,
        to: Option<u16>,
    ) {
        let Self { all, tally } = self;
        let client = &mut all[sent.client];
        client.forged += u64::from(sent.is_forged_syn());
        if client.attempt.number != sent.attempt || sent.kind == Kind::Stray {
            return;
        }
        client.attempt.under_way -= 1;
        if sent.kind == Kind::Syn {
            client.attempt.syns_under_way -= 1;
            client.attempt.answered.extend(to.filter(|_| client.phase == Phase::Opening));
            return;
        }
        let Some(peer) = sent.peer else { return };
        let is_gone = around.events().gone.lock().unwrap().contains(&peer);
        match client.phase {
            _ if to == Some(peer) => client.arrived(sent.kind, peer, around.time(), tally),
            Phase::Closed => {}
            _ if is_gone => client.phase = Phase::Refused,
            Phase::Established(_) => {
                let Client { key, attempt, .. } = client;
                panic!(
                    "{:?} of {key:?} for broker {peer}: {verdict:?}, to {to:?}; {attempt:?}",
                    sent.kind
                );
            }
            // It comes again.
            Phase::Accepted(_) if matches!(verdict, Verdict::FlowsFull | Verdict::Contended) => {}
            Phase::Accepted(_) | Phase::Opening | Phase::Refused => {
                client.phase = Phase::Refused;
                let cause = client.attempt.before.cause(&client.events(around));
                let Some(cause) = cause else {
                    panic!("a handshake of {:?} was lost: {verdict:?}, to {to:?}", client.key)
                };
                *tally.lost.entry(cause).or_default() += 1;
            }
        }
    }
}

impl Client {
    /// The first SYN of another connection.
    fn open(&mut self, client: usize, around: &impl Around) -> Sent {
        let number = self.attempt.number + 1;
        let before = self.events(around);
        self.attempt = Attempt { number, before, ..Attempt::default() };
        self.phase = Phase::Opening;
        self.segment(client, Kind::Syn, SYN, 0)
    }

    /// A segment of the connection, `at` behind its SYN.
    fn segment(&mut self, client: usize, kind: Kind, flags: u8, at: u32) -> Sent {
        self.attempt.under_way += u32::from(kind != Kind::Stray);
        self.attempt.syns_under_way += u32::from(kind == Kind::Syn);
        let sequence = self.attempt.number * NEXT_ATTEMPT + at + u32::from(flags != SYN);
        let peer = match self.phase {
            Phase::Accepted(peer) | Phase::Established(peer) => Some(peer),
            _ => None,
        };
        let frame = Frame { sequence, ..Frame::new(self.source, NET.vip(), flags) };
        Sent { client, attempt: self.attempt.number, kind, frame, peer }
    }

    fn arrived(&mut self, kind: Kind, peer: u16, now: u32, tally: &mut Tally) {
        if self.phase == Phase::Accepted(peer) {
            self.phase = Phase::Established(peer);
            self.attempt.spoke = now;
            tally.established += 1;
        }
        tally.segments += 1;
        match kind {
            Kind::Data => self.attempt.spoke = now,
            Kind::Fin | Kind::Rst => self.phase = Phase::Closed,
            Kind::Syn | Kind::Stray => {}
        }
    }

    fn events(&self, around: &impl Around) -> Events {
        let events = around.events();
        Events {
            changes: events.changes.load(Relaxed),
            now: around.time(),
            full: events.full.load(Relaxed),
            forged: self.forged,
            collected: events.collected.lock().unwrap().get(&self.key).copied().unwrap_or(0),
        }
    }
}

impl Events {
    /// What came between these and `later`.
    fn cause(&self, later: &Self) -> Option<&'static str> {
        let causes = [
            (self.changes % 2 == 1 || self.changes != later.changes, "change"),
            (self.now != later.now, "time"),
            (self.full != later.full, "full table"),
            (self.forged != later.forged, "forged SYN"),
            (self.collected != later.collected, "collection"),
        ];
        causes.into_iter().find_map(|(is_it, name)| is_it.then_some(name))
    }
}

//! What happens in a run: segments on two CPUs, orders of the controller, and the clock.

use std::net::IpAddr;

use lb_ebpf::{
    host::{
        Frame,
        golden::{Family, Net},
    },
    parse::tcp_flags::{ACK, FIN, RST, SYN},
};

/// The network of all runs.
pub(super) const NET: Net = Net(Family::V4);
/// Source ports per broker: few, so that they are fought for.
pub(super) const PORTS: u16 = 3;

const CLIENT_ISN: u32 = 1000;
const BROKER_ISN: u32 = 50_000;
/// Further off than any window.
const FAR: u32 = 1 << 20;

/// What the controller does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    /// Collects everything whose time is over.
    Sweep,
    /// Collects handshakes only.
    SweepPending,
    /// Takes backend 1 out of the ring; its flows stay.
    Drain,
    /// Removes backend 1 and purges its flows.
    Remove,
}

/// A run: what was before, and what happens at the same time.
#[derive(Debug)]
pub(super) struct Script {
    /// How far the flow of each client has come.
    pub stages: Vec<Vec<Segment>>,
    /// Ticks that pass after that.
    pub pause: u32,
    /// Segments by CPU.
    pub cpus: [Vec<Segment>; 2],
    /// In this order.
    pub orders: Vec<Order>,
    /// Ticks by which the clock moves on, now and then.
    pub clock: Vec<u32>,
    /// Room of the two tables of flows.
    pub room: [usize; 2],
}

/// A segment of one of the conversations.
#[derive(Clone, Copy, Debug)]
pub(super) enum Segment {
    /// From a client, by number.
    Client(u8, Kind),
    /// From a broker, by number, to the source port with this index.
    Broker(u8, u16, Kind),
    /// From the broker that the client's last segment went to, to the port that it came from.
    Answer(Kind),
}

/// What a segment is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// Opens a connection; of a broker, accepts it.
    Syn,
    /// As `Syn`, with another sequence number: a new attempt, or a forgery.
    OtherSyn,
    /// Acknowledges, without data.
    Ack,
    /// Data.
    Data,
    /// A FIN where it is expected.
    Fin,
    /// A RST where it is expected.
    Rst,
    /// A RST that does not fit.
    ForgedRst,
}

use Kind::{Ack, Data, Fin, ForgedRst, OtherSyn, Rst, Syn};

/// A client: two share the address, two the port.
pub(super) fn client(number: u8) -> (IpAddr, u16) {
    match number {
        0 => NET.client(1),
        1 => NET.client(2),
        _ => (NET.client(1).0, Net::CLIENT_PORT + 1),
    }
}

/// A segment from a client.
pub(super) fn from_client(number: u8, kind: Kind) -> Frame {
    let (flags, sequence) = match kind {
        Syn => (SYN, CLIENT_ISN),
        OtherSyn => (SYN, CLIENT_ISN + 0x6000_0000),
        Ack | Data => (ACK, CLIENT_ISN + 1),
        Fin => (FIN | ACK, CLIENT_ISN + 1),
        Rst => (RST, CLIENT_ISN + 1),
        ForgedRst => (RST, CLIENT_ISN + FAR),
    };
    let payload = if matches!(kind, Data) { vec![0xc0, 0] } else { Vec::new() };
    let acknowledgement = if flags & ACK == 0 { 0 } else { BROKER_ISN + 1 };
    Frame { sequence, acknowledgement, payload, ..Frame::new(client(number), NET.vip(), flags) }
}

/// A segment from a broker to the source port with this index.
pub(super) fn from_broker(number: u8, index: u16, kind: Kind) -> Frame {
    let (flags, sequence) = match kind {
        Syn | OtherSyn => (SYN | ACK, BROKER_ISN),
        Ack | Data => (ACK, BROKER_ISN + 1),
        Fin => (FIN | ACK, BROKER_ISN + 1),
        Rst => (RST, BROKER_ISN + 1),
        ForgedRst => (RST, BROKER_ISN + FAR),
    };
    let source = (NET.source().0, Net::NAT_PORT + index);
    let acknowledgement = CLIENT_ISN + 1;
    Frame { sequence, acknowledgement, ..Frame::new(NET.broker(number), source, flags) }
}

impl Script {
    /// The script of a seed.
    pub(super) fn new(random: &mut fastrand::Rng) -> Self {
        let stages = (0..3).map(|client| stage(client, random)).collect();
        let cpus = [segments(random), segments(random)];
        let orders = (0..random.usize(..4)).map(|_| order(random)).collect();
        let clock = (0..random.usize(..3)).map(|_| ticks(random)).collect();
        let room = [random.usize(2..6), random.usize(2..6)];
        Self { stages, pause: ticks(random), cpus, orders, clock, room }
    }
}

/// How a flow came to where it is.
fn stage(client: u8, random: &mut fastrand::Rng) -> Vec<Segment> {
    let mut all = vec![
        Segment::Client(client, Syn),
        Segment::Answer(Syn),
        Segment::Client(client, Ack),
        Segment::Client(client, Fin),
        Segment::Answer(Fin),
    ];
    match random.u8(..8) {
        0 => all.truncate(0),
        1 => all.truncate(1),
        2 | 3 => all.truncate(2),
        4 => all.truncate(3),
        5 => all.truncate(4),
        6 => all[3] = Segment::Client(client, Rst),
        _ => {}
    }
    all
}

fn segments(random: &mut fastrand::Rng) -> Vec<Segment> {
    // Most runs are about one client: its segments meet.
    let favourite = random.u8(..3);
    let count = random.usize(1..6);
    let mut segment = || {
        let kinds = [Syn, Syn, OtherSyn, Ack, Ack, Data, Fin, Rst, ForgedRst];
        let kind = kinds[random.usize(..kinds.len())];
        match random.u8(..8) {
            0 => Segment::Client(random.u8(..3), kind),
            1 => Segment::Broker(random.u8(1..3), random.u16(..PORTS), kind),
            2 | 3 => Segment::Answer(kind),
            _ => Segment::Client(favourite, kind),
        }
    };
    (0..count).map(|_| segment()).collect()
}

fn order(random: &mut fastrand::Rng) -> Order {
    match random.u8(..8) {
        0..3 => Order::Sweep,
        3..6 => Order::SweepPending,
        6 => Order::Drain,
        _ => Order::Remove,
    }
}

/// Time enough for nothing, a handshake, a closed flow or a resting port, an idle flow.
fn ticks(random: &mut fastrand::Rng) -> u32 {
    [0, 1, 11, 61, 1001][random.usize(..5)]
}

//! Frames: mostly plausible ones of many kinds, some spoilt.

mod payload;
mod spoil;

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
};

use lb_common::verdict::Verdict;
use lb_ebpf::host::{
    Frame, Icmp, Random,
    golden::{Family, Net},
};

use crate::{
    model::packet::{self, ACK, FIN, IP, RST, SYN, be16, checksum, header_len, is_v6, put16},
    setup::{Mode, Setup},
};

/// What one client and its broker remember, so that most segments make sense.
#[derive(Clone, Copy)]
struct Talk {
    client: SocketAddr,
    /// Who answers through the balancer, and to whom.
    broker: Option<(SocketAddr, SocketAddr)>,
    client_next: u32,
    broker_next: u32,
}

pub struct Traffic {
    net: Net,
    mode: Mode,
    random: Random,
    talks: Vec<Talk>,
    /// Few clients meet each other's flows, many fill the tables.
    client_ports: u64,
    /// The rest of what was cut into fragments.
    queue: VecDeque<Vec<u8>>,
}

impl Traffic {
    pub fn new(setup: &Setup, mut random: Random) -> Self {
        let client_ports = random.pick(&[8, 60, 60, 400]);
        let (net, mode) = (Net(setup.family), setup.mode);
        Self { net, mode, random, talks: Vec::new(), client_ports, queue: VecDeque::new() }
    }

    /// The next frame.
    pub fn frame(&mut self) -> Vec<u8> {
        if self.random.below(3) > 0
            && let Some(fragment) = self.queue.pop_front()
        {
            return self.finished(fragment);
        }
        let frame = match self.random.below(32) {
            0..3 => self.error(),
            3 => self.other(),
            4..6 => return self.fragments(),
            6 => self.large(),
            _ => self.segment().bytes().0,
        };
        self.finished(frame)
    }

    fn finished(&mut self, mut frame: Vec<u8>) -> Vec<u8> {
        if self.random.below(5) == 0 {
            spoil::spoil(&mut frame, &mut self.random);
        }
        let tags: &[u8] = match self.random.below(24) {
            0 => &[0x81, 0, 0, 7],
            1 => &[0x88, 0xa8, 0x20, 5, 0x81, 0, 0xe0, 9],
            2 => &[0x81, 0, 0, 7, 0x81, 0, 0, 7, 0x81, 0, 0, 7],
            _ => &[],
        };
        // The kernel runs no program on less than an Ethernet header.
        let at = 12.min(frame.len());
        let mut frame = [&frame[..at], tags, &frame[at..]].concat();
        frame.resize(frame.len().max(IP), 0);
        frame
    }

    fn client(&mut self) -> SocketAddr {
        let address = match self.random.below(40) {
            // Nobody knows the way back to these.
            0 => self.net.silent().0,
            1 => self.net.unreachable().0,
            number => self.net.client(1 + (number % 9) as u8).0,
        };
        SocketAddr::new(address, 20_000 + self.random.below(self.client_ports) as u16)
    }

    fn opening(&mut self) -> Frame {
        let client = self.client();
        let options = vec![1; 4 * self.random.below(4) as usize];
        let sequence = self.random.next() as u32;
        Frame { sequence, options, ..self.new_frame(client, self.vip(), SYN) }
    }

    fn vip(&self) -> SocketAddr {
        let (address, port) = self.net.vip();
        SocketAddr::new(address, port)
    }

    fn new_frame(&mut self, from: SocketAddr, to: SocketAddr, flags: u8) -> Frame {
        Frame {
            ttl: self.random.pick(&[64, 64, 64, 64, 64, 64, 64, 255, 2, 1, 0]),
            tos: self.random.pick(&[0, 0, 0, 0x10, 0xb9]),
            label: self.random.next() as u16,
            window: self.random.next() as u16,
            ..Frame::new((from.ip(), from.port()), (to.ip(), to.port()), flags)
        }
    }

    /// A segment that somebody may send now.
    fn segment(&mut self) -> Frame {
        if self.talks.is_empty() || self.random.below(4) == 0 {
            return self.opening();
        }
        let talk = self.random.pick(&self.talks);
        let flags =
            [ACK, ACK, ACK, ACK, ACK, SYN | ACK, FIN | ACK, RST, RST | ACK, SYN, 0, SYN | FIN];
        let flags = self.random.pick(&flags);
        let jitter =
            self.random.pick(&[0, 0, 0, 0, 0, 0, 1, 70_000, 65_535, 0x8000_0000, u32::MAX]);
        if let Some((broker, source)) = talk.broker
            && self.random.below(2) == 0
        {
            let payload = payload::of_broker(&mut self.random);
            let sequence = talk.broker_next.wrapping_add(jitter);
            let acknowledgement = talk.client_next;
            // Mostly the handshake goes on.
            let flags = if self.random.below(4) == 0 { SYN | ACK } else { flags };
            let payload = if flags & SYN == 0 { payload } else { Vec::new() };
            let frame = self.new_frame(broker, source, flags);
            return Frame { sequence, acknowledgement, payload, ..frame };
        }
        let sequence = talk.client_next.wrapping_add(jitter);
        let acknowledgement = talk.broker_next;
        let payload = payload::of_client(&mut self.random);
        let frame = self.new_frame(talk.client, self.vip(), flags);
        Frame { sequence, acknowledgement, payload, ..frame }
    }

    /// A segment about as large as what links take, or larger.
    fn large(&mut self) -> Vec<u8> {
        let mut frame = self.segment();
        frame.payload = vec![0x5a; 1380 + self.random.below(160) as usize];
        self.may_be_cut(frame.bytes().0)
    }

    /// Mostly as it is; else, in IPv4, without "don't fragment".
    fn may_be_cut(&mut self, mut frame: Vec<u8>) -> Vec<u8> {
        if self.random.below(4) == 0 && !is_v6(&frame) {
            frame[IP + 6] = 0;
            mend_header(&mut frame);
        }
        frame
    }

    /// An error about a segment of some talk, from anybody.
    fn error(&mut self) -> Vec<u8> {
        let answer = self.segment();
        let mut quoted = Frame::new(answer.destination, answer.source, ACK);
        quoted.sequence = answer.acknowledgement;
        if self.random.below(2) == 0 {
            // As the broker got a client's segment, or the client a broker's.
            quoted.payload = vec![7; 9];
        }
        let v6 = self.net.0 == Family::V6;
        let kinds: &[[u8; 2]] = if v6 {
            &[[1, 3], [2, 0], [3, 0], [4, 1], [128, 0], [0, 0]]
        } else {
            &[[3, 4], [3, 1], [11, 0], [12, 0], [8, 0], [5, 1]]
        };
        let mut body = quoted.bytes().0.split_off(IP);
        if self.random.below(2) == 0 {
            body.truncate(header_len(v6) + 8 + self.random.below(14) as usize);
        }
        // To whoever sent what is quoted, but for some.
        let to = if self.random.below(16) == 0 { answer.source.0 } else { quoted.source.0 };
        let from = self.net.client(9).0;
        let mut icmp = Icmp::new(from, to, self.random.pick(kinds), body);
        icmp.word = (self.random.next() as u32).to_be_bytes();
        icmp.ttl = self.random.pick(&[64, 64, 64, 2, 1]);
        icmp.tos = self.random.pick(&[0, 0xc0]);
        icmp.bytes().0
    }

    /// What is no TCP, or not to us.
    fn other(&mut self) -> Vec<u8> {
        let client = self.client();
        let to: [(IpAddr, u16); 4] =
            [(self.vip().ip(), 80), self.net.source(), self.net.broker(1), self.net.client(2)];
        let to = self.random.pick(&to);
        let flags = self.random.pick(&[SYN, ACK]);
        let frame = self.new_frame(client, SocketAddr::new(to.0, to.1), flags);
        let mut frame = frame.bytes().0;
        match self.random.below(4) {
            0 => frame[12..14].copy_from_slice(&[0x08, 0x06]),
            1 => {
                let protocol = self.random.pick(&[17, 0, 1, 58, 43, 44, 50, 60, 4, 41]);
                let at = if is_v6(&frame) { 6 } else { 9 };
                frame[IP + at] = protocol;
                mend_header(&mut frame);
            }
            2 if !is_v6(&frame) => {
                frame[IP] = 0x46;
                mend_header(&mut frame);
            }
            _ => {}
        }
        frame
    }

    /// Cuts a segment into fragments: the first one now, the others later, not always in order.
    fn fragments(&mut self) -> Vec<u8> {
        let mut segment = self.segment();
        segment.payload.extend([3; 48]);
        let whole = segment.bytes().0;
        let v6 = is_v6(&whole);
        let id = self.random.below(24) as u16;
        let packet = &whole[IP + header_len(v6)..];
        let pieces: Vec<&[u8]> = packet.chunks(40).collect();
        let last = pieces.len() - 1;
        for (number, piece) in pieces.iter().enumerate() {
            let place = (number as u16 * 5) << 3 | u16::from(number < last);
            let piece = fragment(&whole, piece, place, id);
            self.queue.push_back(piece);
        }
        match self.random.below(4) {
            0 => self.queue.rotate_left(1),
            1 => drop(self.queue.pop_back()),
            _ => {}
        }
        let first = self.queue.pop_front().unwrap_or(whole);
        self.finished(first)
    }

    /// Learns from what was sent where.
    pub fn note(&mut self, input: &[u8], output: &[u8], verdict: Verdict) {
        let Ok(before) = packet::parse(input) else { return };
        let goes = matches!(verdict, Verdict::ToBackend | Verdict::ToBackendUntracked);
        if goes && before.opens() {
            if self.talks.len() > 300 {
                let drop = self.random.below(300) as usize;
                self.talks.swap_remove(drop);
            }
            let after = packet::parse(output).ok().filter(|_| self.mode == Mode::Nat);
            self.talks.push(Talk {
                client: before.source,
                broker: after.map(|after| (after.destination, after.source)),
                client_next: before.next_sequence(),
                broker_next: self.random.next() as u32,
            });
        }
        if verdict == Verdict::ToClient {
            let is_its = |talk: &&mut Talk| {
                talk.broker.is_some_and(|(_, source)| source == before.destination)
            };
            for talk in self.talks.iter_mut().filter(is_its) {
                talk.broker_next = before.next_sequence();
            }
        }
    }
}

/// One fragment of a frame; `place` is its offset and whether more follow, as in IPv6.
fn fragment(whole: &[u8], piece: &[u8], place: u16, id: u16) -> Vec<u8> {
    if is_v6(whole) {
        let mut frame = whole[..IP + 40].to_vec();
        put16(&mut frame, IP + 4, piece.len() as u16 + 8);
        frame[IP + 6] = 44;
        frame.extend([6, 0]);
        frame.extend(place.to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(id.to_be_bytes());
        return [&frame, piece].concat();
    }
    let mut frame = [&whole[..IP + 20], piece].concat();
    put16(&mut frame, IP + 2, piece.len() as u16 + 20);
    put16(&mut frame, IP + 4, id);
    put16(&mut frame, IP + 6, place >> 3 | (place & 1) << 13);
    mend_header(&mut frame);
    frame
}

/// Makes the checksum of an IPv4 header right.
fn mend_header(frame: &mut [u8]) {
    if !is_v6(frame) && frame.len() >= IP + 20 && be16(frame, 12) == 0x0800 {
        put16(frame, IP + 10, 0);
        let sum = checksum(&[&frame[IP..IP + 20]]);
        put16(frame, IP + 10, sum);
    }
}

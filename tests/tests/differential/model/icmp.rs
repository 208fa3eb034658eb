//! ICMP errors that pass through, and those that are made here.

use std::net::SocketAddr;

use lb_common::verdict::Verdict;

use super::{
    Fate, Model, Way, answer_header,
    packet::{
        IP, Segment, address, addresses_at, be16, be32, carried, checksum, header_len,
        is_header_intact, is_v6, octets, put_addresses, put16, ttl_at,
    },
};
use crate::setup::Mode;

impl Model {
    /// Of a frame that is not TCP.
    pub(super) fn icmp(&mut self, frame: &[u8]) -> Fate {
        let about = match quoted(frame) {
            Ok(about) => about,
            Err(verdict) => return (verdict, frame.to_vec()),
        };
        let Some(way) = self.way_of_error(&about) else {
            return (Verdict::IcmpUnrelated, frame.to_vec());
        };
        let len = about.len;
        let write = |out: &mut [u8], from, to| write_error(out, len, from, to);
        let (verdict, _, out) = self.send(frame, &about, &way, write);
        (verdict, out)
    }

    fn way_of_error(&self, about: &Segment) -> Option<Way> {
        if let Some(broker) = self.peer(about) {
            return self.way_of_error_to_client(about, broker);
        }
        if about.destination != self.setup.vip() {
            None
        } else if self.setup.mode == Mode::Nat {
            self.way_of_error_to_broker(about)
        } else {
            self.direct_way_of_error(about.source)
        }
    }
}

/// What would answer the segment that an error quotes.
fn quoted(frame: &[u8]) -> Result<Segment, Verdict> {
    let v6 = is_v6(frame);
    let header = header_len(v6);
    let (icmp, quote) = (IP + header, IP + header + 8);
    let tcp = quote + header;
    if frame.len() < icmp + 2 {
        return Err(Verdict::NotTcp);
    }
    let is_error = if v6 {
        frame[IP + 6] == 58 && (1..=4).contains(&frame[icmp])
    } else {
        frame[IP] == 0x45
            && frame[IP + 9] == 1
            && matches!(be16(frame, IP + 6) & 0x3fff, 0)
            && is_header_intact(&frame[IP..icmp])
            && [3, 11, 12].contains(&frame[icmp])
    };
    if !is_error {
        return Err(Verdict::NotTcp);
    }
    if frame.len() < tcp + 8 {
        return Err(Verdict::IcmpUnrelated);
    }
    let is_tcp = if v6 {
        frame[quote] >> 4 == 6 && frame[quote + 6] == 6
    } else {
        frame[quote] == 0x45
            && frame[quote + 9] == 6
            && matches!(be16(frame, quote + 6) & 0x1fff, 0)
    };
    let len = if v6 { usize::from(be16(frame, IP + 4)) + 40 } else { be16(frame, IP + 2).into() };
    let [_, receiver] = addresses_at(IP, v6).map(|at| address(frame, at, v6));
    let [source, destination] = addresses_at(quote, v6).map(|at| address(frame, at, v6));
    if !is_tcp || source != receiver || len < tcp + 8 - IP || frame.len() < IP + len {
        return Err(Verdict::IcmpUnrelated);
    }
    Ok(Segment {
        source: SocketAddr::new(destination, be16(frame, tcp + 2)),
        destination: SocketAddr::new(source, be16(frame, tcp)),
        sequence: be32(frame, tcp + 4),
        acknowledgement: 0,
        flags: 0,
        len,
        ttl: frame[ttl_at(IP, v6)],
        data: 0..0,
    })
}

/// The packet that an error of `len` bytes quotes, as its sender knows it, and the error's checksum.
fn write_error(out: &mut [u8], len: usize, source: SocketAddr, destination: SocketAddr) {
    let before = out.to_vec();
    let v6 = is_v6(out);
    let header = header_len(v6);
    let (icmp, quote) = (IP + header, IP + header + 8);
    let tcp = quote + header;
    let outer = [octets(source.ip()), octets(destination.ip())].concat();
    let [at, _] = addresses_at(IP, v6);
    let outer_before = &before[at..at + outer.len()];

    put_addresses(out, quote, destination.ip(), source.ip());
    put16(out, tcp, destination.port());
    put16(out, tcp + 2, source.port());
    let [at, _] = addresses_at(quote, v6);
    let addresses = at..at + outer.len();
    if !v6 {
        let changed = [(&before[addresses.clone()], &out[addresses.clone()])];
        let sum = carried(be16(&before, quote + 10), &changed);
        put16(out, quote + 10, sum);
    }
    if len >= tcp + 18 - IP {
        let ports = tcp..tcp + 4;
        let changed =
            [(&before[addresses.clone()], &out[addresses]), (&before[ports.clone()], &out[ports])];
        let sum = carried(be16(&before, tcp + 16), &changed);
        put16(out, tcp + 16, sum);
    }
    let pseudo: (&[u8], &[u8]) = if v6 { (outer_before, &outer) } else { (&[], &[]) };
    let message = icmp + 4..IP + len;
    let changed = [pseudo, (&before[message.clone()], &out[message])];
    let sum = carried(be16(&before, icmp + 2), &changed);
    put16(out, icmp + 2, sum);
}

/// The answer to a segment that is too big for the way on, where `mtu` bytes would fit.
pub fn too_big(frame: &[u8], mtu: usize) -> Fate {
    let v6 = is_v6(frame);
    let header = header_len(v6);
    let may_be_cut = !v6 && frame[IP + 6] & 0x40 == 0;
    if may_be_cut || mtu < if v6 { 1280 } else { 68 } {
        return (Verdict::TooBig, frame.to_vec());
    }
    let quote = &frame[IP..IP + header + if v6 { 20 } else { 8 }];
    let mut message = vec![0; 8];
    (message[0], message[1]) = if v6 { (2, 0) } else { (3, 4) };
    put16(&mut message, 6, mtu as u16);
    message.extend(quote);
    let [from, to] = addresses_at(IP, v6).map(|at| address(frame, at, v6));
    let len = message.len() as u16;
    let pseudo = [&octets(from)[..], &octets(to), &len.to_be_bytes(), &[0, 58]].concat();
    let sum = checksum(&[if v6 { &pseudo } else { &[] }, &message]);
    put16(&mut message, 2, sum);
    let ip = answer_header(frame, if v6 { 58 } else { 1 }, len, to, from);
    let out = [&frame[6..12], &frame[..6], &frame[12..IP], &ip, &message].concat();
    (Verdict::TooBigAnswered, out)
}

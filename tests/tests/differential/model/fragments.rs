//! Fragments: the first one is a segment, and the others go where it went.

use std::{collections::BTreeMap, net::IpAddr};

use lb_common::verdict::{Action, Verdict};

use super::{
    Choice, Fate, Model,
    network::OUR_MAC,
    packet::{
        IP, address, addresses_at, be16, be32, carried, checksum, header_len, hop,
        is_header_intact, is_v6, parse, put_addresses, put16, ttl_at,
    },
    wrap,
};

/// By source, destination and identification.
pub type Fragments = BTreeMap<(IpAddr, IpAddr, u32), Followed>;

/// Where a first fragment went.
#[derive(Clone, Copy, Debug)]
pub struct Followed {
    next_hop: [u8; 6],
    source: IpAddr,
    destination: IpAddr,
    /// Flow label of the packet around it, if it is in one.
    tunnelled: Option<u32>,
}

impl Model {
    pub(super) fn fragment(&mut self, frame: &[u8], choice: &mut impl Choice) -> Fate {
        let v6 = is_v6(frame);
        let Some((id, offset)) = read(frame, v6) else {
            return (Verdict::Fragment, frame.to_vec());
        };
        let [source, destination] = addresses_at(IP, v6).map(|at| address(frame, at, v6));
        let key = (source, destination, id);
        if offset != 0 {
            return match self.fragments.get(&key).copied() {
                Some(to) => follow(frame, v6, to),
                None => (Verdict::Fragment, frame.to_vec()),
            };
        }
        let whole = make_whole(frame, v6);
        let (verdict, _, out) = match parse(&whole) {
            Ok(segment) => self.segment(&whole, &segment, choice),
            Err(verdict) => (verdict, 0, whole.clone()),
        };
        if verdict.action() == Action::Reply {
            return (verdict, out);
        }
        let outer = out.len() - whole.len();
        let out = make_fragment(frame, v6, &out, outer);
        if verdict.action() == Action::Forward {
            self.fragments.insert(key, followed(&out, outer > 0));
        }
        (verdict, out)
    }
}

/// Identification and offset of a fragment that something can be made of.
fn read(frame: &[u8], v6: bool) -> Option<(u32, u16)> {
    let header = header_len(v6);
    if v6 {
        let is_whole = frame.len() >= IP + header + 8
            && frame[IP + header] == 6
            && be16(frame, IP + 4) > 8
            && frame.len() >= IP + header + usize::from(be16(frame, IP + 4));
        is_whole.then(|| (be32(frame, IP + header + 4), be16(frame, IP + header + 2) >> 3))
    } else {
        let len = usize::from(be16(frame, IP + 2));
        let is_whole = is_header_intact(&frame[IP..IP + header]);
        (is_whole && len > header && frame.len() >= IP + len)
            .then(|| (be16(frame, IP + 4).into(), be16(frame, IP + 6) & 0x1fff))
    }
}

fn make_whole(frame: &[u8], v6: bool) -> Vec<u8> {
    if v6 {
        let mut whole = [&frame[..IP + 40], &frame[IP + 48..]].concat();
        put16(&mut whole, IP + 4, be16(frame, IP + 4) - 8);
        whole[IP + 6] = 6;
        return whole;
    }
    let mut whole = frame.to_vec();
    put16(&mut whole, IP + 6, be16(frame, IP + 6) & 0xc000);
    let changes = [(&frame[IP + 6..IP + 8], &whole[IP + 6..IP + 8])];
    let sum = carried(be16(frame, IP + 10), &changes);
    put16(&mut whole, IP + 10, sum);
    whole
}

/// `out` is what became of the fragment `frame` as a whole segment, behind an outer header of
/// `outer` bytes.
fn make_fragment(frame: &[u8], v6: bool, out: &[u8], outer: usize) -> Vec<u8> {
    let inner = IP + outer;
    if !v6 {
        let mut out = out.to_vec();
        let header =
            |bytes: &[u8], at: usize| [&bytes[at..at + 10], &bytes[at + 12..at + 20]].concat();
        out[inner + 6..inner + 8].copy_from_slice(&frame[IP + 6..IP + 8]);
        let (before, after) = (header(frame, IP), header(&out, inner));
        let sum = be16(frame, IP + 10);
        let sum = if before == after { sum } else { carried(sum, &[(&before, &after)]) };
        put16(&mut out, inner + 10, sum);
        return out;
    }
    let header = &frame[IP + 40..IP + 48];
    let mut out = [&out[..inner + 40], header, &out[inner + 40..]].concat();
    let longer = |out: &mut [u8], at: usize| put16(out, at, be16(out, at) + 8);
    longer(&mut out, inner + 4);
    out[inner + 6] = 44;
    match outer {
        20 => {
            longer(&mut out, IP + 2);
            put16(&mut out, IP + 10, 0);
            let sum = checksum(&[&out[IP..IP + 20]]);
            put16(&mut out, IP + 10, sum);
        }
        40 => longer(&mut out, IP + 4),
        _ => {}
    }
    out
}

fn followed(out: &[u8], is_tunnelled: bool) -> Followed {
    let v6 = is_v6(out);
    let [source, destination] = addresses_at(IP, v6).map(|at| address(out, at, v6));
    let label = if v6 { be32(out, IP) & 0xf_ffff } else { 0 };
    let next_hop = out[..6].try_into().expect("6 bytes");
    Followed { next_hop, source, destination, tunnelled: is_tunnelled.then_some(label) }
}

fn follow(frame: &[u8], v6: bool, to: Followed) -> Fate {
    let mut out = frame.to_vec();
    if frame[ttl_at(IP, v6)] <= 1 {
        return (Verdict::TtlExpired, out);
    }
    out[..6].copy_from_slice(&to.next_hop);
    out[6..12].copy_from_slice(&OUR_MAC);
    if let Some(label) = to.tunnelled {
        hop(&mut out, IP, &frame[IP..]);
        let len =
            if v6 { usize::from(be16(frame, IP + 4)) + 40 } else { be16(frame, IP + 2).into() };
        out = wrap(&out, len, to.source, to.destination, label);
    } else {
        put_addresses(&mut out, IP, to.source, to.destination);
        hop(&mut out, IP, &frame[IP..]);
    }
    (Verdict::FragmentFollowed, out)
}

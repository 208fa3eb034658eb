//! The segments of the conversations.

use std::vec;

use super::Net;
use crate::{
    host::Frame,
    parse::tcp_flags::{ACK, FIN, RST, SYN},
};

const CLIENT_ISN: u32 = 5_000;
const BROKER_ISN: u32 = 0xffff_ff00;

pub(super) fn syn(net: Net) -> Frame {
    // MSS 1460, SACK permitted, window scale 7, as Linux sends them (without time stamps).
    let options = vec![2, 4, 5, 0xb4, 1, 1, 4, 2, 1, 3, 3, 7];
    Frame { sequence: CLIENT_ISN, options, ..net.from_client(SYN) }
}

pub(super) fn syn_ack(net: Net) -> Frame {
    Frame {
        sequence: BROKER_ISN,
        acknowledgement: CLIENT_ISN + 1,
        options: vec![2, 4, 5, 0xb4],
        ..net.from_broker(SYN | ACK)
    }
}

/// Segments after the handshake; positions are relative to the initial numbers.
pub(super) fn client(net: Net, flags: u8, at: u32, acknowledged: u32, payload: &[u8]) -> Frame {
    Frame {
        sequence: CLIENT_ISN + 1 + at,
        acknowledgement: BROKER_ISN.wrapping_add(1 + acknowledged),
        payload: payload.into(),
        ..net.from_client(flags)
    }
}

pub(super) fn broker(net: Net, flags: u8, at: u32, acknowledged: u32, payload: &[u8]) -> Frame {
    Frame {
        sequence: BROKER_ISN.wrapping_add(1 + at),
        acknowledgement: CLIENT_ISN + 1 + acknowledged,
        payload: payload.into(),
        ..net.from_broker(flags)
    }
}

pub(super) fn ack(net: Net) -> Frame {
    client(net, ACK, 0, 0, &[])
}

/// The RST that answers `frame` (RFC 9293, section 3.10.7.1).
pub(super) fn answer(frame: &Frame) -> Frame {
    let acknowledges = frame.flags & ACK != 0;
    let length = frame.payload.len() as u32
        + u32::from(frame.flags & SYN != 0)
        + u32::from(frame.flags & FIN != 0);
    let v6 = frame.source.0.is_ipv6();
    Frame {
        ethernet: (frame.ethernet.1, frame.ethernet.0),
        sequence: if acknowledges { frame.acknowledgement } else { 0 },
        acknowledgement: if acknowledges { 0 } else { frame.sequence + length },
        ttl: 64,
        window: 0,
        // The flow label stays; an IPv4 packet that may not be fragmented needs no identification.
        label: if v6 { frame.label } else { 0 },
        tos: if v6 { frame.tos } else { 0 },
        ..Frame::new(frame.destination, frame.source, if acknowledges { RST } else { RST | ACK })
    }
}

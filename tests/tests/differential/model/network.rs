//! The network that the program in the kernel looks its routes up in, as its makers set it up.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x0a];
const GATEWAY_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x0c];
const BROKER_MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 0x0b], [2, 0, 0, 0, 0, 0x1b]];
const MTU: usize = 1500;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    Via { mac: [u8; 6], on_link: bool },
    NoNeighbour,
    TooBig(usize),
    None,
}

/// The way of a packet of `len` bytes.
pub fn route(destination: IpAddr, len: usize) -> Route {
    let route = match destination {
        IpAddr::V4(v4) => route_v4(v4),
        IpAddr::V6(v6) => route_v6(v6),
    };
    if route != Route::None && len > MTU { Route::TooBig(MTU) } else { route }
}

fn neighbour(mac: Option<[u8; 6]>) -> Route {
    mac.map_or(Route::NoNeighbour, |mac| Route::Via { mac, on_link: true })
}

fn route_v4(destination: Ipv4Addr) -> Route {
    match destination.octets() {
        [10, 77, 3, _] => Route::Via { mac: GATEWAY_MAC, on_link: false },
        // Our own, and the broadcast.
        [10, 77, 1, 1 | 255] => Route::None,
        [10, 77, 1, host @ (11 | 12)] => neighbour(Some(BROKER_MACS[usize::from(host) - 11])),
        [10, 77, 1, 200] => neighbour(Some(GATEWAY_MAC)),
        [10, 77, 1, _] => neighbour(None),
        _ => Route::None,
    }
}

fn route_v6(destination: Ipv6Addr) -> Route {
    match destination.segments() {
        [0xfd00, 0x77, 3, ..] => Route::Via { mac: GATEWAY_MAC, on_link: false },
        // Our own, and that of any router of the link.
        [0xfd00, 0x77, 1, 0, 0, 0, 0, 0 | 1] => Route::None,
        [0xfd00, 0x77, 1, 0, 0, 0, 0, host @ (11 | 12)] => {
            neighbour(Some(BROKER_MACS[usize::from(host) - 11]))
        }
        [0xfd00, 0x77, 1, 0, 0, 0, 0, 0x200] => neighbour(Some(GATEWAY_MAC)),
        [0xfd00, 0x77, 1, ..] | [0xfe80, 0, 0, 0, ..] => neighbour(None),
        _ => Route::None,
    }
}

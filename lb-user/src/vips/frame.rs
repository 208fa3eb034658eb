//! The frames that tell neighbours where an address is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

type Mac = [u8; 6];

const BROADCAST: Mac = [0xff; 6];
/// Of `ff02::1`, all nodes of a link (RFC 2464 section 7).
const ALL_NODES_MAC: Mac = [0x33, 0x33, 0, 0, 0, 1];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ICMPV6: u8 = 58;

/// A whole Ethernet frame that says: `address` is at `mac`.
pub(super) fn announcement(address: IpAddr, mac: Mac) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => gratuitous_arp(address, mac),
        IpAddr::V6(address) => unsolicited_advertisement(address, mac),
    }
}

/// An ARP request for the address itself, from itself (RFC 5227 section 2.3).
fn gratuitous_arp(address: Ipv4Addr, mac: Mac) -> Vec<u8> {
    let mut frame = ethernet(BROADCAST, mac, [0x08, 0x06]);
    // Ethernet, IPv4, lengths of their addresses, request.
    frame.extend([0, 1, 0x08, 0x00, 6, 4, 0, 1]);
    frame.extend(mac);
    frame.extend(address.octets());
    frame.extend([0; 6]);
    frame.extend(address.octets());
    frame
}

/// A Neighbor Advertisement nobody asked for (RFC 4861 section 7.2.6).
fn unsolicited_advertisement(address: Ipv6Addr, mac: Mac) -> Vec<u8> {
    const ADVERTISEMENT: u8 = 136;
    /// From a router, and it overrides what the neighbours know.
    const ROUTER_OVERRIDE: u8 = 0x80 | 0x20;
    const TARGET_LINK_LAYER_ADDRESS: [u8; 2] = [2, 1];
    /// Proves that no router has forwarded it.
    const HOP_LIMIT: u8 = 255;

    let mut message = vec![ADVERTISEMENT, 0, 0, 0, ROUTER_OVERRIDE, 0, 0, 0];
    message.extend(address.octets());
    message.extend(TARGET_LINK_LAYER_ADDRESS);
    message.extend(mac);
    let sum = checksum(address, ALL_NODES, &message);
    message[2..4].copy_from_slice(&sum);

    let mut frame = ethernet(ALL_NODES_MAC, mac, [0x86, 0xdd]);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend((message.len() as u16).to_be_bytes());
    frame.extend([ICMPV6, HOP_LIMIT]);
    frame.extend(address.octets());
    frame.extend(ALL_NODES.octets());
    frame.extend(message);
    frame
}

fn ethernet(destination: Mac, source: Mac, ethertype: [u8; 2]) -> Vec<u8> {
    [&destination[..], &source[..], &ethertype[..]].concat()
}

/// RFC 4443 section 2.3; `message` has an even length and zero where its checksum goes.
fn checksum(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> [u8; 2] {
    let mut pseudo_header = [source.octets(), destination.octets()].concat();
    pseudo_header.extend((message.len() as u32).to_be_bytes());
    pseudo_header.extend([0, 0, 0, ICMPV6]);
    let words = pseudo_header.chunks_exact(2).chain(message.chunks_exact(2));
    let mut sum: u32 = words.map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = [2, 0, 0, 0, 0, 7];

    #[test]
    fn a_gratuitous_arp_names_the_address_as_sender_and_target() {
        let frame = announcement(IpAddr::from([192, 0, 2, 10]), MAC);
        let expected = [
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 7, 0x08, 0x06, // to all
            0, 1, 8, 0, 6, 4, 0, 1, // a request
            2, 0, 0, 0, 0, 7, 192, 0, 2, 10, // from
            0, 0, 0, 0, 0, 0, 192, 0, 2, 10, // for
        ];
        assert_eq!(frame, expected);
    }

    #[test]
    fn an_advertisement_has_a_checksum_that_adds_up() {
        let address: Ipv6Addr = "2001:db8::10".parse().unwrap();
        let frame = announcement(address.into(), MAC);
        assert_eq!(frame.len(), 14 + 40 + 32);
        let message = &frame[54..];
        assert_eq!((message[0], message[4]), (136, 0xa0));
        assert_eq!(message[8..24], address.octets());
        assert_eq!(message[26..32], MAC);
        // With the checksum in place, the sum over everything is the negative zero.
        assert_eq!(checksum(address, ALL_NODES, message), [0, 0]);
    }
}

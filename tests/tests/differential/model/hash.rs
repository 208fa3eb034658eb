//! SipHash-1-3 over bytes, by its authors' description, and what is chosen by it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub fn siphash13((k0, k1): (u64, u64), bytes: &[u8]) -> u64 {
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let whole = bytes.chunks_exact(8);
    let mut last = [0; 8];
    last[..whole.remainder().len()].copy_from_slice(whole.remainder());
    last[7] = bytes.len() as u8;
    for word in whole.chain([&last[..]]) {
        let word = u64::from_le_bytes(word.try_into().expect("8 bytes"));
        v[3] ^= word;
        round(&mut v);
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    (0..3).for_each(|_| round(&mut v));
    v.into_iter().fold(0, |all, word| all ^ word)
}

fn round(v: &mut [u64; 4]) {
    let mut mix = |a: usize, b: usize, turn: u32| {
        v[a] = v[a].wrapping_add(v[b]);
        v[b] = v[b].rotate_left(turn) ^ v[a];
        if turn == 13 || turn == 17 {
            v[a] = v[a].rotate_left(32);
        }
    };
    mix(0, 1, 13);
    mix(2, 3, 16);
    mix(0, 3, 21);
    mix(2, 1, 17);
}

/// What of a client chooses its slot: its end of the connection, or a prefix of its address.
pub fn flow_hash(
    seed: (u64, u64),
    client: SocketAddr,
    affinity: Option<u32>,
    vip: SocketAddr,
) -> u64 {
    let (address, port) = match affinity {
        None => (client.ip(), client.port()),
        Some(bits) => (prefix(client.ip(), bits), 0),
    };
    let mut bytes = match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    bytes.extend(port.to_be_bytes());
    siphash13(service_key(seed, vip), &bytes)
}

/// The key of a service: two hashes of its address and port, which a number tells apart.
fn service_key(seed: (u64, u64), vip: SocketAddr) -> (u64, u64) {
    const TCP: u16 = 6;
    let half = |number: u32| {
        let mut bytes = mapped(vip.ip()).octets().to_vec();
        bytes.extend(vip.port().to_be_bytes());
        bytes.extend(TCP.to_le_bytes());
        bytes.extend(number.to_le_bytes());
        siphash13(seed, &bytes)
    };
    (half(0), half(1))
}

/// An address in 16 octets, as in a socket that takes both families.
fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

/// The first `bits` of an address; the others are zero.
fn prefix(address: IpAddr, bits: u32) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            Ipv4Addr::from(u32::from(v4) & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            Ipv6Addr::from(u128::from(v6) & mask).into()
        }
    }
}

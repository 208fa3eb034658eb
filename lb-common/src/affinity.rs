//! Which clients of a service share a slot of its ring, and so a backend.

use crate::addr::Addr;

/// What of a client does not choose its slot. All zero: every connection chooses for itself.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Affinity {
    /// Bits of the address that are left out, as they lie.
    hidden: [u64; 2],
    /// The same of the port.
    hidden_port: u16,
    pad: [u16; 3],
}

const _: () = assert!(size_of::<Affinity>() == 24);

impl Affinity {
    /// Each connection for itself.
    pub const CONNECTION: Self = Self { hidden: [0; 2], hidden_port: 0, pad: [0; 3] };

    /// All connections of all clients that share the first `bits` of 128 of their address, of which
    /// an IPv4 address is the last 32.
    #[must_use]
    pub const fn client(bits: u8) -> Self {
        let hidden = if bits < 128 { u128::MAX >> bits } else { 0 };
        let hidden = Addr::v6(hidden.to_be_bytes()).words();
        Self { hidden, hidden_port: u16::MAX, pad: [0; 3] }
    }

    /// What [`Affinity::client`] was given; `None` for [`Affinity::CONNECTION`].
    #[must_use]
    pub const fn client_bits(&self) -> Option<u8> {
        let [a, b] = self.hidden;
        let hidden = a.count_ones() + b.count_ones();
        if self.hidden_port == 0 { None } else { Some((128 - hidden) as u8) }
    }

    /// The address and the big-endian port that choose the slot.
    #[inline(always)]
    #[must_use]
    pub const fn chooses(&self, client: Addr, port: [u8; 2]) -> (Addr, [u8; 2]) {
        let ([a, b], [hidden_a, hidden_b]) = (client.words(), self.hidden);
        let port = u16::from_le_bytes(port) & !self.hidden_port;
        (Addr::from_words([a & !hidden_a, b & !hidden_b]), port.to_le_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: Addr = Addr::v4([10, 1, 2, 0x35]);
    const PORT: [u8; 2] = [0x12, 0x34];

    #[test]
    fn a_connection_chooses_by_all_of_it() {
        assert_eq!(Affinity::CONNECTION.chooses(CLIENT, PORT), (CLIENT, PORT));
        assert_eq!(Affinity::default(), Affinity::CONNECTION);
    }

    #[test]
    fn a_client_chooses_by_its_prefix_alone() {
        let of = |bits, client| Affinity::client(bits).chooses(client, PORT);
        assert_eq!(of(128, CLIENT), (CLIENT, [0, 0]));
        assert_eq!(of(96 + 24, CLIENT), (Addr::v4([10, 1, 2, 0]), [0, 0]));
        assert_eq!(of(96 + 29, CLIENT), (Addr::v4([10, 1, 2, 0x30]), [0, 0]));
        let v6 = Addr::v6([0xfd, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        let prefix = Addr::v6([0xfd, 1, 2, 3, 4, 5, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(of(56, v6), (prefix, [0, 0]));
    }

    #[test]
    fn the_bits_of_a_prefix_are_read_again() {
        for bits in [1, 24, 63, 64, 65, 120, 128] {
            assert_eq!(Affinity::client(bits).client_bits(), Some(bits));
        }
        assert_eq!(Affinity::CONNECTION.client_bits(), None);
    }
}

//! What `mqlb trace` and the XDP program share: which packets are wanted, and what is told of them.

use crate::{addr::Addr, shared_type, verdict};

/// Names of the maps, as the program declares them. They are not pinned: each load of the program
/// has its own.
pub mod maps {
    /// Array of one [`super::TraceFilter`].
    pub const FILTER: &str = "TRACE_FILTER";
    /// Ring of [`super::TraceEvent`], each with the bytes that were caught behind it.
    pub const EVENTS: &str = "TRACE_EVENTS";
    /// Per-CPU array of one [`super::TraceCounts`].
    pub const COUNTS: &str = "TRACE_COUNTS";
}

/// Bytes of the ring; a power of two and of pages.
pub const RING_BYTES: usize = 1 << 20;

/// A packet of so many bytes, and of no more, is caught whole. One less than a power of two: the
/// verifier understands a mask.
pub const MOST_CAUGHT: u32 = 2047;

/// The two ends of a packet: of a whole TCP segment with ports and flags, of other IP packets without;
/// all zero of what is not IP.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// Source address.
    pub source: Addr,
    /// Destination address.
    pub destination: Addr,
    /// Source port, big-endian.
    pub source_port: [u8; 2],
    /// Destination port, big-endian.
    pub destination_port: [u8; 2],
    /// The flags of TCP.
    pub tcp_flags: u8,
    /// Always zero.
    pub pad: [u8; 3],
}

shared_type!(Ends, 40);

/// What an end of a packet has to be.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndFilter {
    /// The bits of the address that count, as they lie.
    pub mask: [u64; 2],
    /// The address; zero where the mask is.
    pub address: [u64; 2],
    /// The port, big-endian; zero is any.
    pub port: [u8; 2],
    /// Always zero.
    pub pad: [u8; 6],
}

shared_type!(EndFilter, 40);

impl EndFilter {
    /// An address of whose IPv4-mapped or IPv6 form the first `bits` count, and a port or zero.
    #[must_use]
    pub fn new(address: Addr, bits: u8, port: u16) -> Self {
        let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or_default();
        let mask = Addr::v6(mask.to_be_bytes()).words();
        let [high, low] = address.words();
        Self {
            mask,
            address: [high & mask[0], low & mask[1]],
            port: port.to_be_bytes(),
            pad: [0; 6],
        }
    }

    #[inline(always)]
    fn fits(&self, address: Addr, port: [u8; 2]) -> bool {
        let [high, low] = address.words();
        let differs =
            (high & self.mask[0] ^ self.address[0]) | (low & self.mask[1] ^ self.address[1]);
        differs == 0 && (self.port == [0; 2] || self.port == port)
    }

    /// Whether this says nothing.
    #[inline(always)]
    const fn is_any(&self) -> bool {
        self.mask[0] | self.mask[1] == 0 && self.port[0] | self.port[1] == 0
    }

    /// Whether one of the ends of a packet fits, before or after it was rewritten.
    #[inline(always)]
    fn fits_one_of(&self, came: &Ends, goes: &Ends) -> bool {
        self.is_any()
            || self.fits(came.source, came.source_port)
            || self.fits(came.destination, came.destination_port)
            || self.fits(goes.source, goes.source_port)
            || self.fits(goes.destination, goes.destination_port)
    }
}

/// Which packets are told of.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceFilter {
    /// Number of the trace that asks; its events carry it.
    pub session: u64,
    /// When it ends, by `CLOCK_MONOTONIC`: a program that nobody took off is silent then.
    pub until_ns: u64,
    /// The verdicts that are wanted, one bit each.
    pub verdicts: u64,
    /// At most so many bytes of a packet are caught, [`MOST_CAUGHT`] at most.
    pub most_caught: u32,
    /// One of so many packets that fit is told of; not zero.
    pub every: u32,
    /// The client, the service and the broker: each has to be an end of the packet.
    pub ends: [EndFilter; 3],
}

shared_type!(TraceFilter, 152);

impl TraceFilter {
    /// Every verdict.
    pub const ALL_VERDICTS: u64 = u64::MAX >> (64 - verdict::COUNT);

    /// Whether a packet with these ends, as it came and as it goes on, and this verdict is wanted.
    #[inline(always)]
    #[must_use]
    pub fn wants(&self, came: &Ends, goes: &Ends, verdict: u32) -> bool {
        let [client, service, broker] = &self.ends;
        self.verdicts >> (verdict & 63) & 1 == 1
            && client.fits_one_of(came, goes)
            && service.fits_one_of(came, goes)
            && broker.fits_one_of(came, goes)
    }
}

// One bit each, see `TraceFilter::verdicts`.
const _: () = assert!(verdict::COUNT <= 64);

/// What became of a packet. Behind it are the bytes caught of it as it came, and then those of it as
/// it goes on.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceEvent {
    /// Whose filter it fitted.
    pub session: u64,
    /// When it came, by `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// Its verdict.
    pub verdict: u32,
    /// Index of the interface that it came in by.
    pub ingress: u32,
    /// Index of the interface that it is sent out of, 0 if it is not.
    pub egress: u32,
    /// Bytes of the frame that came.
    pub came_len: u32,
    /// Bytes of the frame that goes on.
    pub goes_len: u32,
    /// How many of the former were caught.
    pub came_caught: u32,
    /// How many of the latter were caught; none of a packet that is dropped.
    pub goes_caught: u32,
    /// Always zero.
    pub pad: u32,
    /// Its ends as it came.
    pub came: Ends,
    /// Its ends as it goes on.
    pub goes: Ends,
}

shared_type!(TraceEvent, 128);

/// Counts since the program was loaded.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceCounts {
    /// Packets that a filter wanted.
    pub wanted: u64,
    /// Packets that were to be told of, but the ring was full.
    pub lost: u64,
}

shared_type!(TraceCounts, 16);

#[cfg(test)]
mod tests {
    use core::net::IpAddr;

    use super::*;
    use crate::verdict::Verdict;

    fn addr(text: &str) -> Addr {
        text.parse::<IpAddr>().unwrap().into()
    }

    fn ends(source: (&str, u16), destination: (&str, u16)) -> Ends {
        Ends {
            source: addr(source.0),
            destination: addr(destination.0),
            source_port: source.1.to_be_bytes(),
            destination_port: destination.1.to_be_bytes(),
            ..Ends::default()
        }
    }

    const CLIENT: (&str, u16) = ("198.51.100.7", 40_000);
    const VIP: (&str, u16) = ("192.0.2.10", 1883);
    const SOURCE: (&str, u16) = ("10.0.0.2", 15_000);
    const BROKER: (&str, u16) = ("10.0.1.11", 1883);

    fn wants(ends_wanted: [EndFilter; 3]) -> [bool; 2] {
        let filter = TraceFilter {
            verdicts: TraceFilter::ALL_VERDICTS,
            ends: ends_wanted,
            ..TraceFilter::default()
        };
        let request = (ends(CLIENT, VIP), ends(SOURCE, BROKER));
        let reply = (ends(BROKER, SOURCE), ends(VIP, CLIENT));
        [
            filter.wants(&request.0, &request.1, Verdict::ToBackend as u32),
            filter.wants(&reply.0, &reply.1, Verdict::ToClient as u32),
        ]
    }

    fn one(text: &str, bits: u8, port: u16) -> [EndFilter; 3] {
        [EndFilter::new(addr(text), bits, port), EndFilter::default(), EndFilter::default()]
    }

    #[test]
    fn a_filter_that_says_nothing_wants_everything() {
        assert_eq!(wants([EndFilter::default(); 3]), [true, true]);
    }

    #[test]
    fn an_end_is_wanted_in_both_directions() {
        for (text, port) in [CLIENT, VIP, SOURCE, BROKER] {
            assert_eq!(wants(one(text, 128, port)), [true, true], "{text}");
            assert_eq!(wants(one(text, 128, 0)), [true, true], "{text}");
            assert_eq!(wants(one(text, 128, port + 1)), [false, false], "{text}");
        }
        assert_eq!(wants(one("198.51.100.8", 128, 0)), [false, false]);
        assert_eq!(wants(one("::", 0, 40_000)), [true, true], "a port alone");
        assert_eq!(wants(one("::", 0, 40_001)), [false, false], "a port alone");
    }

    #[test]
    fn a_prefix_holds_its_addresses_and_no_others() {
        assert_eq!(wants(one("198.51.100.0", 96 + 24, 0)), [true, true]);
        assert_eq!(wants(one("198.51.100.255", 96 + 24, 0)), [true, true], "host bits are ignored");
        assert_eq!(wants(one("198.51.101.0", 96 + 24, 0)), [false, false]);
        assert_eq!(wants(one("0.0.0.0", 96, 0)), [true, true], "all of IPv4");
        assert_eq!(wants(one("2001:db8::", 32, 0)), [false, false]);
    }

    #[test]
    fn everything_that_is_asked_for_must_fit() {
        let end = |(text, port): (&str, u16)| EndFilter::new(addr(text), 128, port);
        assert_eq!(wants([CLIENT, VIP, BROKER].map(end)), [true, true]);
        let other = end(("10.0.1.12", 1883));
        assert_eq!(wants([end(CLIENT), end(VIP), other]), [false, false]);
    }

    #[test]
    fn only_wanted_verdicts_are_told_of() {
        for wanted in Verdict::ALL {
            let filter = TraceFilter { verdicts: 1 << *wanted as u32, ..TraceFilter::default() };
            for verdict in Verdict::ALL {
                let told = filter.wants(&Ends::default(), &Ends::default(), *verdict as u32);
                assert_eq!(told, verdict == wanted);
            }
        }
        let all = Verdict::ALL.iter().fold(0, |all, verdict| all | 1 << *verdict as u32);
        assert_eq!(all, TraceFilter::ALL_VERDICTS);
    }
}

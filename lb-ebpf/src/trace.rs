//! Where a frame comes from and where it goes, whatever it is: for those who look at packets.

use lb_common::trace::Ends;

use crate::{packet::Packet, parse, tunnel};

/// The ends of the packet in the frame.
#[inline(always)]
pub fn ends(packet: &impl Packet) -> Ends {
    let Ok(segment) = parse::segment(packet) else {
        let (_, [source, destination]) = tunnel::ip(packet).unwrap_or_default();
        return Ends { source, destination, ..Ends::default() };
    };
    Ends {
        source: segment.source,
        destination: segment.destination,
        source_port: segment.source_port,
        destination_port: segment.destination_port,
        tcp_flags: segment.flags,
        pad: [0; 3],
    }
}

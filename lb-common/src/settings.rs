//! What holds for all services.

use crate::{addr::Addr, shared_type, tunnel::TunnelSource};

/// Settings of the data plane, in a map of one entry.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Settings {
    /// First half of the flow hash's key.
    pub seed0: u64,
    /// Second half of the flow hash's key.
    pub seed1: u64,
    /// First source port towards brokers, host byte order.
    pub first_port: u16,
    /// Number of source ports towards brokers.
    pub ports: u16,
    /// Number of IPv4 source addresses; they are the sources 0 to `sources_v4 - 1`.
    pub sources_v4: u16,
    /// Number of IPv6 source addresses; they follow the IPv4 ones.
    pub sources_v6: u16,
    /// Age at which a handshake that was not completed is forgotten, in ticks.
    pub pending_ticks: u32,
    /// Idle time of a closed flow, in ticks.
    pub closed_ticks: u32,
    /// How long a freed port rests, in ticks.
    pub rest_ticks: u32,
    /// Always zero.
    pub pad: u32,
    /// Where outer IPv4 addresses of tunnelled packets come from.
    pub tunnel_v4: TunnelSource,
    /// Where outer IPv6 addresses of tunnelled packets come from.
    pub tunnel_v6: TunnelSource,
}

shared_type!(Settings, 88);

impl Settings {
    /// Where the outer source of a packet that is tunnelled to `destination` comes from.
    #[inline(always)]
    #[must_use]
    pub const fn tunnel_to(&self, destination: Addr) -> &TunnelSource {
        if destination.is_v4() { &self.tunnel_v4 } else { &self.tunnel_v6 }
    }
}

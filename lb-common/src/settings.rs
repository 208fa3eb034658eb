//! What holds for all services.

use crate::shared_type;

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
}

shared_type!(Settings, 40);

//! The packets that are measured, and what each may cost.

use lb_common::{replay::MAX_FLOWS, verdict::Verdict};
use lb_tests::topology::Family;

/// What IPv6 may cost of what IPv4 does.
pub const AIM_IPV6: f64 = 1.25;

/// The services that are measured, each at an address of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// In mode `nat`.
    Nat,
    /// In mode `dsr`, its slots stable.
    Dsr,
    /// In mode `ipip`, its slots stable.
    Ipip,
    /// In mode `ipip`, all its slots in transition.
    Moving,
}

impl Service {
    /// All in direct modes.
    pub const DIRECT: [Self; 3] = [Self::Dsr, Self::Ipip, Self::Moving];

    /// Its mode, as the configuration calls it.
    pub const fn mode(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Dsr => "dsr",
            Self::Ipip | Self::Moving => "ipip",
        }
    }

    /// Whether its packets are wrapped.
    pub const fn is_tunnelled(self) -> bool {
        matches!(self, Self::Ipip | Self::Moving)
    }
}

/// A kind of packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet {
    /// Data of a client, of a connection in the table.
    FromClient,
    /// Data of a broker, of a connection in the table.
    FromBroker,
    /// Data of a client that is in no table.
    Unknown,
    /// The SYN of a new client.
    Syn,
    /// Data of a client, on a slot that looks nothing up.
    Dsr,
    /// The same, wrapped.
    Ipip,
    /// The SYN of a new client, on a slot that looks nothing up.
    IpipSyn,
    /// Data of a client on a slot in transition, of a connection in the table.
    MovingTracked,
    /// Data of a client on a slot in transition, which is in no table.
    MovingUntracked,
    /// The SYN of a new client on a slot in transition.
    MovingSyn,
}

impl Packet {
    /// All that leave the tables of mode `nat` as they are.
    pub const NAT: [Self; 3] = [Self::FromClient, Self::FromBroker, Self::Unknown];
    /// All of direct modes that leave the tables as they are.
    pub const DIRECT: [Self; 5] =
        [Self::Dsr, Self::Ipip, Self::IpipSyn, Self::MovingTracked, Self::MovingUntracked];

    /// What the table calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FromClient => "nat, hit, from the client",
            Self::FromBroker => "nat, hit, from the broker",
            Self::Unknown => "nat, miss, dropped",
            Self::Syn => "nat, insert (SYN)",
            Self::Dsr => "dsr, stable slot",
            Self::Ipip => "ipip, stable slot",
            Self::IpipSyn => "ipip, stable slot, SYN",
            Self::MovingTracked => "ipip, in transition, hit",
            Self::MovingUntracked => "ipip, in transition, miss",
            Self::MovingSyn => "ipip, in transition, insert (SYN)",
        }
    }

    /// The service that it is for, or comes from.
    pub const fn service(self) -> Service {
        match self {
            Self::FromClient | Self::FromBroker | Self::Unknown | Self::Syn => Service::Nat,
            Self::Dsr => Service::Dsr,
            Self::Ipip | Self::IpipSyn => Service::Ipip,
            Self::MovingTracked | Self::MovingUntracked | Self::MovingSyn => Service::Moving,
        }
    }

    /// Whether it is a SYN.
    pub const fn opens(self) -> bool {
        matches!(self, Self::Syn | Self::IpipSyn | Self::MovingSyn)
    }

    /// Whether its client is one of those that the tables hold.
    pub const fn is_of_known_client(self) -> bool {
        matches!(self, Self::FromClient | Self::FromBroker | Self::MovingTracked)
    }

    /// What becomes of it.
    pub const fn verdict(self) -> Verdict {
        match self {
            Self::FromBroker => Verdict::ToClient,
            Self::Unknown => Verdict::UnknownFlowDrop,
            _ => Verdict::ToBackend,
        }
    }

    /// What it may cost in IPv4, in nanoseconds.
    pub const fn aim_ns(self, flows: u32) -> Option<f64> {
        match (self, flows) {
            (Self::FromClient | Self::FromBroker, 1) => Some(90.0),
            (Self::Ipip, 1) => Some(55.0),
            (Self::Ipip, MAX_FLOWS) => Some(75.0),
            (Self::MovingTracked, 1) => Some(100.0),
            _ => None,
        }
    }

    /// Numbers of flows that it is measured with: caches warm, nearly so, too small, far too small.
    pub fn flows(self) -> Vec<u32> {
        match self {
            Self::Unknown | Self::MovingUntracked | Self::IpipSyn => vec![1, MAX_FLOWS],
            _ => vec![1, 1 << 10, 1 << 17, MAX_FLOWS],
        }
    }
}

/// What the table calls a version of IP.
pub const fn version(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

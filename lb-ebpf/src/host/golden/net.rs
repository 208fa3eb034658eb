//! The small network that the golden conversations take place in.

use core::cell::{Cell, RefCell};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use lb_common::{
    addr::Addr,
    affinity::Affinity,
    backend::{Backend, PeerKey, Source, backend_flags},
    hash::Seed,
    ring::Slot,
    service::{Service, ServiceKey, mode, service_flags},
    settings::Settings,
    tunnel::TunnelSource,
};

use crate::{
    budget::ANSWERS,
    host::{Frame, World},
    packet::Ethernet,
    tables::{Route, RouteKind},
};

/// Ethernet address of the balancer's interface, in golden routes.
pub const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x0a];
/// Ethernet addresses of brokers 1 and 2.
pub const BROKER_MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 0x0b], [2, 0, 0, 0, 0, 0x1b]];
/// Ethernet address of the gateway to the clients.
pub const GATEWAY_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x0c];
/// The prefix of outer IPv6 source addresses, of 64 bits; that of IPv4 is 10.99.0.0/16.
const TUNNEL_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x99, 0, 0, 0, 0, 0, 0);
/// Last octet of a broker's address that has a route but never answers for its Ethernet address.
pub const SILENT_HOST: u8 = 99;

/// The family of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// The network in one family.
#[derive(Clone, Copy, Debug)]
pub struct Net(pub Family);

impl Net {
    /// The interface that all ways lead out of.
    pub const INTERFACE: u32 = 7;
    /// The interface that frames come in by, unless a case says otherwise.
    pub const LOOPBACK: u32 = 1;
    /// The service's id.
    pub const SERVICE: u32 = 3;
    /// The service's port.
    pub const PORT: u16 = 1883;
    /// The one source port that the balancer has, unless a case gives it more.
    pub const NAT_PORT: u16 = 15_000;
    /// The client's port.
    pub const CLIENT_PORT: u16 = 40_000;
    /// Of the fleet.
    pub const SEED: Seed = Seed(1, 2);

    fn host(self, net: u8, host: u8) -> IpAddr {
        match self.0 {
            Family::V4 => Ipv4Addr::new(10, 77, net, host).into(),
            Family::V6 => {
                Ipv6Addr::new(0xfd00, 0x77, u16::from(net), 0, 0, 0, 0, u16::from(host)).into()
            }
        }
    }

    /// The client, by number.
    #[must_use]
    pub fn client(self, number: u8) -> (IpAddr, u16) {
        (self.host(3, number), Self::CLIENT_PORT)
    }

    /// The service.
    #[must_use]
    pub fn vip(self) -> (IpAddr, u16) {
        (self.host(9, 1), Self::PORT)
    }

    /// The balancer towards the brokers.
    #[must_use]
    pub fn source(self) -> (IpAddr, u16) {
        (self.host(1, 1), Self::NAT_PORT)
    }

    /// The broker, by number; backend `number` of the service.
    #[must_use]
    pub fn broker(self, number: u8) -> (IpAddr, u16) {
        (self.host(1, 10 + number), Self::PORT)
    }

    /// A broker whose Ethernet address nobody knows.
    #[must_use]
    pub fn silent(self) -> (IpAddr, u16) {
        (self.host(1, SILENT_HOST), Self::PORT)
    }

    /// A broker behind the router that the clients are behind, too.
    #[must_use]
    pub fn distant(self) -> (IpAddr, u16) {
        (self.host(3, 200), Self::PORT)
    }

    /// A broker that no route leads to.
    #[must_use]
    pub fn unreachable(self) -> (IpAddr, u16) {
        (self.host(200, 1), Self::PORT)
    }

    /// A segment from the client to the service.
    #[must_use]
    pub fn from_client(self, flags: u8) -> Frame {
        Frame::new(self.client(1), self.vip(), flags)
    }

    /// A segment from broker 1 to the balancer.
    #[must_use]
    pub fn from_broker(self, flags: u8) -> Frame {
        Frame::new(self.broker(1), self.source(), flags)
    }

    /// What a segment from the client looks like when it leaves for broker 1.
    #[must_use]
    pub fn to_broker(self, frame: &Frame) -> Frame {
        Frame {
            ethernet: (broker_mac(1), OUR_MAC),
            source: self.source(),
            destination: self.broker(1),
            ttl: frame.ttl - 1,
            ..frame.clone()
        }
    }

    /// What a segment from broker 1 looks like when it leaves for the client.
    #[must_use]
    pub fn to_client(self, frame: &Frame) -> Frame {
        Frame {
            ethernet: (GATEWAY_MAC, OUR_MAC),
            source: self.vip(),
            destination: self.client(1),
            ttl: frame.ttl - 1,
            ..frame.clone()
        }
    }

    /// The world: one service, brokers 1 and 2, all new flows to broker 1.
    #[must_use]
    pub fn world(self) -> World {
        let key = ServiceKey::tcp(Addr::from(self.vip().0), Self::PORT.to_be_bytes());
        let v4 = self.0 == Family::V4;
        let mut world = World {
            ingress: Self::LOOPBACK,
            settings: Settings {
                seed0: Self::SEED.0,
                seed1: Self::SEED.1,
                first_port: Self::NAT_PORT,
                ports: 1,
                sources_v4: u16::from(v4),
                sources_v6: u16::from(!v4),
                pending_ticks: 10,
                closed_ticks: 60,
                rest_ticks: 60,
                tunnel_v4: TunnelSource::new(Addr::v4([10, 99, 0, 0]), 16),
                tunnel_v6: TunnelSource::new(Addr::from(IpAddr::V6(TUNNEL_V6)), 64),
                ..Settings::default()
            },
            services: BTreeMap::from([(
                key,
                Service {
                    key,
                    id: Self::SERVICE,
                    idle_ticks: 1000,
                    mode: mode::NAT,
                    flags: service_flags::RESET_WITHOUT_BACKEND | service_flags::RESET_UNKNOWN_FLOW,
                    pad: [0; 6],
                    affinity: Affinity::CONNECTION,
                    hash_key: key.hash_key(Self::SEED),
                },
            )]),
            rings: BTreeMap::from([(Self::SERVICE, Slot::stable(1))]),
            sources: BTreeMap::from([(0, Source { address: self.source().0.into() })]),
            mtu: 1500,
            answers: Cell::new(ANSWERS),
            pending_room: 16,
            flows_room: 16,
            learned_room: 16,
            now: Cell::new(1000),
            pending: RefCell::default(),
            ..World::default()
        };
        for number in [1, 2] {
            self.add_backend(&mut world, u32::from(number), self.broker(number));
        }
        let gateway = route(GATEWAY_MAC);
        for number in 1..=9 {
            world.routes.insert(self.client(number).0.into(), gateway);
        }
        world
    }

    /// The world with the service in a `mode` in which brokers answer directly.
    #[must_use]
    pub fn direct_world(self, mode: u8) -> World {
        let mut world = self.world();
        world.services.values_mut().for_each(|service| service.mode = mode);
        world
    }

    /// What a segment from the client looks like when it leaves, in mode `dsr`, for a broker.
    #[must_use]
    pub fn directly(self, frame: &Frame, broker: u8) -> Frame {
        Frame { ethernet: (broker_mac(broker), OUR_MAC), ttl: frame.ttl - 1, ..frame.clone() }
    }

    /// Adds a backend with its peer and a way to it.
    pub fn add_backend(self, world: &mut World, id: u32, (address, port): (IpAddr, u16)) {
        let first_peer = 32 * id;
        let (broker, port) = (Addr::from(address), port.to_be_bytes());
        let flags = backend_flags::PRESENT | backend_flags::FORWARD | backend_flags::ACCEPT;
        let backend =
            Backend { address: broker, port, flags, service: Self::SERVICE, first_peer, pad: 0 };
        world.backends.insert(id, backend);
        let source = self.source().0.into();
        world.peers.insert(PeerKey::new(broker, port, source), first_peer);
        if address == self.silent().0 {
            world.routes.insert(broker, Route::NO_NEIGHBOUR);
        } else if address == self.distant().0 {
            world.routes.insert(broker, Route { on_link: false, ..route(GATEWAY_MAC) });
        } else if address != self.unreachable().0 {
            world.routes.insert(broker, route(broker_mac(id as u8)));
        }
    }
}

/// Ethernet address of a broker, by number.
#[must_use]
pub const fn broker_mac(number: u8) -> [u8; 6] {
    BROKER_MACS[if number == 2 { 1 } else { 0 }]
}

fn route(destination: [u8; 6]) -> Route {
    let words = |mac: [u8; 6]| {
        [[mac[0], mac[1]], [mac[2], mac[3]], [mac[4], mac[5]]].map(u16::from_ne_bytes)
    };
    Route {
        kind: RouteKind::Via,
        ifindex: Net::INTERFACE,
        ethernet: Ethernet { destination: words(destination), source: words(OUR_MAC) },
        mtu: 1500,
        on_link: true,
    }
}

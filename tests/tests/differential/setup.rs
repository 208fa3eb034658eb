//! What is configured, in plain words: both the model and the program's tables are made from it.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use lb_common::hash::Seed;
use lb_common::{
    affinity::Affinity,
    backend::backend_flags::{ACCEPT, FORWARD, PRESENT},
    ring::{NO_BACKEND, SLOTS, Slot as RingSlot, slot_flags},
    service::{mode, service_flags},
};
use lb_ebpf::host::{
    Random, World,
    golden::{Family, Net},
};

/// How a service forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Nat,
    Dsr,
    /// To brokers of this family.
    Ipip(Family),
}

/// What a service lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    Off,
    Mqtt,
    Tls,
}

#[derive(Clone, Debug)]
pub struct Setup {
    pub family: Family,
    pub mode: Mode,
    pub guard: Guard,
    pub seed: (u64, u64),
    /// Bits of the client's address that choose its slot, if not the whole connection does.
    pub affinity: Option<u32>,
    pub ports: u16,
    pub pending_ticks: u32,
    pub rest_ticks: u32,
    pub idle_ticks: u32,
    pub reset_without_backend: bool,
    pub reset_unknown: bool,
    /// Frames come in by the interface that they leave by.
    pub one_armed: bool,
    /// By number, less one.
    pub brokers: Vec<Broker>,
    pub slots: Vec<Slot>,
}

#[derive(Clone, Copy, Debug)]
pub struct Broker {
    pub address: SocketAddr,
    /// Its flows are forwarded.
    pub serves: bool,
    /// It takes new connections.
    pub accepts: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Numbers of brokers.
    pub base: Option<u32>,
    pub current: Option<u32>,
    pub looks_up: bool,
    pub learns: bool,
}

/// Sizes of the tables in all setups, so that one program serves them all.
pub const PENDING_ROOM: usize = 100;
pub const FLOWS_ROOM: usize = 60;
pub const LEARNED_ROOM: usize = 60;
pub const FIRST_PORT: u16 = 15_000;

impl Setup {
    /// Any setup of this kind.
    pub fn any(family: Family, mode: Mode, random: &mut Random) -> Self {
        let guards = [Guard::Off, Guard::Mqtt, Guard::Tls];
        let bits = if family == Family::V4 { [24, 30, 32] } else { [48, 64, 128] };
        let mut setup = Self {
            family,
            mode,
            guard: if mode == Mode::Nat { random.pick(&guards) } else { Guard::Off },
            seed: (random.next(), random.next()),
            affinity: random.pick(&[None, None, Some(bits[0]), Some(bits[1]), Some(bits[2])]),
            ports: random.pick(&[1024, 1024, 64]),
            pending_ticks: random.pick(&[1, 3, 1000]),
            rest_ticks: random.pick(&[0, 1, 60]),
            idle_ticks: random.pick(&[1, 4, 1000]),
            reset_without_backend: random.below(2) == 0,
            reset_unknown: random.below(2) == 0,
            one_armed: random.below(2) == 0,
            brokers: brokers(family, mode),
            slots: Vec::new(),
        };
        let slots = (0..SLOTS).map(|_| setup.slot(random)).collect();
        setup.slots = slots;
        setup
    }

    /// Another state of the brokers and of some slots.
    pub fn change(&mut self, random: &mut Random) {
        for broker in &mut self.brokers {
            broker.serves = random.below(8) > 0;
            broker.accepts = broker.serves && random.below(4) > 0;
        }
        for place in 0..SLOTS {
            if random.below(4) == 0 {
                self.slots[place] = self.slot(random);
            }
        }
    }

    fn slot(&self, random: &mut Random) -> Slot {
        let mut broker = || match random.below(40) {
            0 => None,
            1 => Some(3),
            2 => Some(4),
            3 => Some(5),
            other => Some(1 + (other % 2) as u32),
        };
        let (base, current) = (broker(), broker());
        let looks_up = random.below(4) > 0;
        if self.mode == Mode::Nat || !looks_up {
            return Slot { base: current, current, looks_up: false, learns: false };
        }
        let base = if random.below(3) == 0 { current } else { base };
        Slot { base, current, looks_up, learns: random.below(2) == 0 }
    }

    /// The balancer's address towards the brokers.
    pub fn source(&self) -> IpAddr {
        Net(self.family).source().0
    }

    pub fn vip(&self) -> SocketAddr {
        let (address, port) = Net(self.family).vip();
        SocketAddr::new(address, port)
    }

    /// What the controller would have written.
    pub fn world(&self) -> World {
        let net = Net(self.family);
        let mut world = net.direct_world(match self.mode {
            Mode::Nat => mode::NAT,
            Mode::Dsr => mode::DSR,
            Mode::Ipip(_) => mode::IPIP,
        });
        world.ingress = if self.one_armed { Net::INTERFACE } else { Net::LOOPBACK };
        world.settings.seed0 = self.seed.0;
        world.settings.seed1 = self.seed.1;
        for (key, service) in &mut world.services {
            service.hash_key = key.hash_key(Seed(self.seed.0, self.seed.1));
        }
        world.settings.first_port = FIRST_PORT;
        world.settings.ports = self.ports;
        world.settings.pending_ticks = self.pending_ticks;
        world.settings.rest_ticks = self.rest_ticks;
        (world.pending_room, world.flows_room) = (PENDING_ROOM, FLOWS_ROOM);
        world.learned_room = LEARNED_ROOM;
        let whole = if self.family == Family::V4 { 96 } else { 0 };
        let affinity = |bits: u32| Affinity::client((whole + bits) as u8);
        for service in world.services.values_mut() {
            service.idle_ticks = self.idle_ticks;
            service.affinity = self.affinity.map_or(Affinity::CONNECTION, affinity);
            service.flags = self.flags();
        }
        for (number, broker) in (1..).zip(&self.brokers) {
            net.add_backend(&mut world, number, (broker.address.ip(), broker.address.port()));
            let serves = if broker.serves { FORWARD } else { 0 };
            let accepts = if broker.accepts { ACCEPT } else { 0 };
            let Some(backend) = world.backends.get_mut(&number) else { continue };
            backend.flags = PRESENT | serves | accepts;
        }
        world.slots = self.ring();
        world
    }

    fn flags(&self) -> u8 {
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        flag(self.reset_without_backend, service_flags::RESET_WITHOUT_BACKEND)
            | flag(self.reset_unknown, service_flags::RESET_UNKNOWN_FLOW)
            | flag(self.guard == Guard::Mqtt, service_flags::ONLY_MQTT)
            | flag(self.guard == Guard::Tls, service_flags::ONLY_TLS)
    }

    fn ring(&self) -> BTreeMap<(u32, u32), RingSlot> {
        let flag = |is_set: bool, flag: u64| if is_set { flag } else { 0 };
        let slots = self.slots.iter().map(|slot| {
            let [base, current] = [slot.base, slot.current].map(|id| id.unwrap_or(NO_BACKEND));
            let flags =
                flag(slot.looks_up, slot_flags::LOOKUP) | flag(slot.learns, slot_flags::LEARN);
            RingSlot::in_transition(base, current).with(flags)
        });
        (0..).zip(slots).map(|(place, slot)| ((Net::SERVICE, place), slot)).collect()
    }
}

/// Two that answer, one whose Ethernet address nobody knows, one behind a router, and one that no
/// way leads to.
fn brokers(family: Family, mode: Mode) -> Vec<Broker> {
    let net = Net(if let Mode::Ipip(brokers) = mode { brokers } else { family });
    let of = |(address, port)| Broker {
        address: SocketAddr::new(address, port),
        serves: true,
        accepts: true,
    };
    [net.broker(1), net.broker(2), net.silent(), net.distant(), net.unreachable()].map(of).into()
}

//! The brokers of a run as they are configured and checked, and their numbers: what `layout` in
//! [`crate::control`] makes of the configuration.

use std::collections::BTreeMap;

use lb_common::{
    addr::Addr,
    backend::{
        Backend,
        backend_flags::{ACCEPT, DIRECT, FORWARD, PRESENT},
    },
    ticks,
};
use lb_ebpf::host::golden::Net;

use super::{orders::BROKERS, world::NUMBERS};

/// See the module.
pub(super) struct Brokers {
    pub all: [Broker; BROKERS],
    /// Ticks that a broker may be down before its connections are given up.
    pub dead_after: u32,
    /// How many came so far.
    seen: u16,
}

/// A broker.
#[derive(Clone, Debug, Default)]
pub(super) struct Broker {
    /// Whether the configuration has it.
    pub wanted: bool,
    pub drained: bool,
    pub health: Health,
    pub number: Option<u32>,
}

/// What the checks say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Health {
    #[default]
    Up,
    /// Down since this tick.
    Down(u32),
    /// It was given up and has not come up since.
    Unproven,
}

impl Broker {
    fn accepts(&self) -> bool {
        self.wanted && !self.drained && self.health == Health::Up
    }
}

/// The address of the broker that came as the `n`th: one that comes again is another one.
const fn address(n: u16) -> Addr {
    let [a, b] = n.to_be_bytes();
    Addr::v4([10, 9, a, b])
}

/// As which broker a backend came.
pub(super) const fn arrival(backend: &Backend) -> u16 {
    let octets = backend.address.octets();
    u16::from_be_bytes([octets[14], octets[15]])
}

impl Brokers {
    pub(super) fn new(dead_after: u32) -> Self {
        Self { all: Default::default(), dead_after, seen: 0 }
    }

    /// The numbers of those that take new connections.
    pub(super) fn members(&self) -> Vec<u32> {
        let accept = self.all.iter().filter(|broker| broker.accepts());
        accept.filter_map(|broker| broker.number).collect()
    }

    /// Whether the backend with this number drains.
    pub(super) fn is_drained(&self, id: u32) -> bool {
        self.all.iter().any(|broker| broker.number == Some(id) && broker.drained)
    }

    /// Whether the backend with this number is down.
    pub(super) fn is_down(&self, id: u32) -> bool {
        let is_down = |broker: &Broker| matches!(broker.health, Health::Down(_));
        self.all.iter().any(|broker| broker.number == Some(id) && is_down(broker))
    }

    /// Whether some have been down for too long while others are up.
    pub(super) fn any_dead(&self, now: u32) -> bool {
        let others = !self.members().is_empty();
        others && self.all.iter().any(|broker| self.is_dead(broker, now))
    }

    fn is_dead(&self, broker: &Broker, now: u32) -> bool {
        let Health::Down(since) = broker.health else { return false };
        broker.number.is_some() && ticks::age(now, since) > self.dead_after
    }

    /// Gives up those that have been down for too long, and numbers to those that have none.
    /// `taken` are numbers that must not be given.
    pub(super) fn give_numbers(&mut self, now: u32, taken: impl Fn(u32) -> bool) {
        let others = !self.members().is_empty();
        for index in 0..BROKERS {
            let dead = others && self.is_dead(&self.all[index], now);
            let broker = &mut self.all[index];
            if dead {
                broker.health = Health::Unproven;
            }
            if dead || !broker.wanted {
                broker.number = None;
            }
        }
        for index in 0..BROKERS {
            if self.all[index].wanted && self.all[index].number.is_none() {
                let mut used = self.all.iter().filter_map(|broker| broker.number);
                let mut free = (1..NUMBERS as u32).filter(|id| !taken(*id));
                let number = free.find(|id| !used.any(|used| used == *id));
                self.all[index].number = number;
            }
        }
    }

    /// The entries as they should be; `old` are those before.
    pub(super) fn backends(&mut self, old: &BTreeMap<u32, Backend>) -> BTreeMap<u32, Backend> {
        let mut backends = old.clone();
        for backend in backends.values_mut() {
            backend.flags &= PRESENT | DIRECT;
        }
        for broker in &self.all {
            let Some(id) = broker.number else { continue };
            let known = old.get(&id).filter(|backend| backend.flags & FORWARD != 0);
            let address = known.map_or_else(
                || {
                    self.seen += 1;
                    address(self.seen)
                },
                |known| known.address,
            );
            let accept = if broker.accepts() { ACCEPT } else { 0 };
            let flags = PRESENT | DIRECT | FORWARD | accept;
            let port = Net::PORT.to_be_bytes();
            let backend =
                Backend { address, port, flags, service: Net::SERVICE, first_peer: 0, pad: 0 };
            backends.insert(id, backend);
        }
        backends
    }
}

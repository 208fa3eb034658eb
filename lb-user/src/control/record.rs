//! What a controller leaves to the next one: the contents of the state file.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use lb_common::{
    affinity::Affinity,
    backend::{
        Backend,
        backend_flags::{DIRECT, FORWARD, PRESENT},
    },
    hash::Seed,
    service::{Service, mode},
    settings::Settings,
};
use serde::{Deserialize, Serialize};

use super::{
    desired::{Endpoint, MODE_PROXIED, PROXIED, is_direct, service_key},
    members::{Health, Standing},
    overlay::Overlay,
    tables::{Broker, NextIds, Tables},
};

/// The version of this shape; raised when an older controller could not read it correctly.
pub const VERSION: u32 = 2;

/// Everything that outlives a controller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// See [`VERSION`].
    pub version: u32,
    /// Key of the flow hash, 32 hexadecimal digits, where the configuration names none.
    pub seed: Option<String>,
    /// The changes made by command.
    pub changes: Overlay,
    /// Which numbers the tables use.
    pub tables: TablesRecord,
}

/// Which numbers the tables use, and for what. All else in them follows from the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TablesRecord {
    first_port: u16,
    ports: u16,
    sources: Vec<IpAddr>,
    services: BTreeMap<u32, ServiceRecord>,
    backends: BTreeMap<u32, BackendRecord>,
    /// The first peer of each broker.
    brokers: BTreeMap<SocketAddr, u32>,
    next_service: u32,
    next_backend: u32,
    next_broker: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServiceRecord {
    address: SocketAddr,
    /// Whether its brokers answer directly.
    direct: bool,
    /// Whether its connections end in userspace.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    proxied: bool,
    /// How many bits of a client's address, of 128, choose its slot; all of a connection's ends if
    /// there is none.
    #[serde(default)]
    client_bits: Option<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BackendRecord {
    service: u32,
    broker: SocketAddr,
    /// Removed, but perhaps not yet purged.
    gone: bool,
    #[serde(default)]
    health: HealthRecord,
    /// It came up at this tick of the machine's monotonic clock, lately.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    came_up: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum HealthRecord {
    #[default]
    Unproven,
    Up,
    /// Down since this tick of the machine's monotonic clock.
    Down(u32),
}

impl TablesRecord {
    /// The numbers of `tables`, with what is known about the backends.
    #[must_use]
    pub fn new(tables: &Tables, health: &Health) -> Self {
        let settings = tables.settings.unwrap_or_default();
        let backend = |(id, backend): (&u32, &Backend)| {
            let record = BackendRecord {
                service: backend.service,
                broker: Endpoint::of(backend).into(),
                gone: backend.flags & FORWARD == 0,
                health: match health.of(*id) {
                    Standing::Unproven => HealthRecord::Unproven,
                    Standing::Up => HealthRecord::Up,
                    Standing::Down { since } => HealthRecord::Down(since),
                },
                came_up: health.came_up_at(*id),
            };
            (*id, record)
        };
        let service = |service: &Service| {
            let port = u16::from_be_bytes(service.key.port);
            let address = SocketAddr::new(service.key.vip.into(), port);
            let (direct, proxied) = (is_direct(service.mode), service.mode == MODE_PROXIED);
            let client_bits = service.affinity.client_bits();
            (service.id, ServiceRecord { address, direct, proxied, client_bits })
        };
        Self {
            first_port: settings.first_port,
            ports: settings.ports,
            sources: tables.sources.iter().map(|source| IpAddr::from(*source)).collect(),
            services: tables.services.values().map(service).collect(),
            backends: tables.backends.iter().map(backend).collect(),
            brokers: tables.brokers.iter().map(|(at, b)| ((*at).into(), b.first_peer)).collect(),
            next_service: tables.next.service,
            next_backend: tables.next.backend,
            next_broker: tables.next.broker,
        }
    }

    /// Where the search for free numbers begins, after the tables themselves are gone.
    #[must_use]
    pub fn next_ids(&self) -> NextIds {
        NextIds { service: self.next_service, backend: self.next_backend, broker: self.next_broker }
    }

    /// The tables, as far as they are recorded (to be written again), and what is known about
    /// their backends. `now` is the current tick.
    #[must_use]
    pub fn restore(&self, now: u32) -> (Tables, Health) {
        let mut tables = Tables { next: self.next_ids(), ..Tables::default() };
        tables.sources = self.sources.iter().map(|source| (*source).into()).collect();
        let v4 = self.sources.iter().filter(|source| source.is_ipv4()).count() as u16;
        if self.ports > 0 {
            tables.settings = Some(Settings {
                first_port: self.first_port,
                ports: self.ports,
                sources_v4: v4,
                sources_v6: self.sources.len() as u16 - v4,
                ..Settings::default()
            });
        }
        for (id, ServiceRecord { address, direct, proxied, client_bits }) in &self.services {
            let key = service_key(*address);
            // Which of the direct ones does not matter, nor what else is not known: it is written
            // again.
            let mode = match (proxied, direct) {
                (true, _) => MODE_PROXIED,
                (false, true) => mode::DSR,
                (false, false) => mode::NAT,
            };
            let affinity = client_bits.map_or(Affinity::CONNECTION, Affinity::client);
            let (id, pad) = (*id, [0; 6]);
            let hash_key = Seed::default();
            let service =
                Service { key, id, idle_ticks: 0, mode, flags: 0, pad, affinity, hash_key };
            tables.services.insert(key, service);
        }
        for (broker, first_peer) in &self.brokers {
            let used = self.backends.values().any(|backend| backend.broker == *broker);
            let idle_since = (!used).then_some(now);
            let broker = Endpoint::from(*broker);
            tables.brokers.insert(broker, Broker { first_peer: *first_peer, idle_since });
        }
        let mut health = Health::default();
        for (id, record) in &self.backends {
            let broker = Endpoint::from(record.broker);
            let service = self.services.get(&record.service);
            let direct = service.is_some_and(|service| service.direct);
            let proxied = service.is_some_and(|service| service.proxied);
            let backend = Backend {
                address: broker.address,
                port: broker.port.to_be_bytes(),
                flags: PRESENT
                    | if record.gone { 0 } else { FORWARD }
                    | if direct { DIRECT } else { 0 }
                    | if proxied { PROXIED } else { 0 },
                service: record.service,
                first_peer: self.brokers.get(&record.broker).copied().unwrap_or_default(),
                pad: 0,
            };
            tables.backends.insert(*id, backend);
            let standing = match record.health {
                HealthRecord::Unproven => Standing::Unproven,
                HealthRecord::Up => Standing::Up,
                HealthRecord::Down(since) => Standing::Down { since },
            };
            health.set(*id, standing);
            if let Some(since) = record.came_up {
                health.set_came_up(*id, since);
            }
        }
        tables.peers = tables.peers_of_brokers();
        (tables, health)
    }
}

/// `seed` as hexadecimal digits.
#[must_use]
pub fn seed_to_text(seed: Seed) -> String {
    format!("{:016x}{:016x}", seed.0, seed.1)
}

/// The seed that [`seed_to_text`] wrote.
#[must_use]
pub fn seed_from_text(text: &str) -> Option<Seed> {
    let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u128::from_str_radix(text, 16).ok().filter(|_| digits)?;
    Some(Seed((number >> 64) as u64, number as u64))
}

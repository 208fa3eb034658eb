//! What should be: the configuration with the changes made by command, in the words of the tables.

use std::net::SocketAddr;

use lb_common::{
    addr::Addr,
    admission::Admission,
    affinity::Affinity,
    backend::Backend,
    hash::Seed,
    service::{ServiceKey, mode, service_flags},
    settings::Settings,
    ticks,
    tunnel::TunnelSource,
};

use super::{admission, overlay::Overlay};
use crate::config::model::{
    self, AllDown, Config, Guard, LoadLimits, Mode, Name, Prefix, Refusal, Service,
};

/// The mode of services whose connections end in userspace. They have numbers like all others, by
/// which health, drains and counters know them, but the data plane never hears of them.
pub const MODE_PROXIED: u8 = u8::MAX;

/// The flag of their backends; the data plane has no such flag.
pub const PROXIED: u16 = 1 << 15;

/// Whether brokers answer clients directly in this mode.
#[must_use]
pub const fn is_direct(mode: u8) -> bool {
    mode != MODE_PROXIED && mode::is_direct(mode)
}

/// The address and port of a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The address.
    pub address: Addr,
    /// The port, host byte order.
    pub port: u16,
}

impl Endpoint {
    /// Where `backend` listens.
    #[must_use]
    pub const fn of(backend: &Backend) -> Self {
        Self { address: backend.address, port: u16::from_be_bytes(backend.port) }
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(socket: SocketAddr) -> Self {
        Self { address: socket.ip().into(), port: socket.port() }
    }
}

impl From<Endpoint> for SocketAddr {
    fn from(endpoint: Endpoint) -> Self {
        Self::new(endpoint.address.into(), endpoint.port)
    }
}

/// What the tables should say.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// The settings.
    pub settings: Settings,
    /// The balancer's own addresses in the order of their numbers: IPv4 first.
    pub sources: Vec<Addr>,
    /// Prefixes of sources in the list for all services, and whether they are denied.
    pub listed: Vec<(Prefix, bool)>,
    /// The most backends there may be; their numbers are 1 to this.
    pub max_backends: u32,
    /// The services.
    pub services: Vec<DesiredService>,
}

/// A service as it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredService {
    /// Its name.
    pub name: Name,
    /// Where clients connect to; what makes it the same service after a change.
    pub key: ServiceKey,
    /// See [`lb_common::service::Service`].
    pub idle_ticks: u32,
    /// See [`lb_common::service::Service`].
    pub mode: u8,
    /// See [`lb_common::service::Service`].
    pub flags: u8,
    /// See [`lb_common::service::Service`].
    pub affinity: Affinity,
    /// How many SYNs it takes.
    pub rates: Admission,
    /// Prefixes of sources in its list, and whether they are denied.
    pub listed: Vec<(Prefix, bool)>,
    /// How long a backend that comes up gets less than its rate; 0 is not at all.
    pub slow_start_ticks: u32,
    /// Whether its backends are checked; if not, they are all up.
    pub checked: bool,
    /// What happens while all backends are down.
    pub all_down: AllDown,
    /// Backends that went down within this many ticks of the last one count as having failed
    /// together: the time a check needs to notice.
    pub together_ticks: u32,
    /// How long a backend may be down before its connections are given up; `None` is for ever.
    pub dead_ticks: Option<u32>,
    /// How long connections are tracked after a change of the backends.
    pub rebase_ticks: u32,
    /// Its backends.
    pub backends: Vec<DesiredBackend>,
}

/// A backend as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredBackend {
    /// Its name.
    pub name: Name,
    /// Where the broker listens; what makes it the same backend after a change.
    pub endpoint: Endpoint,
    /// Its weight, not zero.
    pub weight: u32,
    /// Whether it takes no new connections.
    pub drained: bool,
    /// What it may take.
    pub limits: LoadLimits,
}

impl Desired {
    /// What `config` with the changes of `overlay` asks for.
    #[must_use]
    pub fn new(config: &Config, overlay: &Overlay, seed: Seed) -> Self {
        let nat = &config.nat;
        let v4: Vec<Addr> = nat.v4().map(|address| Addr::v4(address.octets())).collect();
        let v6: Vec<Addr> = nat.v6().map(|address| Addr::v6(address.octets())).collect();
        let settings = Settings {
            seed0: seed.0,
            seed1: seed.1,
            first_port: nat.ports.first(),
            ports: nat.ports.count().min(u32::from(u16::MAX)) as u16,
            sources_v4: v4.len() as u16,
            sources_v6: v6.len() as u16,
            pending_ticks: ticks::from_duration(config.timeouts.pending),
            closed_ticks: ticks::from_duration(config.timeouts.closed),
            rest_ticks: ticks::from_duration(config.timeouts.port_rest),
            tunnel_v4: tunnel_source(config.tunnel.v4),
            tunnel_v6: tunnel_source(config.tunnel.v6),
            pad: 0,
        };
        Self {
            settings,
            sources: [v4, v6].concat(),
            listed: config.sources.listed().collect(),
            max_backends: config.limits.backends,
            services: config.services.iter().map(|s| DesiredService::new(s, overlay)).collect(),
        }
    }

    /// The key of the flow hash.
    #[must_use]
    pub const fn seed(&self) -> Seed {
        Seed(self.settings.seed0, self.settings.seed1)
    }
}

impl DesiredService {
    fn new(service: &Service, overlay: &Overlay) -> Self {
        let flag = |refusal, flag| if refusal == Refusal::Reset { flag } else { 0 };
        let together = service.health.as_ref().map_or(0, |health| {
            let timing = &health.timing;
            ticks::from_duration(timing.interval.saturating_mul(timing.fall) + timing.timeout)
        });
        let backends = overlay.backends(service).into_iter().map(|backend| DesiredBackend {
            endpoint: backend.socket().into(),
            weight: backend.weight.value().into(),
            drained: overlay.is_drained(&service.name, &backend.name),
            limits: backend.limits.or(service.limits),
            name: backend.name,
        });
        Self {
            name: service.name.clone(),
            key: service_key(service.address()),
            idle_ticks: ticks::from_duration(service.idle_timeout),
            mode: match service.mode {
                Mode::Nat => mode::NAT,
                Mode::Dsr => mode::DSR,
                Mode::Ipip => mode::IPIP,
                Mode::Mqtt => MODE_PROXIED,
            },
            flags: flag(service.no_backend, service_flags::RESET_WITHOUT_BACKEND)
                | flag(service.unknown_flow, service_flags::RESET_UNKNOWN_FLOW)
                | match service.guard {
                    Guard::Off => 0,
                    Guard::Mqtt => service_flags::ONLY_MQTT,
                    Guard::Tls => service_flags::ONLY_TLS,
                },
            affinity: affinity(service),
            rates: admission::rates(&service.syn_rates, family_bits(service)),
            listed: service.sources.listed().collect(),
            slow_start_ticks: service.slow_start.map_or(0, ticks::from_duration),
            checked: service.health.is_some(),
            all_down: service.all_down,
            together_ticks: together,
            dead_ticks: service.dead_after.map(ticks::from_duration),
            rebase_ticks: ticks::from_duration(service.rebase_after),
            backends: backends.collect(),
        }
    }
}

fn tunnel_source(prefix: Option<Prefix>) -> TunnelSource {
    prefix.map_or_else(TunnelSource::default, |prefix| {
        TunnelSource::new(prefix.address().into(), prefix.host_bits())
    })
}

/// The key under which the tables know the service at `address`.
#[must_use]
pub fn service_key(address: SocketAddr) -> ServiceKey {
    ServiceKey::tcp(address.ip().into(), address.port().to_be_bytes())
}

fn affinity(service: &Service) -> Affinity {
    match service.affinity {
        model::Affinity::Connection => Affinity::CONNECTION,
        model::Affinity::Client => Affinity::client(128),
        model::Affinity::Prefix(bits) => Affinity::client(family_bits(service) + bits),
    }
}

/// Bits of a mapped address that are the same for all clients of the service's family.
const fn family_bits(service: &Service) -> u8 {
    if service.vip.is_ipv4() { 96 } else { 0 }
}

//! The balancer whose program is measured: started by `mqlb run`, filled with connections, then
//! left alone.

use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result};
use aya::programs::{ProgramInfo, loaded_programs};
use lb_common::{
    addr::Addr,
    flow::{Flow, FlowKey},
    layout::maps,
    replay::{self, BROKERS, FlowOf, MAX_FLOWS, PORTS, SOURCES},
    ring::{Slot, slot_flags},
};
use lb_tests::{
    balancer::{self, Balancer},
    broker::Broker,
    netns::Namespace,
    tables::{Connection, Tables},
    topology::{Arms, Family, MQTT_PORT, Topology},
};
use serde_json::{Value, json};

use super::packet::{Service, version};

const LIMIT: Duration = Duration::from_secs(20);
/// The first source port; the kernel's own are told to lie above the last one.
pub const FIRST_PORT: u16 = 20_000;
/// Where the clients of flow 0 and of the first new flow are.
const CLIENTS: [&str; 2] = ["100.64.0.0", "2001:db8:64::"];
const NEW_CLIENTS: [&str; 2] = ["100.96.0.0", "2001:db8:96::"];
/// What wrapped packets come from.
const TUNNELS: [&str; 2] = ["10.99.0.0/16", "fd00:99::/64"];

/// The balancer and its network.
pub struct Stage {
    // In the order of their ends.
    _balancer: Balancer,
    _brokers: Vec<Broker>,
    topology: Topology,
    pub tables: Tables,
    /// The first is the one in the topology.
    sources: [[IpAddr; SOURCES]; 2],
}

impl Stage {
    /// Starts everything; the tables hold no connection yet.
    pub fn new(mqlb: &Path) -> Result<Self> {
        let topology = Topology::new(Arms::Two, BROKERS)?;
        let sources = [Family::V4, Family::V6].map(|family| sources(&topology, family));
        prepare(&topology, &sources)?;
        let brokers = Broker::start_all(&topology)?;
        let mut config = balancer::config(&topology);
        config["nat"] = json!({
            "addresses": sources.concat(),
            "ports": format!("{FIRST_PORT}-{}", FIRST_PORT + PORTS - 1),
        });
        config["tunnel"] = json!({ "sources": TUNNELS });
        // Of mode `nat` and of the service in transition, in both families.
        config["limits"] = json!({ "connections": 4 * MAX_FLOWS + 200_000 });
        for service in config["services"].as_array_mut().into_iter().flatten() {
            service["unknown_flow"] = "drop".into();
        }
        if let Some(services) = config["services"].as_array_mut() {
            let direct = Family::ALL.into_iter().flat_map(|family| direct(services, family));
            let direct: Vec<Value> = direct.collect();
            services.extend(direct);
        }
        let mut balancer = Balancer::start_program(&topology, &config, mqlb.to_owned())?;
        balancer.wait_active(LIMIT)?;
        // The data plane goes on, and nothing disturbs the measurement.
        balancer.stop()?;
        fix_neighbours(&topology)?;
        let tables = Tables::new(topology.scratch().bpffs().join("mqlb"));
        Ok(Self { _balancer: balancer, _brokers: brokers, topology, tables, sources })
    }

    pub fn namespace(&self) -> &Namespace {
        self.topology.balancer()
    }

    /// Where clients find a service.
    pub fn vip(&self, service: Service, family: Family) -> (IpAddr, u16) {
        let vip = match service {
            Service::Nat => self.topology.vip(family).ip(),
            _ => direct_vip(service, family),
        };
        (vip, MQTT_PORT)
    }

    pub fn brokers(&self, family: Family) -> [Addr; BROKERS] {
        std::array::from_fn(|index| self.topology.broker_address(index, family).ip().into())
    }

    pub fn sources(&self, family: Family) -> [Addr; SOURCES] {
        self.sources[family as usize].map(Addr::from)
    }

    /// The address of the client of flow 0, or of the first flow that is in no table.
    pub fn first_client(family: Family, known: bool) -> Result<IpAddr> {
        let clients = if known { CLIENTS } else { NEW_CLIENTS };
        Ok(clients[family as usize].parse()?)
    }

    /// The program on the balancer's interfaces.
    pub fn program(&self) -> Result<ProgramInfo> {
        let link = self.topology.scratch().bpffs().join("mqlb/links/eth0");
        let link = aya::programs::links::PinnedLink::from_pin(link).context("open the link")?;
        let link: aya::programs::links::FdLink = link.into();
        let id = link.info()?.program_id();
        loaded_programs()
            .filter_map(Result::ok)
            .find(|program| program.id() == id)
            .context("the program on eth0")
    }

    /// Makes all source ports as if never used.
    pub fn free_ports(&self, family: Family) -> Result<()> {
        for broker in 0..BROKERS {
            let address = self.topology.broker_address(broker, family);
            for source in self.sources[family as usize] {
                let mut ports = self.tables.ports(self.tables.peer(address, source)?)?;
                for index in 0..u32::from(PORTS) {
                    ports.set(index, [0; 4], 0)?;
                }
            }
        }
        Ok(())
    }

    /// Lets all slots of the services that are to be stable be so: a while after the last backend was
    /// found to be up, the controller would.
    pub fn settle(&self, family: Family) -> Result<()> {
        for service in [Service::Dsr, Service::Ipip] {
            let service = self.tables.service(SocketAddr::from(self.vip(service, family)))?;
            self.tables.change_ring(service.id, |slot| Slot::stable(slot.current()))?;
        }
        Ok(())
    }

    /// Puts all slots of [`Service::Moving`] into transition, and enters all its flows that can be
    /// replayed, each with one of the backends.
    pub fn move_slots(&self, family: Family) -> Result<()> {
        let service = self.tables.service(SocketAddr::from(self.vip(Service::Moving, family)))?;
        let backends: Vec<u32> = (0..BROKERS)
            .map(|broker| {
                let address = self.topology.broker_address(broker, family);
                Ok(self.tables.backend(service.id, address)?.0)
            })
            .collect::<Result<_>>()?;
        self.tables.change_ring(service.id, |slot| {
            let next = backends.iter().cycle().skip_while(|id| **id != slot.base()).nth(1);
            let current = next.copied().unwrap_or(slot.base());
            Slot::in_transition(slot.base(), current).with(slot_flags::LOOKUP)
        })?;
        let first_client = Addr::from(Self::first_client(family, true)?);
        let mut flows = self.tables.hash::<FlowKey, Flow>(maps::FLOWS)?;
        for number in 0..MAX_FLOWS {
            let client = replay::client(first_client, number);
            let key = FlowKey::new(client, FlowOf::number(number).client_port, service.id);
            // As long as an age can be.
            let flow = Flow::tracked(backends[number as usize % BROKERS], 0, u32::MAX / 2);
            flows.insert(key, flow, 0).context("write a tracked connection")?;
        }
        Ok(())
    }

    /// Enters all flows of mode `nat` that can be replayed.
    pub fn fill(&self, family: Family) -> Result<()> {
        let service = self.tables.service(self.topology.vip(family))?;
        let first_client = Addr::from(Self::first_client(family, true)?);
        for broker in 0..BROKERS {
            let address = self.topology.broker_address(broker, family);
            let (backend, _) = self.tables.backend(service.id, address)?;
            for source in 0..SOURCES {
                let of_family = self.sources[family as usize][source];
                let peer = self.tables.peer(address, of_family)?;
                // IPv6 addresses are numbered behind those of IPv4.
                let number = (family as usize * SOURCES + source) as u16;
                self.tables.fill((0..u32::from(PORTS)).map(|port_index| {
                    let flow = port_index * (BROKERS * SOURCES) as u32
                        + (source * BROKERS + broker) as u32;
                    let client = replay::client(first_client, flow);
                    Connection {
                        key: FlowKey::new(client, FlowOf::number(flow).client_port, service.id),
                        flow: Flow {
                            word: backend << 8,
                            nat_port: (FIRST_PORT + port_index as u16).to_be_bytes(),
                            source: number,
                            last_seen: 0,
                            idle_ticks: service.idle_ticks,
                        },
                        peer,
                        port_index,
                    }
                }))?;
            }
        }
        Ok(())
    }
}

/// Services in direct modes, with the backends that the others have.
fn direct(services: &[Value], family: Family) -> Vec<Value> {
    let backends = &services[family as usize]["backends"];
    let one = |service: Service| {
        json!({
            "name": format!("{service:?}-{}", version(family)).to_lowercase(),
            "vip": direct_vip(service, family),
            "port": MQTT_PORT,
            "mode": service.mode(),
            "health": { "type": "tcp", "interval": "1s", "timeout": "900ms", "rise": 1, "fall": 2 },
            "backends": backends,
        })
    };
    Service::DIRECT.map(one).into()
}

fn direct_vip(service: Service, family: Family) -> IpAddr {
    let number = 10 + service as u8;
    match family {
        Family::V4 => [192, 0, 2, number].into(),
        Family::V6 => [0x2001, 0xdb8, 2, 0, 0, 0, 0, number.into()].into(),
    }
}

fn sources(topology: &Topology, family: Family) -> [IpAddr; SOURCES] {
    let first = topology.balancer_address(family);
    std::array::from_fn(|number| match (first, number as u8) {
        (address, 0) => address,
        (IpAddr::V4(address), number) => {
            let [a, b, c, _] = address.octets();
            [a, b, c, 200 + number].into()
        }
        (IpAddr::V6(address), number) => {
            let mut segments = address.segments();
            segments[7] = 0x200 + u16::from(number);
            segments.into()
        }
    })
}

/// The balancer's addresses and ports, and the ways to clients that do not exist.
fn prepare(topology: &Topology, sources: &[[IpAddr; SOURCES]; 2]) -> Result<()> {
    let mut lines = String::new();
    for address in sources.iter().flat_map(|of_family| &of_family[1..]) {
        let (bits, nodad) = if address.is_ipv4() { (24, "") } else { (64, " nodad") };
        writeln!(lines, "addr add {address}/{bits} dev eth1{nodad}")?;
    }
    writeln!(lines, "route add 100.64.0.0/10 via 10.77.1.100 dev eth0")?;
    writeln!(lines, "route add 2001:db8::/32 via fd77:1::64 dev eth0")?;
    topology.balancer().ip(&lines)?;
    let above = format!("{} 60999", FIRST_PORT + PORTS);
    topology.balancer().sysctl(&[("net.ipv4.ip_local_port_range", &above)])
}

/// Nothing is sent any more, so nobody would answer for an address either.
fn fix_neighbours(topology: &Topology) -> Result<()> {
    let mut lines = String::new();
    for family in Family::ALL {
        for broker in 0..BROKERS {
            let address = topology.broker_address(broker, family).ip();
            writeln!(
                lines,
                "neigh replace {address} lladdr 02:00:00:00:01:00 dev eth1 nud permanent"
            )?;
        }
    }
    for gateway in ["10.77.1.100", "fd77:1::64"] {
        writeln!(lines, "neigh replace {gateway} lladdr 02:00:00:00:02:00 dev eth0 nud permanent")?;
    }
    topology.balancer().ip(&lines)
}

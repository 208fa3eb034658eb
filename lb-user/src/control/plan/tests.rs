use std::collections::{BTreeMap, BTreeSet};

use lb_common::{
    addr::Addr,
    admission::Admission,
    affinity::Affinity,
    backend::backend_flags::LIMITED,
    flow::{Flow, FlowKey},
    service::{ServiceKey, mode},
    settings::Settings,
};
use proptest::prelude::*;

use super::*;
use crate::{
    config::model::{AllDown, LoadLimits, Prefix},
    control::{
        datapath::Datapath,
        desired::{Desired, DesiredBackend, DesiredService, Endpoint},
        layout,
        members::Health,
        memory::Memory,
    },
};

/// A state of the world: what is desired, and which brokers (by last octet) are up.
#[derive(Clone, Debug)]
struct World {
    services: Vec<Vec<(u8, u32, bool)>>,
    up: BTreeSet<u8>,
    sources: u8,
    refuse: bool,
}

fn source(number: u8) -> Addr {
    Addr::v4([10, 9, 9, number])
}

fn denied(number: u8) -> Prefix {
    Prefix::new([198, 51, 100, number].into(), 32)
}

/// Some have one, and not all the same.
fn limit(weight: u32) -> Option<u32> {
    (weight > 1).then_some(weight)
}

impl World {
    fn desired(&self) -> Desired {
        let services = self.services.iter().zip(0u8..).filter(|(backends, _)| !backends.is_empty());
        Desired {
            settings: Settings {
                first_port: 15_000,
                ports: 1000,
                sources_v4: self.sources.into(),
                ..Settings::default()
            },
            sources: (0..self.sources).map(source).collect(),
            listed: if self.sources == 1 { vec![(denied(99), true)] } else { vec![] },
            max_backends: 64,
            services: services.map(|(backends, n)| self.service(n, backends)).collect(),
        }
    }

    fn service(&self, number: u8, backends: &[(u8, u32, bool)]) -> DesiredService {
        let backends = backends.iter().map(|(octet, weight, drained)| DesiredBackend {
            name: format!("b{octet}").parse().unwrap(),
            endpoint: Endpoint { address: Addr::v4([10, 0, 0, *octet]), port: 1883 },
            weight: *weight,
            limits: LoadLimits { max_new_per_second: limit(*weight), max_connections: None },
            drained: *drained,
        });
        DesiredService {
            name: format!("s{number}").parse().unwrap(),
            key: ServiceKey::tcp(Addr::v4([192, 0, 2, number]), 1883u16.to_be_bytes()),
            idle_ticks: 100,
            mode: 0,
            flags: 0,
            affinity: Affinity::CONNECTION,
            rates: Admission::default(),
            listed: if self.refuse { vec![(denied(number), true)] } else { vec![] },
            slow_start_ticks: 0,
            checked: true,
            all_down: if self.refuse { AllDown::Refuse } else { AllDown::LastKnownGood },
            together_ticks: 5,
            dead_ticks: None,
            rebase_ticks: 0,
            backends: backends.collect(),
        }
    }
}

fn world() -> impl Strategy<Value = World> {
    let backend = (0u8..6, (1u32..4, any::<bool>()));
    let service = proptest::collection::btree_map(backend.0, backend.1, 0..5)
        .prop_map(|all| all.into_iter().map(|(octet, (weight, d))| (octet, weight, d)).collect());
    let services = proptest::collection::vec(service, 3);
    let up = proptest::collection::btree_set(0u8..6, 0..6);
    (services, up, 1u8..3, any::<bool>()).prop_map(|(services, up, sources, refuse)| World {
        services,
        up,
        sources,
        refuse,
    })
}

/// What the controller does, in small.
#[derive(Default)]
struct Balancer {
    memory: Memory,
    tables: Tables,
    health: Health,
    now: u32,
}

impl Balancer {
    fn target(&mut self, desired: &Desired) -> Tables {
        layout::tables(&self.tables, desired, &self.health, self.now).unwrap()
    }

    fn apply(&mut self, target: &Tables, trust: Trust) -> Result<(), ()> {
        for edit in plan(&self.tables, target, trust) {
            self.memory.apply(&edit).map_err(|_| ())?;
            self.tables.note(&edit, target);
        }
        self.tables = target.clone();
        Ok(())
    }

    fn note_health(&mut self, up: &BTreeSet<u8>) {
        let backends = self.tables.backends.clone();
        for (id, backend) in backends {
            self.health.note(id, up.contains(&backend.address.octets()[15]), self.now);
        }
    }

    fn become_world(&mut self, world: &World) {
        let desired = world.desired();
        // First the configuration, then what the checks say about its backends.
        for _ in 0..2 {
            let target = self.target(&desired);
            self.apply(&target, Trust::Exact).unwrap();
            self.note_health(&world.up);
        }
        let clean = self.tables.without_remains(self.now);
        self.apply(&clean, Trust::Exact).unwrap();
        self.health.retain(|id| self.tables.backends.contains_key(&id));
    }
}

/// The tables with the numbers taken out: services by key, with ring shares by address.
type Shape = Vec<(ServiceKey, BTreeMap<Addr, (u16, u32)>)>;

fn shape(memory: &Memory) -> Shape {
    let by_service = |id: u32| {
        let shares = crate::ring::tests::shares(&memory.rings[&id]);
        let backends = memory.backends.iter().filter(move |(_, b)| b.service == id);
        backends
            .map(|(number, b)| {
                (b.address, (b.flags, shares.get(number).copied().unwrap_or_default()))
            })
            .collect()
    };
    memory.services.values().map(|service| (service.key, by_service(service.id))).collect()
}

/// Sources cannot go away again: a later world has at least those of the earlier ones.
fn growing(mut worlds: Vec<World>) -> Vec<World> {
    let mut most = 0;
    for world in &mut worlds {
        most = most.max(world.sources);
        world.sources = most;
    }
    worlds
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn changes_lead_to_the_same_tables_as_a_fresh_start(
        worlds in proptest::collection::vec(world(), 1..5).prop_map(growing)
    ) {
        let mut balancer = Balancer::default();
        for world in &worlds {
            balancer.now += 1000;
            balancer.become_world(world);
        }
        // A fresh start that knows the same about the brokers: who was up at some time counts.
        let desired = worlds.last().unwrap().desired();
        let mut fresh = Balancer::default();
        let target = fresh.target(&desired);
        fresh.apply(&target, Trust::Exact).unwrap();
        for (id, backend) in &fresh.tables.backends {
            let service = fresh.tables.service_by_id(backend.service).unwrap().key;
            let service = balancer.tables.services[&service].id;
            let there = balancer.tables.backend_at(service, Endpoint::of(backend)).unwrap();
            fresh.health.set(*id, balancer.health.of(there));
        }
        for balancer in [&mut balancer, &mut fresh] {
            let target = balancer.target(&desired);
            balancer.apply(&target, Trust::Exact).unwrap();
        }
        prop_assert_eq!(shape(&balancer.memory), shape(&fresh.memory));
        prop_assert_eq!(balancer.memory.sources, fresh.memory.sources);
    }

    #[test]
    fn who_stays_keeps_number_and_flows(before in world(), after in world()) {
        let [before, after]: [World; 2] = growing(vec![before, after]).try_into().unwrap();
        let mut balancer = Balancer::default();
        balancer.become_world(&before);
        let old = balancer.tables.clone();
        for (id, backend) in &old.backends {
            let key = FlowKey::new(source(7), (*id as u16).to_be_bytes(), backend.service);
            let flow = Flow { word: id << 8, nat_port: [0; 2], source: 0, last_seen: 0, idle_ticks: 9 };
            balancer.memory.flows.insert(key, flow);
        }
        balancer.become_world(&after);
        for (id, backend) in &old.backends {
            let key = old.service_by_id(backend.service).unwrap().key;
            let octet = backend.address.octets()[15];
            let stays = after.services[usize::from(key.vip.octets()[15])].iter().any(|b| b.0 == octet);
            let now = balancer.tables.backends.get(id);
            let flows = balancer.memory.flows.values().filter(|flow| flow.backend() == *id).count();
            prop_assert_eq!(flows, usize::from(stays));
            prop_assert_eq!(now.is_some(), stays);
            if let Some(now) = now {
                let flags = |b: &Backend| b.flags & !(ACCEPT | LIMITED);
                prop_assert_eq!(flags(now), flags(backend));
                prop_assert_eq!((now.service, now.first_peer), (backend.service, backend.first_peer));
            }
        }
    }

    #[test]
    fn a_change_that_fails_half_way_can_be_taken_back(
        before in world(), after in world(), at: prop::sample::Index,
    ) {
        let [before, after]: [World; 2] = growing(vec![before, after]).try_into().unwrap();
        let mut balancer = Balancer::default();
        balancer.become_world(&before);
        let (old, memory) = (balancer.tables.clone(), shape(&balancer.memory));
        let target = balancer.target(&after.desired());
        let length = plan(&old, &target, Trust::Exact).len();
        prop_assume!(length > 0);
        let fails = balancer.memory.edits + at.index(length);
        balancer.memory.failing = fails..fails + 1;
        prop_assert!(balancer.apply(&target, Trust::Exact).is_err());
        balancer.apply(&old, Trust::Exact).unwrap();
        prop_assert_eq!(shape(&balancer.memory), memory);
        prop_assert_eq!(
            balancer.memory.backends.keys().collect::<Vec<_>>(),
            old.backends.keys().collect::<Vec<_>>()
        );
    }

    #[test]
    fn rewriting_changes_nothing(world in world()) {
        let mut balancer = Balancer::default();
        balancer.become_world(&world);
        let memory = shape(&balancer.memory);
        let tables = balancer.tables.clone();
        prop_assert!(plan(&tables, &tables, Trust::Exact).is_empty());
        balancer.apply(&tables, Trust::Rewrite).unwrap();
        prop_assert_eq!(shape(&balancer.memory), memory);
    }
}

fn one_service(backends: &[(u8, u32, bool)]) -> World {
    let up = backends.iter().map(|backend| backend.0).collect();
    World { services: vec![backends.to_vec()], up, sources: 1, refuse: false }
}

#[test]
fn a_drained_backend_forwards_but_does_not_accept() {
    let mut balancer = Balancer::default();
    balancer.become_world(&one_service(&[(1, 1, false), (2, 1, false)]));
    balancer.become_world(&one_service(&[(1, 1, false), (2, 1, true)]));
    let backends: Vec<_> = balancer.tables.backends.values().map(|b| b.flags).collect();
    assert_eq!(backends, [PRESENT | FORWARD | ACCEPT, PRESENT | FORWARD]);
}

#[test]
fn a_backend_that_returns_gets_a_new_number_and_its_old_source_ports() {
    let both = one_service(&[(1, 1, false), (2, 1, false)]);
    let mut balancer = Balancer::default();
    balancer.become_world(&both);
    let old = balancer.tables.clone();
    balancer.become_world(&one_service(&[(1, 1, false)]));
    balancer.become_world(&both);
    let broker = Endpoint { address: Addr::v4([10, 0, 0, 2]), port: 1883 };
    let service = old.services.values().next().unwrap().id;
    let [before, after] =
        [&old, &balancer.tables].map(|tables| tables.backend_at(service, broker).unwrap());
    assert_ne!(before, after);
    assert_eq!(old.peers, balancer.tables.peers);
}

#[test]
fn a_number_is_not_given_again_before_its_flows_are_purged() {
    let mut balancer = Balancer::default();
    balancer.become_world(&one_service(&[(1, 1, false), (2, 1, false)]));
    let used: BTreeSet<u32> = balancer.tables.backends.keys().copied().collect();
    for newcomer in [3, 4] {
        // As if all numbers had been given once.
        balancer.tables.next.backend = 0;
        let target = balancer.target(&one_service(&[(newcomer, 1, false)]).desired());
        let broker = Endpoint { address: Addr::v4([10, 0, 0, newcomer]), port: 1883 };
        let service = target.services.values().next().unwrap().id;
        assert!(!used.contains(&target.backend_at(service, broker).unwrap()));
        balancer.apply(&target, Trust::Exact).unwrap();
    }
    balancer.become_world(&one_service(&[(4, 1, false)]));
    balancer.tables.next.backend = 0;
    balancer.become_world(&one_service(&[(4, 1, false), (5, 1, false)]));
    assert!(balancer.tables.backends.keys().any(|id| used.contains(id)), "afterwards it is free");
}

#[test]
fn the_peers_of_a_removed_broker_go_when_their_ports_have_rested() {
    let mut balancer = Balancer::default();
    balancer.become_world(&one_service(&[(1, 1, false), (2, 1, false)]));
    balancer.become_world(&one_service(&[(1, 1, false)]));
    assert_eq!(balancer.tables.peers.len(), 2);
    balancer.now += 2;
    let clean = balancer.tables.without_remains(balancer.now);
    balancer.apply(&clean, Trust::Exact).unwrap();
    assert_eq!(balancer.memory.peers.len(), 1);
}

#[test]
fn two_services_with_one_broker_share_its_source_ports() {
    let mut world = one_service(&[(1, 1, false)]);
    world.services.push(vec![(1, 1, false)]);
    let mut balancer = Balancer::default();
    balancer.become_world(&world);
    let firsts: BTreeSet<u32> = balancer.tables.backends.values().map(|b| b.first_peer).collect();
    assert_eq!((balancer.tables.backends.len(), firsts.len()), (2, 1));
    world.services[1].clear();
    balancer.become_world(&world);
    assert_eq!(balancer.tables.peers.len(), 1);
}

#[test]
fn source_ports_and_addresses_in_use_stay() {
    let mut balancer = Balancer::default();
    let world = one_service(&[(1, 1, false)]);
    balancer.become_world(&world);
    let mut desired = world.desired();
    desired.settings.ports += 1;
    let refused = layout::tables(&balancer.tables, &desired, &balancer.health, 0);
    assert!(matches!(refused, Err(layout::LayoutError::PortsChanged { .. })));
    let mut desired = world.desired();
    desired.sources.insert(0, source(99));
    desired.settings.sources_v4 += 1;
    let refused = layout::tables(&balancer.tables, &desired, &balancer.health, 0);
    assert!(matches!(refused, Err(layout::LayoutError::SourceMoved(_))));
    desired.sources.rotate_left(1);
    assert!(layout::tables(&balancer.tables, &desired, &balancer.health, 0).is_ok());
}

#[test]
fn affinity_changes_only_where_every_connection_is_remembered() {
    let world = one_service(&[(1, 1, false)]);
    for (mode, may_change) in [(mode::NAT, true), (mode::DSR, false)] {
        let with = |affinity| {
            let mut desired = world.desired();
            desired.services.iter_mut().for_each(|s| (s.mode, s.affinity) = (mode, affinity));
            desired
        };
        let (health, connection) = (Health::default(), with(Affinity::CONNECTION));
        let before = layout::tables(&Tables::default(), &connection, &health, 0).unwrap();
        let after = layout::tables(&before, &with(Affinity::client(128)), &health, 0);
        assert_eq!(after.is_ok(), may_change, "{after:?}");
        assert!(layout::tables(&before, &connection, &health, 0).is_ok());
    }
}

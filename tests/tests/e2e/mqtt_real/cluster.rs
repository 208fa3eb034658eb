//! A cluster of `RabbitMQ` that hears from the balancer who its clients are.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use lb_tests::balancer::{self, Balancer};
use lb_tests::topology::{Arms, Family, Topology};
use lb_tests::{exclusive, sockets};
use serde_json::{Value, json};

use super::client::{Client, Language, messages};
use super::events::{Command, Event, Message, Settings, Version};
use super::rabbitmq::{self, Node};
use crate::LIMIT;

const NODES: usize = 3;
const CLIENTS: usize = Language::ALL.len();

/// In the order of their ends.
struct Lab {
    balancer: Balancer,
    nodes: Vec<Node>,
    topology: Topology,
}

impl Lab {
    fn new() -> Self {
        let topology = Topology::new(Arms::Two, NODES).unwrap();
        let nodes = (0..NODES).map(|index| Node::start(&topology, index)).collect();
        let mut config = balancer::config(&topology);
        let rest = config.as_object_mut().unwrap();
        rest.remove("interfaces");
        rest.remove("nat");
        let mut service = config["services"][0].take();
        service["mode"] = json!("mqtt");
        service["mqtt"] = json!({ "send_proxy_protocol": "v2" });
        let health = service["health"].as_object_mut().unwrap();
        health.insert("type".into(), json!("mqtt"));
        health.insert("timeout".into(), json!("500ms"));
        health.insert("username".into(), json!(rabbitmq::USERNAME));
        health.insert("password".into(), json!(rabbitmq::PASSWORD));
        config["services"] = json!([service]);
        let balancer = Balancer::start(&topology, &config).unwrap();
        balancer.wait_active(LIMIT).unwrap();
        Self { balancer, nodes, topology }
    }

    fn start(&self, language: Language, password: &str) -> Client {
        let vip = self.topology.vip(Family::V4);
        let settings = Settings {
            host: vip.ip().to_string(),
            port: vip.port(),
            version: Version::V311,
            ca: None,
            client_id: format!("{language:?}"),
            username: rabbitmq::USERNAME.to_owned(),
            password: password.to_owned(),
            reconnect: true,
        };
        Client::start(language, self.topology.clients(), settings)
    }

    /// Backend and address of each client, as the balancer knows them.
    fn flows(&self) -> BTreeMap<String, (String, String)> {
        let flows = self.balancer.json("flows").unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let flow =
            |one: &Value| (text(&one["client_id"]), (text(&one["backend"]), text(&one["client"])));
        flows["flows"].as_array().unwrap().iter().map(flow).collect()
    }

    /// The brokers know every client by the address that the client's own kernel knows, and by that
    /// of the service.
    fn assert_addresses(&self) {
        let vip = self.topology.vip(Family::V4);
        let flows = self.flows();
        let connections = sockets::established(self.topology.clients()).unwrap();
        let own: BTreeSet<String> = connections
            .iter()
            .filter(|one| one.remote == vip)
            .map(|one| one.local.to_string())
            .collect();
        assert_eq!(own, flows.values().map(|(_, client)| client.clone()).collect());
        let expected: BTreeMap<String, String> = flows
            .into_iter()
            .map(|(client_id, (_, client))| (client_id, format!("{client} -> {vip}")))
            .collect();
        let deadline = Instant::now() + LIMIT;
        loop {
            let told: BTreeMap<String, String> = self.nodes[0].connections().into_iter().collect();
            if told == expected {
                return;
            }
            assert!(Instant::now() < deadline, "{told:?} should be {expected:?}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

#[test]
fn a_rabbitmq_cluster_knows_its_clients_by_their_own_addresses_and_one_node_may_die() {
    let _exclusive = exclusive();
    let lab = Lab::new();
    let mut clients = Language::ALL.map(|language| lab.start(language, rabbitmq::PASSWORD));
    for client in &mut clients {
        client.wait_for(&Event::Connected);
        client.tell(Command::Subscribe { topic: "talk/+".into(), qos: 1 });
        client.wait_for(&Event::Subscribed { qos: 1 });
    }
    let homes = lab.flows();
    let backends: BTreeSet<&String> = homes.values().map(|(backend, _)| backend).collect();
    assert_eq!(backends.len(), NODES, "each client is on another node: {homes:?}");
    lab.assert_addresses();
    let said = |speaker: &str| Message {
        topic: format!("talk/{speaker}"),
        payload: format!("hello from {speaker}"),
        qos: 1,
        property: None,
    };
    let speak = |client: &mut Client| {
        let Message { topic, qos, payload, property } = said(&client.settings.client_id);
        client.tell(Command::Publish { topic, qos, payload, property });
    };
    clients.iter_mut().for_each(speak);
    for client in &mut clients {
        // What a node that dies has not acknowledged costs RabbitMQ 3.10 the connection of its sender.
        client.wait("what all say, and its own acknowledged", |events| {
            messages(events).count() == CLIENTS && events.contains(&Event::Published)
        });
        let heard: BTreeSet<&Message> = messages(client.events()).collect();
        let names = homes.keys().map(|name| said(name)).collect::<Vec<_>>();
        assert_eq!(heard, names.iter().collect());
    }

    // Not the first one: who leads the cluster must be elected anew when it is gone.
    lab.nodes[2].kill();
    for client in &mut clients {
        if homes[&client.settings.client_id].0 == "broker-3" {
            client.wait("its return", |events| {
                let connects = events.iter().filter(|event| **event == Event::Connected);
                connects.count() == 2
            });
            // It speaks again, to those that have stayed.
            speak(client);
        }
    }
    for client in &mut clients {
        if homes[&client.settings.client_id].0 != "broker-3" {
            let count = CLIENTS + 1;
            client.wait("what the other says", |events| messages(events).count() == count);
            let gone = |event: &&Event| matches!(event, Event::Disconnected { .. });
            assert_eq!(client.events().iter().find(gone), None);
        }
        let refused = |event: &&Event| matches!(event, Event::Refused { .. });
        assert_eq!(client.events().iter().find(refused), None, "the node's end is not theirs");
    }
    lab.assert_addresses();
    for language in Language::ALL {
        let refused = lab.start(language, "a guess").next();
        assert_eq!(refused, Event::Refused { code: 4 }, "{language:?}: bad user name or password");
    }
}

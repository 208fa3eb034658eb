//! A cluster of `RabbitMQ`, one node in each broker's namespace.
//!
//! Nodes are named by their addresses, so that nothing has to be resolved, and keep all they keep in
//! the directory of the network.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bytes::BytesMut;
use lb_tests::netns::Namespace;
use lb_tests::process::Process;
use lb_tests::topology::{Family, MQTT_PORT, Topology};
use rumqttc::mqttbytes::v4::{Connect, Packet};
use serde_json::Value;

use crate::LIMIT;

pub const USERNAME: &str = "someone";
pub const PASSWORD: &str = "not a secret";

/// Where Debian keeps the programs themselves, without what changes the user first.
const PROGRAMS: &str = "/usr/lib/rabbitmq/bin";
/// Nodes and their tools trust whoever knows it.
const COOKIE: &str = "of-these-tests";
/// For one node; the first takes ten seconds on two cores.
const START_LIMIT: Duration = Duration::from_mins(1);
const PORT_MAPPER: u16 = 4369;

/// A running node. Dropped, it is ended.
pub struct Node {
    name: String,
    namespace: Namespace,
    directory: PathBuf,
    server: Process,
    /// It tells the others where the node listens. As a daemon it would outlive the test.
    _port_mapper: Process,
}

impl Node {
    /// Starts the node with this index, waits until it takes clients in, and thereby until the next one
    /// may be started: of two that join at once, one may be left out of the list of Client Identifiers
    /// that all nodes keep together, and refuse its clients for ever. All but the first join the first.
    pub fn start(topology: &Topology, index: usize) -> Self {
        let namespace = topology.broker(index).clone();
        let names: Vec<String> = (0..=index).map(|index| node_name(topology, index)).collect();
        let (name, first) = (names[index].clone(), &names[0]);
        let directory = topology.scratch().join(&format!("rabbitmq-{}", index + 1));
        fs::create_dir(&directory).unwrap();
        let config = format!(
            "listeners.tcp = none\n\
             mqtt.listeners.tcp.1 = 0.0.0.0:{MQTT_PORT}\n\
             mqtt.proxy_protocol = true\n\
             default_user = {USERNAME}\n\
             default_pass = {PASSWORD}\n\
             cluster_formation.peer_discovery_backend = classic_config\n\
             cluster_formation.classic_config.nodes.1 = {first}\n\
             cluster_formation.classic_config.nodes.2 = {name}\n"
        );
        fs::write(directory.join("rabbitmq.conf"), config).unwrap();
        fs::write(directory.join("plugins"), "[rabbitmq_mqtt].\n").unwrap();
        let mut command = Command::new("epmd");
        let log = format!("port-mapper-{}", index + 1);
        let port_mapper = Process::start(&log, &mut command, &namespace, &directory).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], PORT_MAPPER));
        let maps = || namespace.run(|| TcpStream::connect(address).is_ok()).unwrap();
        port_mapper.wait_ready(LIMIT, maps).unwrap();
        let mut command = program("rabbitmq-server", &name, &directory);
        let log = format!("rabbitmq-{}", index + 1);
        let server = Process::start(&log, &mut command, &namespace, &directory).unwrap();
        let address = topology.broker_address(index, Family::V4);
        let ready = || namespace.run(|| takes_clients_in(address).unwrap_or(false)).unwrap();
        server.wait_ready(START_LIMIT, ready).unwrap();
        Self { name, namespace, directory, server, _port_mapper: port_mapper }
    }

    /// Ends it as a crash does.
    pub fn kill(&self) {
        self.server.kill();
    }

    /// The MQTT connections of the whole cluster, by Client Identifier: each as the two addresses
    /// that the brokers believe it to have, `client -> server`.
    pub fn connections(&self) -> Vec<(String, String)> {
        let mut command = program("rabbitmqctl", &self.name, &self.directory);
        command
            .args(["--node", &self.name, "--longnames", "--erlang-cookie", COOKIE, "--quiet"])
            .args(["--formatter", "json", "list_mqtt_connections", "client_id", "conn_name"]);
        let output = self.namespace.run(|| command.output()).unwrap().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        let connections: Vec<Value> = serde_json::from_str(&said).unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        connections.iter().map(|one| (text(&one["client_id"]), text(&one["conn_name"]))).collect()
    }
}

/// Whether a client that comes through a proxy is accepted.
fn takes_clients_in(address: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(format!("PROXY TCP4 192.0.2.1 {} 40000 1883\r\n", address.ip()).as_bytes())?;
    let mut connect = BytesMut::new();
    let mut packet = Connect::new("first");
    packet.set_login(USERNAME, PASSWORD);
    Packet::Connect(packet).write(&mut connect, 1024).map_err(std::io::Error::other)?;
    stream.write_all(&connect)?;
    let mut connack = [0; 4];
    stream.read_exact(&mut connack)?;
    Ok(connack == [0x20, 2, 0, 0])
}

fn node_name(topology: &Topology, index: usize) -> String {
    format!("rabbit@{}", topology.broker_address(index, Family::V4).ip())
}

/// A program of the package that sees nothing of an installation of its own on this machine.
fn program(program: &str, node: &str, directory: &Path) -> Command {
    let mut command = Command::new(Path::new(PROGRAMS).join(program));
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("LANG", "C.UTF-8")
        .env("HOME", directory)
        .env("RABBITMQ_NODENAME", node)
        .env("RABBITMQ_USE_LONGNAME", "true")
        .env("RABBITMQ_LOGS", "-")
        // One thread each for what several nodes do beside each other on a small machine.
        .env(
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
            format!("-setcookie {COOKIE} -start_epmd false +S 1:1"),
        )
        // So that the process is the node, in place of a shell that waits for it.
        .env("RUNNING_UNDER_SYSTEMD", "true");
    for (variable, name) in [
        ("CONF_ENV_FILE", "env.conf"),
        ("CONFIG_FILE", "rabbitmq.conf"),
        ("CONFIG_FILES", "conf.d/*.conf"),
        ("ADVANCED_CONFIG_FILE", "advanced.config"),
        ("ENABLED_PLUGINS_FILE", "plugins"),
        ("MNESIA_BASE", "mnesia"),
        ("LOG_BASE", "log"),
        ("PID_FILE", "pid"),
        ("FEATURE_FLAGS_FILE", "feature_flags"),
        ("GENERATED_CONFIG_DIR", "generated"),
        ("SCHEMA_DIR", "schema"),
    ] {
        command.env(format!("RABBITMQ_{variable}"), directory.join(name));
    }
    command
}

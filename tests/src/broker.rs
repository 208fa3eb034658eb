//! MQTT brokers in namespaces.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::BytesMut;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Connect, Packet, Publish};

use crate::netns::Namespace;
use crate::process::Process;
use crate::sockets;
use crate::topology::{Family, MQTT_PORT, Topology};

/// A retained message under this topic tells a client which broker it has reached.
pub const NAME_TOPIC: &str = "broker/name";

const READY_LIMIT: Duration = Duration::from_secs(10);
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
const MAX_PACKET_BYTES: usize = 64 * 1024;

/// Which program plays the broker.
#[derive(Debug, Clone)]
pub enum Kind {
    /// The Debian package.
    Mosquitto,
    /// The same, with further lines of its configuration, such as another listener.
    MosquittoWith(String),
    /// A program that serves MQTT on [`MQTT_PORT`] of all addresses, with its arguments: this
    /// program itself, told to call [`crate::embedded::serve`].
    Program(PathBuf, Vec<String>),
}

/// A running broker, ended when dropped.
#[derive(Debug)]
pub struct Broker {
    name: String,
    namespace: Namespace,
    addresses: [SocketAddr; 2],
    process: Process,
}

impl Broker {
    /// Starts the broker with this index, named `broker-<index + 1>`, and waits until it serves.
    pub fn start(topology: &Topology, index: usize, kind: &Kind) -> Result<Self> {
        let name = format!("broker-{}", index + 1);
        let namespace = topology.broker(index).clone();
        let addresses = Family::ALL.map(|family| topology.broker_address(index, family));
        let directory = topology.scratch().path();
        let mut command = command(kind, &name, directory)?;
        let process = Process::start(&name, &mut command, &namespace, directory)?;
        let broker = Self { name, namespace, addresses, process };
        broker.process.wait_ready(READY_LIMIT, || broker.accepts())?;
        broker.publish_name().with_context(|| format!("name {}", broker.name))?;
        Ok(broker)
    }

    /// Starts mosquitto in every broker's namespace.
    pub fn start_all(topology: &Topology) -> Result<Vec<Self>> {
        (0..topology.brokers())
            .map(|index| Self::start(topology, index, &Kind::Mosquitto))
            .collect()
    }

    /// The name it was given, which it tells its clients under [`NAME_TOPIC`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its program.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Its established connections from others than itself, counted by its kernel. Health checks
    /// under way are among them.
    pub fn connections(&self) -> Result<usize> {
        Ok(self.peers()?.len())
    }

    /// The other ends of these connections, as the broker sees them.
    pub fn peers(&self) -> Result<Vec<SocketAddr>> {
        let connections = sockets::established(&self.namespace)?;
        let others = connections
            .iter()
            .filter(|one| one.local.port() == MQTT_PORT && one.local.ip() != one.remote.ip());
        Ok(others.map(|one| one.remote).collect())
    }

    fn accepts(&self) -> bool {
        let connect = || self.addresses.iter().all(|address| TcpStream::connect(address).is_ok());
        self.namespace.run(connect).unwrap_or(false)
    }

    fn publish_name(&self) -> Result<()> {
        let mut publish = Publish::new(NAME_TOPIC, QoS::AtLeastOnce, self.name.as_bytes());
        publish.retain = true;
        publish.pkid = 1;
        let packets = [Packet::Connect(Connect::new(&self.name)), Packet::Publish(publish)];
        self.namespace.run(|| {
            let mut stream = TcpStream::connect(self.addresses[0])?;
            stream.set_read_timeout(Some(ANSWER_LIMIT))?;
            for packet in packets {
                exchange(&mut stream, &packet)?;
            }
            let mut goodbye = BytesMut::new();
            Packet::Disconnect.write(&mut goodbye, MAX_PACKET_BYTES)?;
            stream.write_all(&goodbye)?;
            Ok(())
        })?
    }
}

/// Sends a packet and waits for the answer to it.
fn exchange(stream: &mut TcpStream, packet: &Packet) -> Result<()> {
    let mut buffer = BytesMut::new();
    packet.write(&mut buffer, MAX_PACKET_BYTES)?;
    stream.write_all(&buffer)?;
    // CONNACK and PUBACK are four bytes each.
    let mut answer = [0; 4];
    stream.read_exact(&mut answer)?;
    match Packet::read(&mut BytesMut::from(&answer[..]), MAX_PACKET_BYTES)? {
        Packet::ConnAck(_) | Packet::PubAck(_) => Ok(()),
        other => bail!("unexpected answer {other:?}"),
    }
}

fn command(kind: &Kind, name: &str, directory: &Path) -> Result<Command> {
    match kind {
        Kind::Mosquitto => mosquitto(name, directory, ""),
        Kind::MosquittoWith(lines) => mosquitto(name, directory, lines),
        Kind::Program(program, arguments) => {
            let mut command = Command::new(program);
            command.args(arguments);
            Ok(command)
        }
    }
}

fn mosquitto(name: &str, directory: &Path, lines: &str) -> Result<Command> {
    let file = directory.join(format!("{name}.conf"));
    let text = format!("{MOSQUITTO}{lines}");
    fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    let mut command = Command::new(find_mosquitto());
    command.arg("-c").arg(file);
    Ok(command)
}

/// Debian keeps it where only root's `PATH` looks.
fn find_mosquitto() -> PathBuf {
    let debian = PathBuf::from("/usr/sbin/mosquitto");
    if debian.exists() { debian } else { PathBuf::from("mosquitto") }
}

const MOSQUITTO: &str = "\
# Every address of both families.
listener 1883
allow_anonymous true
persistence false
# Nothing a test sends may be dropped by a limit of the broker.
max_queued_messages 0
max_inflight_messages 0
set_tcp_nodelay true
sys_interval 0
# It would change to a user that may not read its files.
user root
connection_messages false
log_dest stderr
log_type error
log_type warning
log_type notice
";

//! TLS passed through to mosquittos that have the keys, by the name that clients ask for.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use lb_tests::balancer::{self, Balancer};
use lb_tests::exclusive;
use lb_tests::process::Process;
use lb_tests::topology::{Arms, Family, Topology};
use serde_json::{Value, json};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{
    AlertDescription, ClientConfig, ClientConnection, Error, RootCertStore, StreamOwned,
};

use super::LIMIT;
use super::mqtt_real::certificate::{self, Files};

const TLS_PORT: u16 = 8883;
/// What the certificates of the brokers are for.
const NAMES: [&str; 2] = ["one.example", "eu.two.example"];
/// More than is read at once, anywhere.
const LONG: usize = 100_000;
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// In the order of their ends.
struct Lab {
    balancer: Balancer,
    brokers: Vec<Process>,
    files: Vec<Files>,
    topology: Topology,
}

impl Lab {
    /// Two brokers with a key each, and the balancer, which has none.
    fn new() -> Self {
        let topology = Topology::new(Arms::Two, NAMES.len()).unwrap();
        let directory = topology.scratch().path();
        let files: Vec<Files> =
            NAMES.iter().map(|name| certificate::issue(directory, name, name)).collect();
        let brokers =
            files.iter().enumerate().map(|(index, files)| start(&topology, index, files)).collect();
        let mut config = balancer::config(&topology);
        let rest = config.as_object_mut().unwrap();
        rest.remove("interfaces");
        rest.remove("nat");
        let mut service = config["services"][0].take();
        for backend in service["backends"].as_array_mut().unwrap() {
            backend["port"] = json!(TLS_PORT);
        }
        service["port"] = json!(TLS_PORT);
        service["mode"] = json!("mqtt");
        service["mqtt"] = json!({
            "connection_log": directory.join("connections"),
            "connect_within": format!("{}s", CONNECT_WITHIN.as_secs()),
            "tls_passthrough": [
                { "server_names": [NAMES[0]], "backends": ["broker-1"] },
                { "server_names": ["*.two.example"], "backends": ["broker-2"] },
            ],
        });
        config["services"] = json!([service]);
        let balancer = Balancer::start(&topology, &config).unwrap();
        balancer.wait_active(LIMIT).unwrap();
        Self { balancer, brokers, files, topology }
    }

    fn vip(&self) -> SocketAddr {
        SocketAddr::new(self.topology.vip(Family::V4).ip(), TLS_PORT)
    }

    fn dial(&self) -> TcpStream {
        let stream = self.topology.clients().run(|| TcpStream::connect(self.vip())).unwrap();
        let stream = stream.unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
    }

    /// TLS of a client that asks for `name` and trusts the authority of broker `index` alone.
    fn tls(&self, name: &str, index: usize) -> ClientConnection {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.files[index].ca).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        ClientConnection::new(Arc::new(config), ServerName::try_from(name.to_owned()).unwrap())
            .unwrap()
    }

    /// A client that a broker has accepted: its certificate is the one of that broker.
    fn connect(&self, index: usize, client_id: &str) -> Client {
        let mut client = Client(StreamOwned::new(self.tls(NAMES[index], index), self.dial()));
        client.enter(client_id);
        client
    }

    fn refusals(&self, reason: &str) -> u64 {
        let status = self.balancer.json("status").unwrap();
        status["services"][0]["proxy"]["refusals"][reason].as_u64().unwrap_or_default()
    }

    fn wait_refusals(&self, reason: &str, count: u64) {
        let deadline = Instant::now() + LIMIT;
        while self.refusals(reason) != count {
            assert!(Instant::now() < deadline, "{reason}: {}", self.refusals(reason));
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The lines of ended connections, once there are so many.
    fn log(&self, lines: usize) -> Vec<Value> {
        let file = self.topology.scratch().path().join("connections");
        let deadline = Instant::now() + LIMIT;
        loop {
            let text = fs::read_to_string(&file).unwrap();
            if text.lines().count() >= lines {
                return text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            }
            assert!(Instant::now() < deadline, "{text}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn start(topology: &Topology, index: usize, files: &Files) -> Process {
    let directory = topology.scratch().path();
    let name = format!("mosquitto-{}", index + 1);
    let file = directory.join(format!("{name}.conf"));
    let config = format!(
        "listener {TLS_PORT}\ncertfile {}\nkeyfile {}\nallow_anonymous true\n\
         max_queued_messages 0\nuser root\nlog_dest stderr\n",
        files.certificate.display(),
        files.key.display()
    );
    fs::write(&file, config).unwrap();
    let debian = Path::new("/usr/sbin/mosquitto");
    let mut command = Command::new(if debian.exists() { debian } else { Path::new("mosquitto") });
    command.arg("-c").arg(file);
    let namespace = topology.broker(index);
    let process = Process::start(&name, &mut command, namespace, directory).unwrap();
    let address = SocketAddr::new(topology.broker_address(index, Family::V4).ip(), TLS_PORT);
    let serves = || namespace.run(|| TcpStream::connect(address).is_ok()).unwrap();
    process.wait_ready(LIMIT, serves).unwrap();
    process
}

/// A client of MQTT 3.1.1.
struct Client(StreamOwned<ClientConnection, TcpStream>);

impl Client {
    fn expect(&mut self, expected: &[u8]) {
        let mut bytes = vec![0; expected.len()];
        self.0.read_exact(&mut bytes).unwrap();
        assert!(bytes == expected, "{:02x?}", &bytes[..bytes.len().min(20)]);
    }

    /// CONNECT with a clean session, and SUBSCRIBE to its own name.
    fn enter(&mut self, client_id: &str) {
        let id = [&[0, client_id.len() as u8], client_id.as_bytes()].concat();
        let connect = [b"\0\x04MQTT\x04\x02\0\x3c", &id[..]].concat();
        self.0.write_all(&[&[0x10, connect.len() as u8], &connect[..]].concat()).unwrap();
        self.expect(&[0x20, 2, 0, 0]);
        let subscribe = [&[0, 1], &id[..], &[0]].concat();
        self.0.write_all(&[&[0x82, subscribe.len() as u8], &subscribe[..]].concat()).unwrap();
        self.expect(&[0x90, 3, 0, 1, 0]);
    }

    /// What it publishes to itself comes back.
    fn exchange(&mut self, client_id: &str) {
        let id = [&[0, client_id.len() as u8], client_id.as_bytes()].concat();
        let body = [&id[..], &vec![b'x'; LONG]].concat();
        let length = [body.len() & 0x7f | 0x80, body.len() >> 7 & 0x7f | 0x80, body.len() >> 14];
        let packet = [&[0x30], &length.map(|byte| byte as u8)[..], &body].concat();
        self.0.write_all(&packet).unwrap();
        self.expect(&packet);
    }

    /// DISCONNECT, and its half of TLS and of TCP; then all that comes.
    fn leave(mut self) {
        self.0.write_all(&[0xe0, 0]).unwrap();
        self.0.conn.send_close_notify();
        self.0.flush().unwrap();
        self.0.sock.shutdown(Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty());
    }
}

/// Reads until the balancer closes; what it said.
fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    bytes
}

#[test]
fn each_name_reaches_the_mosquitto_that_has_its_key_and_is_known_by_it() {
    let _exclusive = exclusive();
    let lab = Lab::new();
    let mut clients = [0, 1].map(|index| lab.connect(index, &format!("client-{index}")));
    for (index, client) in clients.iter_mut().enumerate() {
        client.exchange(&format!("client-{index}"));
    }
    let flows = lab.balancer.json("flows").unwrap();
    let shown = |flow: &Value| (flow["server_name"].clone(), flow["backend"].clone());
    let mut shown: Vec<_> = flows["flows"].as_array().unwrap().iter().map(shown).collect();
    shown.sort_by_key(|(name, _)| name.to_string());
    let expected = [(NAMES[1], "broker-2"), (NAMES[0], "broker-1")];
    assert_eq!(shown, expected.map(|(name, backend)| (json!(name), json!(backend))));
    // Another name, and none, are refused; so is the name of one broker from those who trust another.
    for (name, refused) in [("three.example", 1), ("198.51.100.1", 2)] {
        let mut tls = StreamOwned::new(lab.tls(name, 0), lab.dial());
        let error = tls.conn.complete_io(&mut tls.sock).unwrap_err();
        let error = error.get_ref().unwrap().downcast_ref::<Error>().unwrap();
        assert_eq!(*error, Error::AlertReceived(AlertDescription::UnrecognisedName));
        assert_eq!(lab.refusals("unknown_server_name"), refused);
    }
    let mut deceived = StreamOwned::new(lab.tls(NAMES[1], 0), lab.dial());
    let error = deceived.conn.complete_io(&mut deceived.sock).unwrap_err();
    let error = error.get_ref().unwrap().downcast_ref::<Error>().unwrap();
    assert!(matches!(error, Error::InvalidCertificate(_)), "{error}");
    drop(deceived);
    for client in clients {
        client.leave();
    }
    let lines = lab.log(5);
    let of = |name: &str| {
        let ended = |line: &&Value| line["server_name"] == name && line["end"] == "client_closed";
        lines.iter().filter(ended).max_by_key(|line| line["bytes_to_client"].as_u64()).unwrap()
    };
    for name in NAMES {
        let line = of(name);
        assert!(line["bytes_to_client"].as_u64().unwrap() > LONG as u64, "{line}");
        assert!(line["bytes_to_backend"].as_u64().unwrap() > LONG as u64, "{line}");
    }
}

#[test]
fn hellos_that_trickle_never_end_or_are_too_large_disturb_nobody() {
    let _exclusive = exclusive();
    let lab = Lab::new();
    let mut steady = lab.connect(0, "steady");
    // One byte per segment, and yet a connection.
    let mut trickling = lab.dial();
    trickling.set_nodelay(true).unwrap();
    let mut tls = lab.tls(NAMES[1], 1);
    let mut hello = Vec::new();
    tls.write_tls(&mut hello).unwrap();
    for byte in hello {
        trickling.write_all(&[byte]).unwrap();
    }
    let mut trickled = Client(StreamOwned::new(tls, trickling));
    trickled.enter("trickled");
    // One that says it will be long, and stops; one that does so byte by byte, for too long.
    let mut silent = lab.dial();
    silent.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]).unwrap();
    let mut slow = lab.dial();
    slow.set_nodelay(true).unwrap();
    let began = Instant::now();
    slow.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 0xfc]).unwrap();
    while slow.write_all(&[0]).is_ok() {
        assert!(began.elapsed() < LIMIT, "it is let go on for ever");
        thread::sleep(Duration::from_millis(50));
    }
    assert!(began.elapsed() >= CONNECT_WITHIN);
    assert!(rest(&mut silent).is_empty());
    lab.wait_refusals("connect_timeout", 2);
    // One that announces more than is taken, and one that is no TLS.
    let mut large = lab.dial();
    large.write_all(&[22, 3, 1, 0x40, 0, 1, 0, 0x40, 1]).unwrap();
    assert_eq!(rest(&mut large), [21, 3, 3, 0, 2, 2, 50]);
    let mut plain = lab.dial();
    plain.write_all(b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0").unwrap();
    assert!(rest(&mut plain).is_empty());
    lab.wait_refusals("tls_failed", 2);
    for (client, id) in [(&mut steady, "steady"), (&mut trickled, "trickled")] {
        client.exchange(id);
    }
}

#[test]
fn a_drained_route_keeps_its_clients_and_a_killed_or_removed_broker_ends_only_its_own() {
    let _exclusive = exclusive();
    let mut lab = Lab::new();
    let mut first = lab.connect(0, "first");
    let mut second = lab.connect(1, "second");
    lab.balancer.run_ctl("backend drain mqtt-v4/broker-1").unwrap();
    let mut refused = StreamOwned::new(lab.tls(NAMES[0], 0), lab.dial());
    let error = refused.conn.complete_io(&mut refused.sock).unwrap_err();
    let error = error.get_ref().unwrap().downcast_ref::<Error>().unwrap();
    // Its route has no other.
    assert_eq!(*error, Error::AlertReceived(AlertDescription::InternalError));
    first.exchange("first");
    lab.balancer.run_ctl("backend undrain mqtt-v4/broker-1").unwrap();
    lab.connect(0, "third").leave();
    drop(lab.brokers.remove(1));
    assert!(rest(&mut second.0.sock).is_empty(), "the balancer puts nothing into the stream");
    drop(second);
    first.exchange("first");
    lab.balancer.run_ctl("backend remove mqtt-v4/broker-1").unwrap();
    assert!(rest(&mut first.0.sock).is_empty());
    let lines = lab.log(4);
    let ends: Vec<_> = lines.iter().map(|line| line["end"].as_str().unwrap()).collect();
    assert!(ends.contains(&"no_backend") && ends.contains(&"backend_removed"), "{ends:?}");
}

//! What lies around a service in the mode `mqtt`: TLS, the PROXY protocol, and brokers that join.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use lb_tests::exclusive;
use lb_tests::fleet::{Fleet, Plan, Reconnect};
use lb_tests::netns::Namespace;
use lb_tests::process::Process;
use lb_tests::topology::{Arms, Family, Topology};
use serde_json::{Value, json};

use super::{GRACE, LIMIT, Stage};

const SERVICE: &str = "mqtt-v4";
const NAME: &str = "broker.example";
const CONNACK: [u8; 4] = [0x20, 2, 0, 0];

fn stage(brokers: usize, change: impl FnOnce(&mut Value)) -> Stage {
    Stage::with_config(Arms::Two, brokers, |config| {
        config["services"][0]["mode"] = json!("mqtt");
        change(&mut config["services"][0]);
    })
}

/// A CONNECT of MQTT 3.1.1 with a clean session.
fn connect(client_id: &str) -> Vec<u8> {
    let mut packet = vec![0x10, 12 + client_id.len() as u8];
    packet.extend(b"\0\x04MQTT\x04\x02\0\x3c\0");
    packet.push(client_id.len() as u8);
    packet.extend(client_id.as_bytes());
    packet
}

/// Waits until `flows` shows this client; its entry.
fn flow(stage: &Stage, client_id: &str) -> Value {
    let deadline = Instant::now() + LIMIT;
    loop {
        let flows = stage.balancer.json("flows").unwrap();
        let found = flows["flows"].as_array().unwrap().iter().find(|f| f["client_id"] == client_id);
        if let Some(flow) = found {
            return flow.clone();
        }
        assert!(Instant::now() < deadline, "{client_id} is not among {flows}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Connections of each backend, in the order of the configuration.
fn open(stage: &Stage) -> Vec<u64> {
    let backends = stage.balancer.json(&format!("backend list {SERVICE}")).unwrap();
    let open = |one: &Value| one["traffic"]["open"].as_u64().unwrap();
    backends.as_array().unwrap().iter().map(open).collect()
}

#[test]
fn a_broker_that_joins_gets_its_share_when_it_is_ordered_and_every_client_comes_back() {
    let _exclusive = exclusive();
    let mut stage = stage(2, |service| service["mqtt"] = json!({ "policy": "least_connections" }));
    let reconnect = Reconnect::After(Duration::from_millis(300));
    let fleet =
        Fleet::start(stage.topology.clients(), Plan { reconnect, ..stage.plan(Family::V4, 60) })
            .unwrap();
    fleet.wait_connected(LIMIT).unwrap();
    assert_eq!(open(&stage), [30, 30]);
    let index = stage.start_broker();
    stage.add_backend(index);
    assert_eq!(open(&stage), [30, 30, 0], "nobody comes by itself");
    let order = format!("service rebalance {SERVICE} --rate 40 --tolerance 0");
    let dry = stage.balancer.json(&format!("{order} --dry-run")).unwrap();
    assert_eq!((&dry["moves"], &dry["moved"]), (&json!(20), &json!(0)));
    let said = stage.balancer.run_ctl(&order).unwrap();
    assert!(said.contains("is balanced: 20 connections were moved"), "{said}");
    fleet.wait_connected(LIMIT).unwrap();
    let deadline = Instant::now() + LIMIT;
    while open(&stage) != [20, 20, 20] {
        assert!(Instant::now() < deadline, "{:?}", open(&stage));
        std::thread::sleep(Duration::from_millis(50));
    }
    let report = fleet.stop(GRACE).unwrap();
    assert_eq!(report.connects, 80, "each client that was moved connected once more");
    // Of a drained one, nothing is left.
    let idle = stage.connect(Family::V4, 30);
    stage.balancer.run_ctl(&format!("backend drain {SERVICE}/broker-1")).unwrap();
    stage.balancer.run_ctl(&order).unwrap();
    assert_eq!(open(&stage)[0], 0);
    drop(idle);
}

/// A certificate that signs itself, with its key.
pub fn certificate(directory: &Path, name: &str) -> (PathBuf, PathBuf) {
    let (certificate, key) =
        (directory.join(format!("{name}.pem")), directory.join(format!("{name}.key")));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-nodes", "-days", "30", "-newkey", "ec"])
        .args(["-pkeyopt", "ec_paramgen_curve:P-256", "-subj", "/CN=test"])
        .args(["-addext", &format!("subjectAltName=DNS:{NAME}")])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    (certificate, key)
}

/// A client by OpenSSL, which knows nothing of the balancer's own TLS.
struct TlsClient {
    program: Child,
    input: ChildStdin,
    output: ChildStdout,
}

impl TlsClient {
    fn new(clients: &Namespace, vip: SocketAddr, authority: &Path, version: &str) -> Self {
        let mut command = Command::new("openssl");
        command
            .args(["s_client", "-quiet", "-verify_return_error", "-verify_hostname", NAME])
            .args(["-servername", NAME, "-alpn", "mqtt", version, "-CAfile"])
            .arg(authority)
            .args(["-connect", &vip.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut program = clients.spawn(&mut command).unwrap();
        let (input, output) = (program.stdin.take().unwrap(), program.stdout.take().unwrap());
        Self { program, input, output }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.input.write_all(bytes).unwrap();
        self.input.flush().unwrap();
    }

    /// What comes next; nothing if the connection ends.
    fn read<const N: usize>(&mut self) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.output.read_exact(&mut bytes).ok().map(|()| bytes)
    }
}

impl Drop for TlsClient {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

#[test]
fn tls_ends_at_the_balancer_and_a_renewed_certificate_disturbs_nobody() {
    let _exclusive = exclusive();
    let directory = directory_for("edges");
    let (file, key) = certificate(&directory, "server");
    let tls = json!({ "certificates": [{ "certificate_file": file, "key_file": key }] });
    let stage = stage(1, |service| service["mqtt"] = json!({ "tls": tls }));
    let vip = stage.topology.vip(Family::V4);
    let first_authority = directory.join("first.pem");
    fs::copy(&file, &first_authority).unwrap();
    let clients = stage.topology.clients();
    let mut open = Vec::new();
    for version in ["-tls1_2", "-tls1_3"] {
        let mut client = TlsClient::new(clients, vip, &first_authority, version);
        client.send(&connect(version));
        assert_eq!(client.read(), Some(CONNACK), "{version}");
        flow(&stage, version);
        open.push(client);
    }
    certificate(&directory, "server");
    stage.balancer.run_ctl("reload").unwrap();
    let mut renewed = TlsClient::new(clients, vip, &file, "-tls1_3");
    renewed.send(&connect("renewed"));
    assert_eq!(renewed.read(), Some(CONNACK));
    let mut outdated = TlsClient::new(clients, vip, &first_authority, "-tls1_3");
    assert_eq!(outdated.read::<1>(), None, "the old certificate is not shown any more");
    for client in &mut open {
        client.send(&[0xc0, 0]);
        assert_eq!(client.read(), Some([0xd0, 0]), "PINGRESP over the old connection");
    }
    let services = stage.balancer.json("service list").unwrap();
    let ends = services[0]["proxy"]["certificates"][file.to_str().unwrap()].as_i64().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let days = (ends - now.as_secs().cast_signed()) / 86_400;
    assert!((29..=30).contains(&days), "{days}");
    fs::remove_dir_all(&directory).unwrap();
}

/// A new directory for files that a configuration names.
pub fn directory_for(test: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("mqlb-{test}-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    directory
}

/// `HAProxy` with this configuration behind `mode tcp` and timeouts.
fn haproxy(topology: &Topology, name: &str, namespace: &Namespace, rest: &str) -> Process {
    let directory = topology.scratch().path();
    let file = directory.join(format!("{name}.cfg"));
    let text = format!(
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n{rest}\n"
    );
    fs::write(&file, text).unwrap();
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(&file);
    Process::start(name, &mut command, namespace, directory).unwrap()
}

#[test]
fn haproxy_in_front_tells_who_the_client_is_and_haproxy_behind_hears_it() {
    let _exclusive = exclusive();
    let stage = stage(1, |service| {
        service["mqtt"] =
            json!({ "proxy_protocol_from": ["10.0.0.0/8"], "send_proxy_protocol": "v2" });
        service["backends"][0]["port"] = json!(1885);
        service["health"] = json!({ "type": "none" });
    });
    let vip = stage.topology.vip(Family::V4);
    let topology = &stage.topology;
    // Behind: it closes what has no header, and denies clients that are not those in front.
    let behind = "listen behind\n bind :1885 accept-proxy\n tcp-request session reject if !{ src \
                  127.0.0.0/8 }\n server mosquitto 127.0.0.1:1883";
    let behind = haproxy(topology, "behind", topology.broker(0), behind);
    let listens = |namespace: &Namespace, port: u16| {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        namespace.run(|| TcpStream::connect(address).is_ok()).unwrap()
    };
    behind.wait_ready(LIMIT, || listens(topology.broker(0), 1885)).unwrap();
    let front = format!("listen front\n bind 127.0.0.1:1884\n server mqlb {vip} send-proxy-v2");
    let front = haproxy(topology, "front", topology.clients(), &front);
    front.wait_ready(LIMIT, || listens(topology.clients(), 1884)).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], 1884));
    let client = topology.clients().run(|| TcpStream::connect(address)).unwrap();
    let mut client = client.unwrap();
    client.set_read_timeout(Some(LIMIT)).unwrap();
    client.write_all(&connect("proxied")).unwrap();
    let mut connack = [0; 4];
    client.read_exact(&mut connack).unwrap();
    assert_eq!(connack, CONNACK);
    let told = flow(&stage, "proxied");
    assert_eq!(told["client"], client.local_addr().unwrap().to_string());
}

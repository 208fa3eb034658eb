//! The MQTT and TCP probes against a real broker, and what its log says about them.
//!
//! Skipped where mosquitto is not installed, unless `MQLB_REQUIRE_TOOLS=1` says it must be.
#![allow(clippy::unwrap_used, reason = "a panic is the report of a test")]

mod fake;

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fake::{mqtt, mqtt5, probed, tls};
use lb_user::config::model::{MqttCheck, Password, Probe, Secret, Tls};
use lb_user::health::checker::Checker;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::sync::mpsc;

/// A running mosquitto with a directory of its own; both end with it.
struct Mosquitto {
    process: Child,
    directory: PathBuf,
    address: SocketAddr,
}

impl Mosquitto {
    /// Starts one on a free port of loopback; `None` where it is not installed.
    fn start(name: &str, settings: impl Fn(&Path) -> String) -> Option<Self> {
        let binary = installed("mosquitto")?;
        let directory = std::env::temp_dir().join(format!("mqlb-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let process = spawn(&binary, &directory, address, &settings(&directory));
        let broker = Self { process, directory, address };
        // Not found out by connecting: that would be in its log.
        broker.log_with(" running");
        Some(broker)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// The log once it tells of `text`.
    fn log_with(&self, text: &str) -> String {
        let give_up = Instant::now() + Duration::from_secs(5);
        loop {
            let log = self.log();
            if log.contains(text) {
                return log;
            }
            assert!(Instant::now() < give_up, "no {text:?} in the log:\n{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn spawn(binary: &Path, directory: &Path, address: SocketAddr, settings: &str) -> Child {
    let file = directory.join("mosquitto.conf");
    let port = address.port();
    // Started by root, it would otherwise become a user that may not read the directory.
    let common = format!("user root\nlistener {port} 127.0.0.1\nlog_type all\n");
    std::fs::write(&file, common + settings).unwrap();
    let log =
        std::fs::File::options().create(true).append(true).open(directory.join("log")).unwrap();
    Command::new(binary)
        .arg("-c")
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// The path of a program, or a word on why the test is skipped.
fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|directory| directory.join(program))
        .find(|file| file.is_file());
    if found.is_none() {
        let required = std::env::var_os("MQLB_REQUIRE_TOOLS").is_some_and(|value| value == "1");
        assert!(!required, "{program} is not installed, and MQLB_REQUIRE_TOOLS=1");
        // Not `eprintln`, which the test harness swallows.
        let _ = writeln!(std::io::stderr(), "SKIPPED: {program} is not installed");
    }
    found
}

/// Lines of the log in which mosquitto complains about a client.
fn complaints(log: &str) -> Vec<&str> {
    let complaint = |line: &&str| {
        let line = line.to_lowercase();
        ["error", "closed its connection", "protocol", "timeout", "already connected", "<unknown>"]
            .iter()
            .any(|word| line.contains(word))
    };
    log.lines().filter(complaint).collect()
}

const OPEN: &str = "allow_anonymous true\n";

#[tokio::test]
async fn a_real_broker_is_healthy_in_both_versions_and_does_not_complain() {
    let Some(broker) = Mosquitto::start("quiet", |_| OPEN.into()) else { return };
    for check in [mqtt(), mqtt5()] {
        for ping in [false, true] {
            let latency = probed(Probe::Mqtt(MqttCheck { ping, ..check.clone() }), broker.address);
            eprintln!("{:?}, ping {ping}: {:?}", check.version, latency.await.unwrap());
        }
    }
    // Its own way of saying that it got a DISCONNECT; four probes of one name each.
    let goodbye = "Client mqlb-health-lb1-mqtt-b1 disconnected.";
    let give_up = Instant::now() + Duration::from_secs(5);
    while broker.log().matches(goodbye).count() < 4 {
        assert!(Instant::now() < give_up, "{}", broker.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let log = broker.log();
    assert_eq!(log.matches("Received PINGREQ").count(), 2, "{log}");
    assert_eq!(complaints(&log), Vec::<&str>::new(), "{log}");
}

#[tokio::test]
async fn a_tcp_probe_is_healthy_but_shows_in_the_log() {
    let Some(broker) = Mosquitto::start("tcp", |_| OPEN.into()) else { return };
    probed(Probe::Tcp, broker.address).await.unwrap();
    // What docs/health-checks.md says about it.
    broker.log_with("Client <unknown> closed its connection.");
}

#[tokio::test]
async fn credentials_are_told_from_wrong_ones() {
    let Some(passwords) = installed("mosquitto_passwd") else { return };
    let settings = |directory: &Path| {
        let file = directory.join("passwords");
        let made = Command::new(&passwords)
            .arg("-b")
            .arg("-c")
            .arg(&file)
            .args(["me", "right"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(made.unwrap().success());
        format!("allow_anonymous false\npassword_file {}\n", file.display())
    };
    let Some(broker) = Mosquitto::start("login", settings) else { return };
    let login = |check: MqttCheck, password: &str| {
        let password = Password::Inline(Secret::new(password.into()));
        Probe::Mqtt(MqttCheck { username: Some("me".into()), password: Some(password), ..check })
    };
    for check in [mqtt(), mqtt5()] {
        probed(login(check, "right"), broker.address).await.unwrap();
    }
    let wrong = probed(login(mqtt(), "wrong"), broker.address).await.unwrap_err();
    assert_eq!(wrong.to_string(), "CONNACK code 0x05, not authorized");
    let wrong = probed(login(mqtt5(), "wrong"), broker.address).await.unwrap_err();
    assert_eq!(wrong.to_string(), "CONNACK code 0x87, not authorized");
}

#[tokio::test]
async fn tls_works_with_openssl_on_the_other_side_and_ends_quietly() {
    let settings = |directory: &Path| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
        let certificate = names.signed_by(&key, &ca).unwrap();
        let write = |file: &str, pem: String| std::fs::write(directory.join(file), pem).unwrap();
        write("ca.pem", ca.pem());
        write("cert.pem", certificate.pem());
        write("key.pem", key.serialize_pem());
        let at = directory.display();
        format!("{OPEN}certfile {at}/cert.pem\nkeyfile {at}/key.pem\n")
    };
    let Some(broker) = Mosquitto::start("tls", settings) else { return };
    let trusted = Tls { ca_file: Some(broker.directory.join("ca.pem")), ..tls() };
    for check in [mqtt(), mqtt5()] {
        let check = MqttCheck { tls: Some(trusted.clone()), ping: true, ..check };
        probed(Probe::Mqtt(check), broker.address).await.unwrap();
    }
    let log = broker.log_with("Client mqlb-health-lb1-mqtt-b1 disconnected.");
    assert_eq!(complaints(&log), Vec::<&str>::new(), "{log}");
}

#[tokio::test]
async fn a_killed_broker_is_found_out_in_time_and_back_after_its_restart() {
    let Some(mut broker) = Mosquitto::start("killed", |_| OPEN.into()) else { return };
    let (events, mut received) = mpsc::channel(16);
    let checker = Checker::new(events);
    // Every second, two failures in a row.
    let timeout = Duration::from_millis(500);
    checker.set(1, fake::target(Probe::Mqtt(mqtt()), broker.address, timeout), None);
    let event = received.recv().await.unwrap();
    assert!(event.up, "{event:?}");
    broker.kill();
    let died = Instant::now();
    let event = received.recv().await.unwrap();
    let detection = Duration::from_secs(2) + timeout;
    eprintln!("down after {:?} (promised: {detection:?}): {}", died.elapsed(), event.reason);
    assert!(!event.up && died.elapsed() <= detection + Duration::from_millis(200), "{event:?}");
    let binary = installed("mosquitto").unwrap();
    broker.process = spawn(&binary, &broker.directory, broker.address, OPEN);
    assert!(received.recv().await.unwrap().up);
}

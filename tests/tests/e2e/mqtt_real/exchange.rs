//! Clients in three languages, one beside the other, with mosquitto behind the balancer.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command as Program;

use lb_tests::balancer::{self, Balancer};
use lb_tests::exclusive;
use lb_tests::process::Process;
use lb_tests::topology::{Arms, Family, Topology};
use serde_json::{Value, json};

use super::certificate::{self, Files};
use super::client::{Client, Language, messages};
use super::events::{Command, Event, Message, Settings, Version};
use crate::LIMIT;

const USERNAME: &str = "someone";
const PASSWORD: &str = "not a secret";
const TLS_PORT: u16 = 8883;
/// More than the balancer reads at once.
const LONG: usize = 64 * 1024;

/// Brokers that ask for a password, and the balancer in front of them, which serves plain TCP and TLS.
/// In the order of their ends.
struct Lab {
    balancer: Balancer,
    _brokers: Vec<Process>,
    tls: Files,
    topology: Topology,
}

impl Lab {
    fn new(brokers: usize, settings: &Value) -> Self {
        let topology = Topology::new(Arms::Two, brokers).unwrap();
        let brokers = (0..brokers).map(|index| start_mosquitto(&topology, index)).collect();
        let directory = topology.scratch().path();
        let tls =
            certificate::issue(directory, "server", &topology.vip(Family::V4).ip().to_string());
        let mut config = balancer::config(&topology);
        let rest = config.as_object_mut().unwrap();
        rest.remove("interfaces");
        rest.remove("nat");
        let mut service = config["services"][0].take();
        service["mode"] = json!("mqtt");
        service["mqtt"] = settings.clone();
        service["mqtt"]["connection_log"] = json!(directory.join("connections"));
        let mut with_tls = service.clone();
        for backend in with_tls["backends"].as_array_mut().unwrap() {
            backend["port"] = json!(1883);
        }
        with_tls["name"] = json!("mqtt-tls");
        with_tls["port"] = json!(TLS_PORT);
        with_tls["mqtt"]["tls"] = json!({
            "certificates": [{ "certificate_file": tls.certificate, "key_file": tls.key }]
        });
        config["services"] = json!([service, with_tls]);
        let balancer = Balancer::start(&topology, &config).unwrap();
        balancer.wait_active(LIMIT).unwrap();
        Self { balancer, _brokers: brokers, tls, topology }
    }

    /// How a client with the right password connects.
    fn settings(&self, client_id: &str, version: Version, tls: bool) -> Settings {
        let vip = self.topology.vip(Family::V4);
        Settings {
            host: vip.ip().to_string(),
            port: if tls { TLS_PORT } else { vip.port() },
            version,
            ca: tls.then(|| self.tls.ca.clone()),
            client_id: client_id.to_owned(),
            username: USERNAME.to_owned(),
            password: PASSWORD.to_owned(),
            reconnect: false,
        }
    }

    fn start(&self, language: Language, settings: Settings) -> Client {
        Client::start(language, self.topology.clients(), settings)
    }

    /// A client that is connected over plain TCP.
    fn connect(&self, language: Language, client_id: &str, version: Version) -> Client {
        let mut client = self.start(language, self.settings(client_id, version, false));
        client.wait_for(&Event::Connected);
        client
    }

    /// Does something for the service without TLS.
    fn run(&self, command: &str) {
        self.balancer.run_ctl(command).unwrap();
    }
}

fn start_mosquitto(topology: &Topology, index: usize) -> Process {
    let directory = topology.scratch().path();
    let name = format!("mosquitto-{}", index + 1);
    let passwords = directory.join(format!("{name}.passwords"));
    let made = Program::new("mosquitto_passwd")
        .args(["-c", "-b"])
        .arg(&passwords)
        .args([USERNAME, PASSWORD])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let file = directory.join(format!("{name}.conf"));
    // As root it would change to a user that may not read its files.
    let config = format!(
        "listener 1883\nallow_anonymous false\npassword_file {}\nuser root\nlog_dest stderr\n",
        passwords.display()
    );
    fs::write(&file, config).unwrap();
    let debian = Path::new("/usr/sbin/mosquitto");
    let mut command = Program::new(if debian.exists() { debian } else { Path::new("mosquitto") });
    command.arg("-c").arg(file);
    let namespace = topology.broker(index);
    let process = Process::start(&name, &mut command, namespace, directory).unwrap();
    let address = topology.broker_address(index, Family::V4);
    let serves = || namespace.run(|| TcpStream::connect(address).is_ok()).unwrap();
    process.wait_ready(LIMIT, serves).unwrap();
    process
}

/// Every language in every version.
fn kinds() -> impl Iterator<Item = (Language, Version)> {
    let versions = |language| Version::ALL.map(|version| (language, version));
    Language::ALL.into_iter().flat_map(versions)
}

/// The same with and without TLS.
fn all_kinds() -> impl Iterator<Item = (Language, Version, bool)> {
    kinds().flat_map(|(language, version)| [false, true].map(|tls| (language, version, tls)))
}

/// What a client says with this quality of service, and what of it a client of version `heard` hears.
fn said(client: &Settings, qos: u8, heard: Version) -> Message {
    let has_property = client.version == Version::V5 && heard == Version::V5;
    let payload = format!("{} with QoS {qos} ", client.client_id);
    Message {
        topic: format!("talk/{}", client.client_id),
        payload: if qos == 1 { payload.repeat(LONG / payload.len()) } else { payload },
        qos,
        property: has_property.then(|| client.client_id.clone()),
    }
}

#[test]
fn clients_in_three_languages_hear_each_other_in_both_versions_with_and_without_tls() {
    let _exclusive = exclusive();
    let lab = Lab::new(1, &json!({}));
    let mut clients: Vec<Client> = all_kinds()
        .map(|(language, version, tls)| {
            let name = format!("{language:?}-{version:?}-{}", if tls { "tls" } else { "tcp" });
            lab.start(language, lab.settings(&name, version, tls))
        })
        .collect();
    for client in &mut clients {
        client.wait_for(&Event::Connected);
        client.tell(Command::Subscribe { topic: "talk/+".into(), qos: 2 });
        client.wait_for(&Event::Subscribed { qos: 2 });
    }
    for client in &mut clients {
        for qos in 0..=2 {
            let Message { topic, payload, property, .. } =
                said(&client.settings, qos, client.settings.version);
            client.tell(Command::Publish { topic, qos, payload, property });
        }
    }
    let speakers: Vec<Settings> = clients.iter().map(|client| client.settings.clone()).collect();
    for client in &mut clients {
        client.wait("every message, and the ends of its own", |events| {
            let published = events.iter().filter(|event| **event == Event::Published);
            messages(events).count() >= 3 * speakers.len() && published.count() == 3
        });
        client.leave();
        let version = client.settings.version;
        let spoken =
            speakers.iter().flat_map(|one| (0..=2).map(move |qos| said(one, qos, version)));
        let (mut spoken, mut heard): (Vec<Message>, Vec<Message>) =
            (spoken.collect(), messages(client.events()).cloned().collect());
        spoken.sort();
        heard.sort();
        assert!(spoken == heard, "{} did not hear what was said", client.settings.client_id);
    }
    drop(clients);
    assert_log(&lab, &speakers);
}

/// The log of connections has exactly these clients, which have all gone by themselves. After DISCONNECT
/// some close, and others leave that to the broker.
fn assert_log(lab: &Lab, clients: &[Settings]) {
    let file = lab.topology.scratch().join("connections");
    let deadline = std::time::Instant::now() + LIMIT;
    let lines = loop {
        let text = fs::read_to_string(&file).unwrap();
        if text.lines().count() >= clients.len() {
            break text;
        }
        assert!(std::time::Instant::now() < deadline, "{text}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    let entry = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(line["end"] == "client_closed" || line["end"] == "broker_closed", "{line}");
        ["client_id", "username", "version"]
            .map(|key| line[key].as_str().unwrap_or_default().to_owned())
    };
    let expected = |client: &Settings| {
        let version = client.version.pick("MQTT 3.1.1", "MQTT 5.0");
        [client.client_id.as_str(), USERNAME, version].map(str::to_owned)
    };
    assert_eq!(
        lines.lines().map(entry).collect::<BTreeSet<_>>(),
        clients.iter().map(expected).collect()
    );
}

#[test]
fn a_wrong_password_and_an_unknown_authority_are_the_clients_own_errors() {
    let _exclusive = exclusive();
    let lab = Lab::new(1, &json!({}));
    for (language, version, tls) in all_kinds() {
        let right = lab.settings("stranger", version, tls);
        let wrong = Settings { password: "a guess".into(), ..right };
        let refused = Event::Refused { code: version.pick(5, 0x87) };
        assert_eq!(lab.start(language, wrong).next(), refused, "{language:?} {version:?} {tls}");
    }
    let directory = lab.topology.scratch().path();
    let other =
        certificate::issue(directory, "other", &lab.topology.vip(Family::V4).ip().to_string());
    for language in Language::ALL {
        let right = lab.settings("careful", Version::V5, true);
        let wrong = Settings { ca: Some(other.ca.clone()), ..right };
        let said = match language {
            Language::Python => "CERTIFICATE_VERIFY_FAILED",
            Language::JavaScript => "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
            Language::Rust => "UnknownIssuer",
        };
        let event = lab.start(language, wrong).next();
        let Event::Failed { text } = &event else { panic!("{language:?}: {event:?}") };
        assert!(text.contains(said), "{language:?}: {text}");
    }
    let status = lab.balancer.json("status").unwrap();
    assert_eq!(status["services"][1]["proxy"]["refusals"]["tls_failed"], 3, "{status}");
}

#[test]
fn what_the_balancer_says_of_its_own_every_client_understands() {
    let _exclusive = exclusive();
    let lab = Lab::new(2, &json!({ "takeover": true }));
    // In turns: the second of each pair is on the other broker, which knows nothing of the first.
    let mut newer = Vec::new();
    for (language, version) in kinds() {
        let name = format!("{language:?}-{version:?}");
        let mut older = lab.connect(language, &name, version);
        newer.push((language, lab.connect(language, &name, version)));
        assert_disconnected(language, &mut older, 0x8e);
    }
    lab.run("backend remove mqtt-v4/broker-2");
    for (language, client) in &mut newer {
        assert_disconnected(*language, client, 0x98);
    }
    let mut last: Vec<_> = kinds()
        .map(|(language, version)| {
            let name = format!("{language:?}-{version:?}-last");
            (language, lab.connect(language, &name, version))
        })
        .collect();
    lab.run("backend drain mqtt-v4/broker-1");
    for (language, version) in kinds() {
        let refused = lab.start(language, lab.settings("late", version, false)).next();
        assert_eq!(refused, Event::Refused { code: version.pick(3, 0x88) }, "{language:?}");
    }
    let Lab { mut balancer, .. } = lab;
    balancer.stop().unwrap();
    for (language, client) in &mut last {
        assert_disconnected(*language, client, 0x8b);
    }
}

/// With MQTT 5.0 it has heard this code; before, there is only a close.
fn assert_disconnected(language: Language, client: &mut Client, code: u8) {
    let heard = client.next();
    let mut expected = vec![client.settings.version.pick(None, Some(code))];
    if language == Language::Python {
        // paho-mqtt looks for a code only where there are properties, too.
        expected.push(None);
    }
    let expected = expected.into_iter().map(|code| Event::Disconnected { code });
    assert!(
        expected.into_iter().any(|one| one == heard),
        "{}: {heard:?}",
        client.settings.client_id
    );
}

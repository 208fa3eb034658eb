//! What Prometheus is told, scraped as it scrapes.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use lb_tests::exclusive;
use lb_tests::fleet::Fleet;
use lb_tests::topology::{Arms, Family};
use serde_json::{Value, json};

use super::mqtt_edges::{certificate, directory_for};
use super::{GRACE, LIMIT, Stage};

/// Where it is scraped, in the balancer's namespace.
pub const ADDRESS: &str = "127.0.0.1:9090";
/// Where the service in the mode `mqtt` listens.
const PROXIED_PORT: u16 = 1884;
const DOCS: &str = include_str!("../../../docs/metrics.md");

fn stage() -> Stage {
    let directory = directory_for("metrics");
    let (certificate_file, key_file) = certificate(&directory, "server");
    let tls =
        json!({ "certificates": [{ "certificate_file": certificate_file, "key_file": key_file }] });
    let stage = Stage::with_config(Arms::Two, 3, |config| {
        config["api"]["metrics"] = json!(ADDRESS);
        config["services"][0]["health"]["type"] = json!("mqtt");
        config["services"][0]["max_connections"] = json!(1000);
        config["services"][1]["mode"] = json!("dsr");
        config["services"][1]["max_new_per_second"] = json!(1);
        let mut proxied = config["services"][0].clone();
        for (key, value) in [("name", "proxied"), ("mode", "mqtt")] {
            proxied[key] = json!(value);
        }
        proxied["port"] = json!(PROXIED_PORT);
        proxied["mqtt"] = json!({ "tls": tls, "connect_within": "60s" });
        config["services"].as_array_mut().unwrap().push(proxied);
    });
    // They are read at the start.
    fs::remove_dir_all(directory).unwrap();
    stage
}

/// The answer to a GET on the TCP listener: all of it, and the body.
fn get(stage: &Stage, path: &str) -> (String, String) {
    let answer = stage.topology.balancer().run(|| {
        let mut stream = TcpStream::connect(ADDRESS).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    let answer = answer.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// Values by series, as they are written.
pub fn scrape(stage: &Stage) -> BTreeMap<String, f64> {
    let (head, body) = get(stage, "/metrics");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    let lines = body.lines().filter(|line| !line.starts_with('#'));
    let values = lines.map(|line| line.rsplit_once(' ').unwrap());
    values.map(|(series, value)| (series.to_owned(), value.parse().unwrap())).collect()
}

fn name(series: &str) -> &str {
    series.split('{').next().unwrap()
}

/// Set only by a broker that refuses clients, or tells its load: see the tests of ejection and of load.
const OF_OTHER_TESTS: [&str; 5] = [
    "mqlb_backend_ejections_total",
    "mqlb_backend_load",
    "mqlb_backend_load_known",
    "mqlb_backend_load_reads_total",
    "mqlb_backend_load_reads_failed_total",
];

/// The metrics that are documented and of which no series is other than zero.
fn unset(values: &BTreeMap<String, f64>) -> Vec<&'static str> {
    let rows = DOCS.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let names = rows.map(|(name, _)| name).filter(|name| name.starts_with("mqlb_"));
    let set = |wanted: &str| values.iter().any(|(s, value)| name(s) == wanted && *value != 0.0);
    names.filter(|name| !OF_OTHER_TESTS.contains(name) && !set(name)).collect()
}

#[test]
fn every_documented_metric_is_set_by_a_balancer_in_use() {
    let _exclusive = exclusive();
    let mut stage = stage();
    let gone = stage.connect(Family::V4, 20);
    gone.stop(GRACE).unwrap();
    let idle = stage.connect(Family::V4, 60);
    // More at once than these brokers are given; none of them answers for the VIP.
    let _paced = Fleet::start(stage.topology.clients(), stage.plan(Family::V6, 10)).unwrap();
    let proxied = SocketAddr::new(stage.topology.vip(Family::V4).ip(), PROXIED_PORT);
    let _waiting = stage.topology.clients().run(|| {
        TcpStream::connect(proxied).unwrap().write_all(b"no MQTT").unwrap();
        TcpStream::connect(proxied).unwrap()
    });
    let values = scrape(&stage);
    let backend = |metric: &str, number: usize| {
        let labels = format!("{{service=\"mqtt-v4\",backend=\"broker-{number}\"}}");
        values[&format!("mqlb_backend_{metric}{labels}")]
    };
    let report = idle.report().clients_by_broker();
    for number in 1..=3 {
        let clients = report[&format!("broker-{number}")];
        assert_eq!(backend("connections", number).to_string(), clients.to_string());
        assert_eq!(backend("up", number).to_string(), "1");
        let ratio = backend("ring_ratio", number);
        assert!((ratio - 1.0 / 3.0).abs() < 0.01, "broker-{number}: {ratio}");
    }
    stage.backend("drain", "broker-1", |_| String::new());
    drop(stage.brokers.pop());
    let down = |status: &Value| status["services"][0]["backends"][2]["state"] == "down";
    stage.balancer.wait_status(LIMIT, down).unwrap();
    // The tables are counted every ten seconds.
    let deadline = Instant::now() + LIMIT;
    loop {
        let unset = unset(&scrape(&stage));
        if unset.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "never set: {unset:?}");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    let values = scrape(&stage);
    let in_state = |number: usize, state: &str| {
        let labels = format!("service=\"mqtt-v4\",backend=\"broker-{number}\",state=\"{state}\"");
        values[&format!("mqlb_backend_state{{{labels}}}")].to_string()
    };
    assert_eq!((in_state(1, "draining"), in_state(3, "down")), ("1".into(), "1".into()));
    assert_eq!(
        values["mqlb_service_state{service=\"mqtt-v4\",state=\"degraded\"}"].to_string(),
        "1"
    );
}

#[test]
fn over_tcp_there_is_nothing_but_health_and_metrics() {
    let _exclusive = exclusive();
    let stage = stage();
    let (head, body) = get(&stage, "/healthz");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(body, r#"{"ok":true,"refusing":[]}"#);
    for path in ["/v1/status", "/v1/flows", "/v1/services", "/"] {
        let (head, _) = get(&stage, path);
        assert!(head.starts_with("HTTP/1.1 404 "), "{path}: {head}");
    }
}

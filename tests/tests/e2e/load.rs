//! Brokers that tell their own load, and where new clients go.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use lb_tests::balancer::{self, Balancer};
use lb_tests::broker::{Broker, Kind};
use lb_tests::exclusive;
use lb_tests::fleet::{Fleet, Plan};
use lb_tests::topology::{Arms, Family, MQTT_PORT, Topology};
use serde_json::{Value, json};

use super::{
    GRACE, LIMIT, Stage,
    metrics::{ADDRESS, scrape},
    wait_named,
};

const PORT: u16 = 9100;
const UNKNOWN: &str = "the load of the broker is not known";
const KNOWN: &str = "the load of the broker is known";

/// Something on a broker's host that runs until it is dropped.
struct Beside {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Beside {
    fn start(work: impl FnOnce(&AtomicBool) + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        Self { stop, thread: Some(std::thread::spawn(move || work(&told))) }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Tells by HTTP that the broker with this index has this load, in percent.
fn agent(topology: &Topology, index: usize, load: &Arc<AtomicU32>) -> Beside {
    let listener = topology.broker(index).run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)));
    let (listener, load) = (listener.unwrap().unwrap(), Arc::clone(load));
    listener.set_nonblocking(true).unwrap();
    Beside::start(move |stop| {
        while !stop.load(Ordering::Relaxed) {
            match listener.accept() {
                Ok((stream, _)) => tell(stream, load.load(Ordering::Relaxed)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(error) => panic!("{error}"),
            }
        }
    })
}

fn tell(mut stream: TcpStream, load: u32) {
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read_exact(&mut byte).is_err() {
            return;
        }
        request.push(byte[0]);
    }
    let body = format!("{{\"cpu\": {{\"busy\": {load}}}}}");
    let length = body.len();
    let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
}

/// Two brokers, whose loads the IPv4 service reads from `source`; `before` runs before the balancer does.
fn stage<T>(kind: &Kind, source: &Value, before: impl FnOnce(&Topology) -> T) -> (Stage, T) {
    let topology = Topology::new(Arms::Two, 2).unwrap();
    let brokers = (0..2).map(|index| Broker::start(&topology, index, kind).unwrap()).collect();
    let beside = before(&topology);
    let mut config = balancer::config(&topology);
    config["api"]["metrics"] = json!(ADDRESS);
    config["services"][0]["mode"] = json!("mqtt");
    config["services"][0]["mqtt"] = json!({ "policy": "least_load", "load": source });
    let balancer = Balancer::start(&topology, &config).unwrap();
    balancer.wait_active(LIMIT).unwrap();
    (Stage { balancer, brokers, topology }, beside)
}

/// What is known of the loads of both brokers.
fn loads(status: &Value) -> [Option<f64>; 2] {
    [0, 1].map(|index| status["services"][0]["backends"][index]["load"]["value"].as_f64())
}

fn wait_loads(stage: &Stage, expected: impl Fn([Option<f64>; 2]) -> bool) {
    stage.balancer.wait_status(LIMIT * 2, |status| expected(loads(status))).unwrap();
}

/// New clients that stay, and how many each broker has of them.
fn connect(stage: &Stage, prefix: &str, clients: u32) -> (Fleet, [usize; 2]) {
    let plan = Plan { prefix: prefix.into(), ..stage.plan(Family::V4, clients) };
    let fleet = Fleet::start(stage.topology.clients(), plan).unwrap();
    fleet.wait_connected(LIMIT).unwrap();
    wait_named(&fleet);
    let shares: BTreeMap<String, usize> = fleet.report().clients_by_broker();
    let of = |name: &str| shares.get(name).copied().unwrap_or_default();
    (fleet, [of("broker-1"), of("broker-2")])
}

/// How often the balancer has logged this.
fn logged(stage: &Stage, text: &str) -> usize {
    stage.balancer.process().unwrap().output().matches(text).count()
}

#[test]
fn new_clients_avoid_a_loaded_broker_and_connections_count_alone_when_nothing_tells_its_load() {
    let _exclusive = exclusive();
    let busy = [30, 10].map(|percent| Arc::new(AtomicU32::new(percent)));
    let source = json!({
        "type": "http", "port": PORT, "path": "/load", "json_pointer": "/cpu/busy",
        "interval": "500ms", "timeout": "500ms", "max_age": "3s",
    });
    let agents = |topology: &Topology| [0, 1].map(|index| agent(topology, index, &busy[index]));
    let (stage, [first, second]) = stage(&Kind::Mosquitto, &source, agents);
    wait_loads(&stage, |loads| loads == [Some(30.0), Some(10.0)]);
    let (early, shares) = connect(&stage, "early", 80);
    assert_eq!(shares, [20, 60]);
    let list = stage.balancer.run_ctl("backend list mqtt-v4").unwrap();
    assert!(list.contains("LOAD") && list.contains("30.00"), "{list}");
    let flows = stage.balancer.json("flows --backend mqtt-v4/broker-2 --limit 1").unwrap();
    let (client, vip) =
        (flows["flows"][0]["client"].as_str().unwrap(), stage.topology.vip(Family::V4));
    let why = stage.balancer.run_ctl(&format!("explain {client} {vip}")).unwrap();
    assert!(why.contains("load 10.00 where the median is 20.00"), "{why}");

    drop(first);
    wait_loads(&stage, |loads| loads == [None, Some(10.0)]);
    let status = stage.balancer.run_ctl("status").unwrap();
    let unknown = "the load of mqtt-v4/broker-1 is not known: connection refused";
    assert!(status.contains(unknown), "{status}");
    let (late, shares) = connect(&stage, "late", 40);
    assert_eq!(shares, [40, 0], "with them each has as many");
    let values = scrape(&stage);
    let metric = |name: &str, broker: &str| {
        let labels = format!("{{service=\"mqtt-v4\",backend=\"{broker}\"}}");
        values.get(&format!("mqlb_backend_load{name}{labels}")).copied()
    };
    assert_eq!([metric("", "broker-1"), metric("", "broker-2")], [None, Some(10.0)]);
    assert_eq!(
        [metric("_known", "broker-1"), metric("_known", "broker-2")],
        [Some(0.0), Some(1.0)]
    );
    assert!(metric("_reads_failed_total", "broker-1") > Some(2.0), "{values:?}");
    assert_eq!(metric("_reads_failed_total", "broker-2"), Some(0.0));
    assert!(metric("_reads_total", "broker-2") > Some(2.0), "{values:?}");

    drop(second);
    wait_loads(&stage, |loads| loads == [None, None]);
    // Both fail several times more.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!((logged(&stage, KNOWN), logged(&stage, UNKNOWN)), (2, 2), "once at each turn");
    let vip = stage.topology.vip(Family::V4);
    let why = stage.balancer.run_ctl(&format!("explain 10.1.1.1:9 {vip}")).unwrap();
    assert!(why.contains("the load of broker-2 is not known"), "{why}");
    busy[0].store(5, Ordering::Relaxed);
    let _first = agent(&stage.topology, 0, &busy[0]);
    wait_loads(&stage, |loads| loads == [Some(5.0), None]);
    for fleet in [early, late] {
        fleet.stop(GRACE).unwrap().assert_undisturbed();
    }
}

/// CONNECT of MQTT 3.1.1 with the Client Identifier `c` and a Keep Alive of a minute.
const CONNECT: [u8; 15] = [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, 1, b'c'];
/// PUBLISH without acknowledgement: `x` under the topic `t`.
const PUBLISH: [u8; 6] = [0x30, 4, 0, 1, b't', b'x'];

/// Publishes 500 messages a second at the broker with this index.
fn publisher(topology: &Topology, index: usize) -> Beside {
    let address = (topology.broker_address(index, Family::V4).ip(), MQTT_PORT);
    let stream = topology.broker(index).run(|| TcpStream::connect(address));
    let mut stream = stream.unwrap().unwrap();
    Beside::start(move |stop| {
        stream.write_all(&CONNECT).unwrap();
        stream.read_exact(&mut [0; 4]).unwrap();
        while !stop.load(Ordering::Relaxed) {
            stream.write_all(&PUBLISH.repeat(5)).unwrap();
            std::thread::sleep(Duration::from_millis(10));
        }
    })
}

#[test]
fn what_mosquitto_publishes_of_itself_leads_new_clients_to_the_idle_broker() {
    let _exclusive = exclusive();
    let source = json!({
        "type": "sys", "topic": "$SYS/broker/load/messages/received/1min", "interval": "1s",
    });
    let kind = Kind::MosquittoWith("sys_interval 1\n".into());
    let (stage, _publisher) = stage(&kind, &source, |topology| publisher(topology, 0));
    wait_loads(
        &stage,
        |loads| matches!(loads, [Some(busy), Some(idle)] if busy > 500.0 && busy > 10.0 * idle),
    );
    let (fleet, shares) = connect(&stage, "new", 90);
    // The mean is half the load of the busy one, and the other one's counts as a quarter of it.
    assert!((8..=14).contains(&shares[0]), "{shares:?}");
    fleet.stop(GRACE).unwrap().assert_undisturbed();
}

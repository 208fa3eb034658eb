//! The policy `least_load`: what brokers tell of their loads leads new clients.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};

use super::rig::*;
use crate::{
    config::model::{
        HttpCheck, LoadSettings, LoadSource, LoadValue, MqttSettings, Policy, StatusRange,
    },
    load::{gauge::Reading, json::Pointer},
    mqtt::Version,
};

/// Tells the loads of backends, each at a path that is its name.
struct Agent {
    port: u16,
    loads: Arc<Mutex<BTreeMap<String, f64>>>,
    asked: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Agent {
    async fn start(loads: &[(&str, f64)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let loads: BTreeMap<_, _> =
            loads.iter().map(|(name, load)| ((*name).to_owned(), *load)).collect();
        let loads = Arc::new(Mutex::new(loads));
        let asked = Arc::default();
        let task = tokio::spawn(Self::serve(listener, Arc::clone(&loads), Arc::clone(&asked)));
        Self { port, loads, asked, task }
    }

    async fn serve(
        listener: TcpListener,
        loads: Arc<Mutex<BTreeMap<String, f64>>>,
        asked: Arc<AtomicUsize>,
    ) {
        while let Ok((mut stream, _)) = listener.accept().await {
            asked.fetch_add(1, Relaxed);
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            let request = String::from_utf8(request).unwrap();
            let path = request.split(' ').nth(1).unwrap().trim_start_matches('/');
            let load = loads.lock().unwrap().get(path).copied();
            let body = load.map_or_else(|| "{}".to_owned(), |load| format!("{{\"load\": {load}}}"));
            let length = body.len();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    }

    fn asked(&self) -> usize {
        self.asked.load(Relaxed)
    }

    fn set(&self, name: &str, load: f64) {
        self.loads.lock().unwrap().insert(name.to_owned(), load);
    }
}

fn load_settings(port: u16) -> LoadSettings {
    let request = HttpCheck {
        path: "/{backend}".into(),
        host: None,
        status: vec![StatusRange { first: 200, last: 200 }],
        tls: None,
    };
    let value = LoadValue::JsonPointer(Pointer::parse("/load").unwrap());
    LoadSettings {
        source: LoadSource::Http { request, credentials: None, value },
        port: Some(port),
        interval: Duration::from_millis(50),
        timeout: Duration::from_secs(1),
        max_age: Duration::from_secs(2),
    }
}

fn by_load(load: LoadSettings) -> MqttSettings {
    MqttSettings { policy: Policy::LeastLoad, load: Some(load), ..settings() }
}

/// What is known of the backend with this number.
fn reading(rig: &Rig, id: u32) -> Reading {
    rig.proxies.loads(rig.spec.address).remove(&id).unwrap_or_default()
}

fn loads(rig: &Rig) -> [Option<f64>; 2] {
    [1, 2].map(|id| reading(rig, id).load)
}

/// Lets so many clients in; how many each broker gets.
async fn shares(rig: &Rig, clients: usize) -> ([usize; 2], Vec<(Peer, Peer)>) {
    let (mut counts, mut kept) = ([0, 0], Vec::new());
    for number in 0..clients {
        let client = rig.connect(Version::V311, &format!("c{number}")).await;
        let (index, mut broker) = tokio::select! {
            broker = rig.broker(0) => (0, broker),
            broker = rig.broker(1) => (1, broker),
        };
        broker.send(accepts(Version::V311)).await;
        counts[index] += 1;
        kept.push((client, broker));
    }
    (counts, kept)
}

#[tokio::test]
async fn new_clients_go_where_the_load_is_lower_and_by_connections_once_no_load_is_known() {
    let agent = Agent::start(&[("b1", 30.0), ("b2", 10.0)]).await;
    let rig = Rig::new(2, by_load(load_settings(agent.port))).await;
    until("known", || loads(&rig) == [Some(30.0), Some(10.0)]).await;
    let (counts, first) = shares(&rig, 8).await;
    assert_eq!(counts, [2, 6]);
    let why = Mutex::new(Vec::new());
    rig.proxies.visit(rig.spec.address, |one| why.lock().unwrap().push(one.why.to_string()));
    let why = why.into_inner().unwrap();
    assert!(why.iter().any(|why| why.contains("load 10.00 where the median is 20.00")), "{why:?}");
    agent.set("b1", 10.0);
    until("equal", || loads(&rig) == [Some(10.0), Some(10.0)]).await;
    let (counts, second) = shares(&rig, 4).await;
    assert_eq!(counts, [4, 0]);
    agent.set("b2", 1000.0);
    until("known", || loads(&rig)[1] == Some(1000.0)).await;
    agent.task.abort();
    until("forgotten", || loads(&rig) == [None, None]).await;
    let (counts, _third) = shares(&rig, 4).await;
    assert_eq!(counts, [2, 2], "connections alone count");
    drop((first, second));
}

#[tokio::test]
async fn failures_are_counted_and_named_and_one_backend_without_a_load_takes_its_share() {
    let agent = Agent::start(&[("b1", 10.0)]).await;
    let rig = Rig::new(2, by_load(load_settings(agent.port))).await;
    until("read", || reading(&rig, 1).load.is_some() && reading(&rig, 2).failed > 1).await;
    let second = reading(&rig, 2);
    assert_eq!(second.last_error.as_deref(), Some("the answer has nothing at \"/load\""));
    assert_eq!((second.load, second.age, second.reads - second.failed), (None, None, 0));
    let (counts, _kept) = shares(&rig, 6).await;
    assert_eq!(counts, [3, 3]);
}

#[tokio::test]
async fn a_reload_changes_where_loads_are_read_and_ends_it() {
    let (one, other) = (Agent::start(&[("b1", 1.0), ("b2", 2.0)]).await, Agent::start(&[]).await);
    let mut rig = Rig::new(2, by_load(load_settings(one.port))).await;
    until("known", || loads(&rig) == [Some(1.0), Some(2.0)]).await;
    let before = reading(&rig, 1).reads;
    rig.apply(rig.snapshot());
    assert!(reading(&rig, 1).reads >= before, "the same settings change nothing");
    rig.spec.settings.load = Some(load_settings(other.port));
    rig.apply(rig.snapshot());
    assert_eq!(loads(&rig), [None, None], "another source may count in another unit");
    other.set("b1", 70.0);
    until("read there", || loads(&rig)[0] == Some(70.0)).await;
    rig.spec.settings = settings();
    rig.apply(rig.snapshot());
    assert!(rig.proxies.loads(rig.spec.address).is_empty());
    // What is under way ends, and then nobody asks any more.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let asked = one.asked() + other.asked();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(one.asked() + other.asked(), asked);
}

#[tokio::test]
async fn a_backend_that_joins_is_read_and_one_that_leaves_is_not() {
    let agent = Agent::start(&[("b1", 1.0), ("b2", 2.0)]).await;
    let rig = Rig::new(2, by_load(load_settings(agent.port))).await;
    let mut alone = rig.snapshot();
    alone.backends.truncate(1);
    until("known", || loads(&rig) == [Some(1.0), Some(2.0)]).await;
    rig.apply(alone);
    assert_eq!(loads(&rig), [Some(1.0), None]);
    rig.apply(rig.snapshot());
    until("known again", || loads(&rig) == [Some(1.0), Some(2.0)]).await;
}

#[tokio::test]
async fn a_password_file_that_is_missing_fails_the_change_and_nothing_else() {
    let agent = Agent::start(&[("b1", 1.0), ("b2", 2.0)]).await;
    let mut rig = Rig::new(2, by_load(load_settings(agent.port))).await;
    let mut wanted = load_settings(agent.port);
    if let LoadSource::Http { credentials, .. } = &mut wanted.source {
        let password = crate::config::model::Password::File("/nonexistent/password".into());
        *credentials = Some(crate::config::model::BasicAuth { username: "mqlb".into(), password });
    }
    rig.spec.settings.load = Some(wanted);
    let prepared = rig.proxies.prepare(std::slice::from_ref(&rig.spec), false);
    let error = prepared.unwrap_err().to_string();
    assert!(
        error.contains("the load of its brokers") && error.contains("/nonexistent/"),
        "{error}"
    );
    until("known", || loads(&rig) == [Some(1.0), Some(2.0)]).await;
}

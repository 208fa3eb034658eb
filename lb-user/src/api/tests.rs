use std::{os::unix::fs::PermissionsExt, path::PathBuf, sync::Arc};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    client::{Client, ClientError},
    server, socket,
    types::{
        BackendFilter, BackendState, ExplainQuery, FlowFilter, NewBackend, NewWeight, ReloadQuery,
        TraceOrder,
    },
};
use crate::{
    config::model::Weight,
    control::{
        actor,
        controller::{Controller, Origin, Start},
        memory::Memory,
    },
    health::checker::Checker,
};

struct Running {
    dir: tempfile::TempDir,
    client: Client,
}

impl Running {
    fn socket(&self) -> PathBuf {
        self.dir.path().join("mqlb.sock")
    }

    /// Sends `request` as it is, and returns everything that comes back.
    async fn raw(&self, request: &str) -> String {
        let mut stream = tokio::net::UnixStream::connect(self.socket()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

async fn run() -> Running {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mqlb.yaml");
    let text = format!(
        "interfaces: [{{ name: eth0 }}]
nat: {{ addresses: [10.0.0.2], ports: 15000-15999 }}
state_dir: {}
services:
  - name: mqtt
    vip: 192.0.2.10
    port: 1883
    health: {{ type: none }}
    backends:
      - {{ name: b1, address: 10.0.1.1, port: 1883 }}
      - {{ name: b2, address: 10.0.1.2, port: 1883 }}
",
        dir.path().join("state").display()
    );
    std::fs::write(&file, text).unwrap();
    let (events, news) = tokio::sync::mpsc::channel(10);
    let controller = Controller::start(Start {
        config: crate::config::load(&file).unwrap(),
        file,
        datapath: Box::new(Memory::default()),
        origin: Origin::Fresh,
        checker: Arc::new(Checker::new(events)),
        proxies: Arc::default(),
        host: "lb".into(),
        clock: || 0,
    });
    let (handle, _) = actor::spawn(controller.unwrap(), news).unwrap();
    let path = dir.path().join("mqlb.sock");
    let listener = socket::listen(&path, 0o600).await.unwrap();
    tokio::spawn(axum::serve(listener, server::router(handle)).into_future());
    Running { client: Client::new(&path), dir }
}

fn new(name: &str, address: &str) -> NewBackend {
    let (name, address) = (name.parse().unwrap(), address.parse().unwrap());
    NewBackend { name, address, port: None, weight: None }
}

fn refusal<T: std::fmt::Debug>(result: Result<T, ClientError>) -> super::types::ErrorBody {
    match result.unwrap_err() {
        ClientError::Refused { body, .. } => body,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn backends_come_and_go_by_command() {
    let running = run().await;
    let client = &running.client;
    let added = client.add("mqtt", &new("b3", "10.0.1.3")).await.unwrap();
    assert_eq!(added.message, "added mqtt/b3 at 10.0.1.3:1883");
    assert!((added.backend.unwrap().share - 1.0 / 3.0).abs() < 0.01);
    assert!(client.drain("mqtt", "b1", true).await.unwrap().changed);
    assert!(!client.drain("mqtt", "b1", true).await.unwrap().changed);
    assert_eq!(client.backend("mqtt", "b1").await.unwrap().state, BackendState::Drained);
    assert!(client.drain("mqtt", "b1", false).await.unwrap().changed);
    let weight = NewWeight { weight: Weight::new(300).unwrap() };
    let weighed = client.weigh("mqtt", "b2", &weight).await.unwrap();
    assert_eq!(weighed.message, "weight of mqtt/b2: 100 -> 300");
    assert!((weighed.backend.unwrap().share - 0.6).abs() < 0.01);
    assert_eq!(client.remove("mqtt", "b1").await.unwrap().backend, None);
    let filter = BackendFilter { service: Some("mqtt".into()) };
    let names: Vec<_> =
        client.backends(&filter).await.unwrap().into_iter().map(|b| b.name.to_string()).collect();
    assert_eq!(names, ["b2", "b3"]);

    let again = ReloadQuery { dry_run: true };
    assert_eq!(client.reload(&again).await.unwrap().differences.len(), 3);
    assert!(client.status().await.unwrap().changed_by_command);
    client.reload(&ReloadQuery::default()).await.unwrap();
    assert!(!client.status().await.unwrap().changed_by_command);
}

#[tokio::test]
async fn refusals_say_what_is_wrong_and_what_to_do() {
    let running = run().await;
    let client = &running.client;
    let unknown = refusal(client.drain("mqtt", "b 9/?", true).await);
    assert_eq!(unknown.error, "service mqtt has no backend b 9/?");
    assert_eq!(unknown.hint, "`mqlb backend list` shows the backends");
    let twice = refusal(client.add("mqtt", &new("b3", "10.0.1.1")).await);
    assert_eq!(twice.error, "10.0.1.1:1883 is already backend b1 of service mqtt");
    let balancer = refusal(client.add("mqtt", &new("b3", "10.0.0.2")).await);
    assert!(balancer.error.contains("nat.addresses"), "{balancer:?}");
    let filter = FlowFilter { service: Some("http".into()), ..FlowFilter::default() };
    assert_eq!(refusal(client.flows(&filter).await).error, "there is no service http");
    let filter = BackendFilter { service: Some("http".into()) };
    assert_eq!(refusal(client.backends(&filter).await).error, "there is no service http");
    let nobody = Client::new(&running.dir.path().join("nobody"));
    assert!(matches!(nobody.status().await, Err(ClientError::NotRunning(_))));
}

#[tokio::test]
async fn curl_can_speak_to_it() {
    let running = run().await;
    let post = "POST /v1/services/mqtt/backends HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                content-type: application/x-www-form-urlencoded\r\ncontent-length: 36\r\n\r\n\
                {\"name\": \"b3\", \"address\":\"10.0.1.3\"}";
    let answer = running.raw(post).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let bad = post.replace("address", "addresss").replace("36", "37");
    let answer = running.raw(&bad).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("unknown field `addresss`"), "{answer}");
    for path in ["/nothing", "/v1/explain?client=1", "/v1/services/x/backends/y"] {
        let get = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let answer = running.raw(&get).await;
        assert!(answer.starts_with("HTTP/1.1 40"), "{answer}");
        assert!(answer.contains("\"hint\":"), "{answer}");
    }
    let get = "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    assert!(
        running
            .raw(get)
            .await
            .contains("mqlb_backend_weight{service=\"mqtt\",backend=\"b2\"} 100\n")
    );
    let health = running.raw(&get.replace("metrics", "healthz")).await;
    assert!(health.ends_with(r#"{"ok":true,"refusing":[]}"#), "{health}");
}

#[tokio::test]
async fn a_client_is_told_where_it_goes() {
    let running = run().await;
    let (client, vip) = ("198.51.100.7:4000".parse().unwrap(), "192.0.2.10:1883".parse().unwrap());
    let answer = running.client.explain(&ExplainQuery { client, vip }).await.unwrap();
    assert_eq!(answer.backend, answer.slot_backend);
    assert!(answer.broker.is_some());
}

#[tokio::test]
async fn a_trace_that_makes_no_sense_is_refused() {
    let running = run().await;
    let client = &running.client;
    let refused = async |order: TraceOrder| refusal(client.trace(&order).await).error;
    let order = TraceOrder::default;
    let service = TraceOrder { service: Some("http".into()), ..order() };
    assert_eq!(refused(service).await, "there is no service http");
    let (service, backend) = (Some("mqtt".into()), Some("b9".into()));
    let backend = TraceOrder { service, backend, ..order() };
    assert_eq!(refused(backend).await, "service mqtt has no backend b9");
    let count = TraceOrder { count: 0, ..order() };
    assert_eq!(refused(count).await, "count is 1 to 1000000, not 0");
    let client = TraceOrder { client: Some("10.0.0.0/99".into()), ..order() };
    assert_eq!(refused(client).await, "\"10.0.0.0/99\" is neither an address nor a prefix");
    // These tables are in memory: no packet ever comes by.
    assert!(refused(order()).await.contains("cannot tell of packets"));
}

#[tokio::test]
async fn only_its_owner_may_speak_to_it() {
    let running = run().await;
    let mode = std::fs::metadata(running.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

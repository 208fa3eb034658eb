//! A service on a loopback address, brokers that do as they are told, and clients.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use lb_common::hash::Seed;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::{
    config::{defaults, model::MqttSettings},
    mqtt::{Connect, Version},
    proxy::{
        Proxies, Seen,
        spec::{BackendSpec, ServiceSpec, Snapshot, SourceLists},
    },
};

/// Longer than anything takes that works.
pub const LIMIT: Duration = Duration::from_secs(10);

/// A service, and the brokers behind it.
pub struct Rig {
    pub proxies: Proxies,
    pub spec: ServiceSpec,
    pub brokers: Vec<TcpListener>,
}

/// An address that nobody else uses: all of 127.0.0.0/8 is this host's.
fn loopback() -> SocketAddr {
    let [b, c, d] = std::array::from_fn(|_| fastrand::u8(1..255));
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, b, c, d)), 1883)
}

pub fn settings() -> MqttSettings {
    MqttSettings { connack_within: Duration::from_secs(2), ..defaults::MQTT }
}

impl Rig {
    pub async fn new(brokers: usize, settings: MqttSettings) -> Self {
        let spec = ServiceSpec {
            name: "mqtt".parse().unwrap(),
            address: loopback(),
            settings,
            idle_timeout: LIMIT,
            sessions_file: "/nonexistent/sessions".into(),
            sources: SourceLists::default(),
        };
        let mut listeners = Vec::new();
        for _ in 0..brokers {
            listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
        }
        let rig = Self { proxies: Proxies::here(), spec, brokers: listeners };
        rig.apply(rig.snapshot());
        rig
    }

    /// All brokers, which take everybody.
    pub fn snapshot(&self) -> Snapshot {
        let backend = |(i, broker): (usize, &TcpListener)| BackendSpec {
            id: i as u32 + 1,
            name: format!("b{}", i + 1).parse().unwrap(),
            address: broker.local_addr().unwrap(),
            weight: 100,
            accepts: true,
            max_connections: None,
        };
        let backends = self.brokers.iter().enumerate().map(backend).collect();
        Snapshot { seed: Seed(1, 2), backends }
    }

    /// Begins anew, with what is in this file.
    pub fn restart(&mut self, sessions_file: std::path::PathBuf) {
        self.spec.sessions_file = sessions_file;
        // The old listener may not be closed yet.
        self.spec.address = loopback();
        self.proxies = Proxies::here();
        self.apply(self.snapshot());
    }

    pub fn apply(&self, snapshot: Snapshot) {
        let ready = self.proxies.prepare(std::slice::from_ref(&self.spec), false).unwrap();
        self.proxies.begin(ready, vec![snapshot]);
    }

    /// A client that has sent nothing.
    pub async fn dial(&self) -> Peer {
        Peer(TcpStream::connect(self.spec.address).await.unwrap())
    }

    /// A client that has sent its CONNECT.
    pub async fn connect(&self, version: Version, client_id: &str) -> Peer {
        let mut client = self.dial().await;
        client.send(&connect(version, client_id)).await;
        client
    }

    /// A client that broker `index` has accepted, and the broker's end of it.
    pub async fn accepted(&self, index: usize, version: Version, client_id: &str) -> (Peer, Peer) {
        let mut client = self.connect(version, client_id).await;
        let mut broker = self.broker(index).await;
        broker.expect(&connect(version, client_id)).await;
        let connack = accepts(version);
        broker.send(connack).await;
        client.expect(connack).await;
        (client, broker)
    }

    /// The next connection to broker `index`.
    pub async fn broker(&self, index: usize) -> Peer {
        let accepted = timeout(LIMIT, self.brokers[index].accept()).await;
        Peer(accepted.expect("nobody connects to the broker").unwrap().0)
    }

    pub fn seen(&self) -> Seen {
        self.proxies.seen(self.spec.address)
    }

    pub fn refusals(&self, reason: &str) -> u64 {
        self.seen().refusals.get(reason).copied().unwrap_or_default()
    }

    pub fn connections(&self) -> usize {
        let mut count = 0;
        self.proxies.visit(self.spec.address, |_| count += 1);
        count
    }
}

/// Waits until `done`.
pub async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let waiting = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(LIMIT, waiting).await.unwrap_or_else(|_| panic!("not {what}"));
}

pub fn connect(version: Version, client_id: &str) -> Vec<u8> {
    let (keep_alive_s, username, password) = (60, Some("user"), Some(&b"secret"[..]));
    Connect { version, client_id, keep_alive_s, username, password }.encode().unwrap()
}

pub fn accepts(version: Version) -> &'static [u8] {
    match version {
        Version::V31 | Version::V311 => &[0x20, 2, 0, 0],
        Version::V5 => &[0x20, 3, 0, 0, 0],
    }
}

/// One end of a connection.
pub struct Peer(pub TcpStream);

impl Peer {
    pub async fn send(&mut self, bytes: &[u8]) {
        timeout(LIMIT, self.0.write_all(bytes)).await.expect("stuck").unwrap();
    }

    /// Exactly these bytes come next.
    pub async fn expect(&mut self, expected: &[u8]) {
        let mut bytes = vec![0; expected.len()];
        timeout(LIMIT, self.0.read_exact(&mut bytes)).await.expect("nothing comes").unwrap();
        assert_eq!(bytes, expected);
    }

    /// The other side ends without a word; with a reset, if it has not read everything.
    pub async fn gone(&mut self) {
        let read = timeout(LIMIT, self.0.read(&mut [0])).await.expect("it does not end");
        let reset = std::io::ErrorKind::ConnectionReset;
        assert!(read.as_ref().map_or_else(|error| error.kind() == reset, |n| *n == 0), "{read:?}");
    }

    /// All that comes until the other side ends.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        timeout(LIMIT, self.0.read_to_end(&mut bytes)).await.expect("it does not end").unwrap();
        bytes
    }
}

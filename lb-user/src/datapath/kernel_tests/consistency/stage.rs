//! The network of a run, its configuration, and its controllers.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use lb_ebpf::host::golden::Net;

use super::{
    super::{Xdp, ip},
    BROKERS, IDLE_S, SERVICE_NAME,
    plane::{Plane, tick},
};
use crate::{
    config::{
        self,
        model::{Backend as Broker, LoadLimits, Weight},
    },
    control::controller::{Controller, Origin, Start},
    health::checker::Checker,
};

/// The address of a broker; the last octet of its Ethernet address is the same.
pub(super) const fn address(broker: usize) -> [u8; 4] {
    [10, 77, 1, 11 + broker as u8]
}

pub(super) fn broker(number: usize) -> Broker {
    Broker {
        name: format!("b{number}").parse().unwrap(),
        address: address(number).into(),
        port: Net::PORT,
        weight: Weight::DEFAULT,
        limits: LoadLimits::default(),
    }
}

/// The configuration of a run: sometimes the tables are small.
pub(super) fn configure(directory: &Path, pin_dir: &Path, random: &mut fastrand::Rng) {
    let small = random.bool();
    let mut room = || if small { random.u32(2..40) } else { 1000 };
    let (connections, pending) = (room(), room());
    let pending_s = [5, 16, 32][random.usize(..3)];
    let rebase_s = [2, 27, 64][random.usize(..3)];
    let dead_s = random.u32(2..9);
    let text = format!(
        "
interfaces: [{{ name: front }}]
nat: {{ addresses: [10.77.1.1], ports: 15000-15009 }}
limits: {{ connections: {connections}, pending: {pending}, backends: 64 }}
timeouts: {{ pending: {pending_s}s }}
pin_dir: {}
state_dir: {}/state
seed: 000102030405060708090a0b0c0d0e0f
services:
  - name: {SERVICE_NAME}
    vip: 10.77.9.1
    port: 1883
    mode: dsr
    idle_timeout: {IDLE_S}s
    dead_after: {dead_s}s
    rebase_after: {rebase_s}s
    backends:
      - {{ name: b0, address: 10.77.1.11, port: 1883 }}
      - {{ name: b1, address: 10.77.1.12, port: 1883 }}
",
        pin_dir.display(),
        directory.display(),
    );
    fs::write(directory.join("mqlb.yaml"), text).unwrap();
}

/// Makes the namespace the network of the brokers.
pub(super) fn make_network() {
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
    ip(&["link", "set", "lo", "up"]);
    ip(&["address", "add", "10.77.1.1/24", "dev", "front"]);
    for broker in 0..BROKERS {
        let [.., last] = address(broker);
        let (host, mac) = (format!("10.77.1.{last}"), format!("02:00:00:00:00:{last:02x}"));
        ip(&["neighbour", "add", &host, "lladdr", &mac, "dev", "front", "nud", "permanent"]);
    }
}

/// A data plane with a controller.
pub(super) fn start(directory: &Path, origin: Origin) -> (Arc<Mutex<Plane>>, Controller) {
    let file = directory.join("mqlb.yaml");
    let config = config::load(&file).unwrap();
    let xdp = Arc::new(Mutex::new(Plane::new(Xdp::start(&config).unwrap())));
    let (events, _) = tokio::sync::mpsc::channel(1);
    let controller = Controller::start(Start {
        file,
        config,
        datapath: Box::new(Arc::clone(&xdp)),
        origin,
        checker: Arc::new(Checker::new(events)),
        proxies: Arc::default(),
        host: "lb".into(),
        clock: tick,
    });
    (xdp, controller.unwrap())
}

/// The same with the tables of the one before, which must be let go first.
pub(super) fn start_again(directory: &Path, xdp: &mut Arc<Mutex<Plane>>) -> Controller {
    xdp.lock().unwrap().let_go();
    let (after, controller) = start(directory, Origin::TakenOver);
    *xdp = after;
    controller
}

//! The data plane in a real kernel: in a network namespace and with a bpffs of the test's own,
//! both gone with its thread.

mod collection;
mod consistency;
mod decap;
mod lifecycle;
mod limits;

use std::{
    ffi::CString,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    ptr, thread,
};

use lb_common::{
    addr::Addr,
    affinity::Affinity,
    backend::{Backend, PeerKey, Source, backend_flags},
    flow::{Flow, FlowKey, flow_flags},
    hash::Seed,
    port::{Owner, port_flags},
    ring::{Ring, SLOTS, Slot},
    service::{Service, ServiceKey},
    settings::Settings,
};

use super::Xdp;
use crate::{
    config::model::Config,
    control::datapath::{Datapath, Edit},
};

const BROKER: Addr = Addr::v4([10, 0, 1, 11]);
const SOURCE: Addr = Addr::v4([10, 0, 0, 2]);
const BACKEND: u32 = 1;
const FIRST_PEER: u32 = 32;
const FIRST_PORT: u16 = 15_000;
const PORTS: u16 = 15_001;

/// Runs `test` in a network namespace with the interfaces `front` and `back` (the ends of two veth
/// pairs), with a directory on a bpffs.
fn in_a_sandbox(name: &str, test: impl FnOnce(&Path) + Send + 'static) {
    let directory = std::env::temp_dir().join(format!("mqlb-{name}-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let mount_point = directory.clone();
    let result = thread::spawn(move || {
        separate(&mount_point);
        for (ours, theirs) in [("front", "front-peer"), ("back", "back-peer")] {
            ip(&["link", "add", ours, "type", "veth", "peer", "name", theirs]);
            ip(&["link", "set", ours, "up"]);
            ip(&["link", "set", theirs, "up"]);
        }
        test(&mount_point.join("mqlb"));
    })
    .join();
    fs::remove_dir(&directory).unwrap();
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

/// Moves this thread into namespaces of its own, and mounts a bpffs that only it sees.
fn separate(mount_point: &Path) {
    let check = |result: libc::c_int, what: &str| {
        assert_eq!(result, 0, "{what}: {}", io::Error::last_os_error());
    };
    let target = CString::new(mount_point.to_str().unwrap()).unwrap();
    // SAFETY: the strings end with a zero and live until the calls return; null pointers are what
    // these calls take for "none".
    unsafe {
        check(libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS), "unshare (as root?)");
        let private = libc::MS_REC | libc::MS_PRIVATE;
        check(
            libc::mount(ptr::null(), c"/".as_ptr(), ptr::null(), private, ptr::null()),
            "make mounts private",
        );
        check(
            libc::mount(c"bpf".as_ptr(), target.as_ptr(), c"bpf".as_ptr(), 0, ptr::null()),
            "mount bpffs",
        );
    }
}

fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status().unwrap();
    assert!(status.success(), "ip {arguments:?}");
}

fn config(pin_dir: &Path, interfaces: &str, connections: u32) -> Config {
    let text = format!(
        "
interfaces: [{interfaces}]
nat: {{ addresses: [10.0.0.2], ports: 15000-30000 }}
limits: {{ connections: {connections}, pending: 1000, backends: 64 }}
pin_dir: {}
services:
  - name: mqtt
    vip: 192.0.2.10
    port: 1883
    backends: [{{ name: broker-1, address: 10.0.1.11, port: 1883 }}]
",
        pin_dir.display()
    );
    crate::config::parse(&text).unwrap()
}

const BOTH: &str = "{ name: front }, { name: back, xdp: generic }";

fn settings() -> Settings {
    Settings {
        first_port: FIRST_PORT,
        ports: PORTS,
        sources_v4: 1,
        pending_ticks: 10,
        closed_ticks: 60,
        rest_ticks: 60,
        ..Settings::default()
    }
}

const fn backend() -> Backend {
    Backend {
        address: BROKER,
        port: 1883u16.to_be_bytes(),
        flags: backend_flags::PRESENT | backend_flags::FORWARD | backend_flags::ACCEPT,
        service: 0,
        first_peer: FIRST_PEER,
        pad: 0,
    }
}

const PEER: PeerKey = PeerKey::new(BROKER, 1883u16.to_be_bytes(), SOURCE);

const SERVICE: Service = Service {
    key: ServiceKey::tcp(Addr::v4([192, 0, 2, 10]), 1883u16.to_be_bytes()),
    id: 0,
    idle_ticks: 1000,
    mode: 0,
    flags: 0,
    pad: [0; 6],
    affinity: Affinity::CONNECTION,
    hash_key: Seed(0, 0),
};

fn ring() -> Box<Ring> {
    vec![Slot::stable(BACKEND); SLOTS].into_boxed_slice().try_into().unwrap()
}

fn fill(xdp: &mut Xdp) {
    for edit in [
        Edit::PutSettings(settings()),
        Edit::PutSource { number: 0, source: Source { address: SOURCE } },
        Edit::PutPeer { key: PEER, peer: FIRST_PEER },
        Edit::PutBackend { id: BACKEND, backend: backend() },
        Edit::PutRing { service: 0, ring: ring() },
        Edit::PutService(SERVICE),
    ] {
        xdp.apply(&edit).unwrap_or_else(|error| panic!("{edit}: {error}"));
    }
}

/// Adds a flow and claims its port, as the program would.
fn open_flow(xdp: &Xdp, number: u16, last_seen: u32, closed: bool) -> FlowKey {
    let client = Addr::v4([198, 51, 100, (number >> 8) as u8]);
    let key = FlowKey::new(client, number.to_be_bytes(), 0);
    let closed = if closed { flow_flags::CLOSED as u32 } else { 0 };
    let flow = Flow {
        word: BACKEND << 8 | closed,
        nat_port: (FIRST_PORT + number).to_be_bytes(),
        source: 0,
        last_seen,
        idle_ticks: 1000,
    };
    let port = &xdp.known.ports[&FIRST_PEER][usize::from(number)];
    assert!(port.take(Owner::FREE, Owner::claimed(BACKEND, key.port)));
    port.set_client(client);
    port.set(port_flags::PROMOTED);
    xdp.tables.flows.put(&key, &flow).unwrap();
    key
}

fn count(xdp: &Xdp) -> usize {
    let mut count = 0;
    xdp.flows(&mut |_, _| count += 1).unwrap();
    count
}

fn pinned(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path()).collect()
}

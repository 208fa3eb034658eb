//! The data plane in a real kernel: in a network namespace and with a bpffs of the test's own,
//! both gone with its thread.

use std::{
    ffi::CString,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    ptr, thread,
};

use lb_common::{
    addr::Addr,
    backend::{Backend, PeerKey, Source, backend_flags},
    flow::{Flow, FlowKey, flow_flags},
    port::{Owner, port_flags},
    ring::{Ring, SLOTS, Slot},
    service::{Service, ServiceKey},
    settings::Settings,
};

use super::{AttachedMode, StartError, Xdp, now};
use crate::{
    config::model::Config,
    control::datapath::{Datapath, Edit},
};

const BROKER: Addr = Addr::v4([10, 0, 1, 11]);
const SOURCE: Addr = Addr::v4([10, 0, 0, 2]);
const BACKEND: u32 = 1;
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
        first_peer: 32,
        pad: 0,
    }
}

const PEER: PeerKey =
    PeerKey { broker: BROKER, source: SOURCE, port: 1883u16.to_be_bytes(), pad: [0; 6] };

const SERVICE: Service = Service {
    key: ServiceKey::tcp(Addr::v4([192, 0, 2, 10]), 1883u16.to_be_bytes()),
    id: 0,
    idle_ticks: 1000,
    mode: 0,
    flags: 0,
    pad: [0; 6],
};

fn ring() -> Box<Ring> {
    vec![Slot::stable(BACKEND); SLOTS].into_boxed_slice().try_into().unwrap()
}

fn fill(xdp: &mut Xdp) {
    for edit in [
        Edit::PutSettings(settings()),
        Edit::PutSource { number: 0, source: Source { address: SOURCE } },
        Edit::PutPeer { key: PEER, peer: 32 },
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
    let port = &xdp.known.ports[&32][usize::from(number)];
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

#[test]
#[ignore = "needs root"]
fn a_controller_takes_over_what_the_last_one_left_and_detaching_leaves_nothing() {
    in_a_sandbox("takeover", |pin_dir| {
        let config = config(pin_dir, BOTH, 20_000);
        let mut first = Xdp::start(&config).unwrap();
        fill(&mut first);
        let key = open_flow(&first, 7, now(), false);
        let before = first.interfaces().unwrap();
        let modes: Vec<_> = before
            .iter()
            .map(|interface| (interface.name.as_str(), interface.attached.unwrap().mode))
            .collect();
        assert_eq!(modes, [("back", AttachedMode::Generic), ("front", AttachedMode::Native)]);
        let error = Xdp::start(&config).unwrap_err();
        assert!(matches!(error, StartError::InUse(_)), "{error}");
        drop(first);

        let mut second = Xdp::start(&config).unwrap();
        let after = second.interfaces().unwrap();
        for (before, after) in before.iter().zip(&after) {
            let (before, after) = (before.attached.unwrap(), after.attached.unwrap());
            assert_ne!(before.program_id, after.program_id, "the program was not replaced");
            assert_eq!(before.mode, after.mode);
        }
        assert!(second.flow(&key).unwrap().is_some());
        assert_eq!(second.known.settings, settings());
        assert_eq!(second.known.backends[&BACKEND], backend());
        // The table of source ports is the same memory.
        assert!(second.known.ports[&32][7].owner().has(port_flags::CLAIMED));
        fill(&mut second);
        assert!(second.known.ports[&32][7].owner().has(port_flags::CLAIMED));

        second.set_interfaces(&config.interfaces[..1]).unwrap();
        assert_eq!(second.interfaces().unwrap().len(), 1);
        drop(second);
        Xdp::detach_all(pin_dir).unwrap();
        assert!(!pin_dir.exists());
        Xdp::detach_all(pin_dir).unwrap();
        let index = super::interface::index("front").unwrap();
        assert_eq!(super::interface::attached(index).unwrap(), None);
    });
}

#[test]
#[ignore = "needs root"]
fn a_sweep_of_ten_thousand_flows_takes_the_idle_ones_and_rests_their_ports() {
    in_a_sandbox("sweep", |pin_dir| {
        let mut xdp = Xdp::start(&config(pin_dir, BOTH, 20_000)).unwrap();
        fill(&mut xdp);
        let now = now().max(2000);
        let mut live = Vec::new();
        for number in 0..10_000 {
            // One of four was idle for too long; one of four is closed, and seen just now.
            let idle = number % 4 == 0;
            let key = open_flow(&xdp, number, if idle { now - 1001 } else { now }, number % 4 == 1);
            if !idle {
                live.push((number, key));
            }
        }
        let report = xdp.sweep(now).unwrap();
        assert_eq!(report.flows, 7500);
        assert_eq!(report.expired[&BACKEND], 2500);
        assert_eq!(report.open[&BACKEND], 5000);
        assert_eq!(count(&xdp), 7500);
        for (number, key) in &live {
            assert!(xdp.flow(key).unwrap().is_some());
            assert!(xdp.known.ports[&32][usize::from(*number)].owner().has(port_flags::CLAIMED));
        }
        let freed = &xdp.known.ports[&32][0];
        assert!(freed.owner().has(port_flags::RESTING));
        assert_eq!(freed.resting_since(), now);

        // A minute later the closed ones are over, too; they are not counted twice.
        let report = xdp.sweep(now + 61).unwrap();
        assert_eq!((report.flows, report.expired.len()), (5000, 0));

        xdp.apply(&Edit::Purge { backend: BACKEND }).unwrap();
        assert_eq!(count(&xdp), 0);
        let ports = &xdp.known.ports[&32];
        assert!(!ports.iter().any(|port| port.owner().has(port_flags::CLAIMED)));
        xdp.apply(&Edit::RemovePeer { key: PEER, peer: 32 }).unwrap();
        xdp.apply(&Edit::ClearBackend { id: BACKEND }).unwrap();
        xdp.apply(&Edit::RemoveService { key: SERVICE.key, id: 0 }).unwrap();
        xdp.apply(&Edit::RemoveRing { service: 0 }).unwrap();
        assert_eq!(pinned(&pin_dir.join("ports")), Vec::<PathBuf>::new());
    });
}

#[test]
#[ignore = "needs root"]
fn a_port_without_a_flow_is_freed_by_the_second_sweep() {
    in_a_sandbox("orphan", |pin_dir| {
        let mut xdp = Xdp::start(&config(pin_dir, BOTH, 1000)).unwrap();
        fill(&mut xdp);
        let key = open_flow(&xdp, 3, now(), false);
        xdp.tables.flows.remove(&key).unwrap();
        xdp.sweep(now()).unwrap();
        assert!(xdp.known.ports[&32][3].owner().has(port_flags::CLAIMED));
        xdp.sweep(now()).unwrap();
        assert!(xdp.known.ports[&32][3].owner().has(port_flags::RESTING));
    });
}

#[test]
#[ignore = "needs root"]
fn tables_of_another_size_and_another_layout_are_refused() {
    in_a_sandbox("refused", |pin_dir| {
        drop(Xdp::start(&config(pin_dir, BOTH, 1000)).unwrap());
        let error = Xdp::start(&config(pin_dir, BOTH, 2000)).unwrap_err().to_string();
        assert!(error.contains("table FLOWS is pinned with 1000 entries"), "{error}");
        assert!(error.contains("limits.connections"), "{error}");
        // What ran goes on.
        let index = super::interface::index("front").unwrap();
        assert!(super::interface::attached(index).unwrap().is_some());

        fs::remove_file(pin_dir.join("layout")).unwrap();
        let error = Xdp::start(&config(pin_dir, BOTH, 1000)).unwrap_err().to_string();
        assert!(error.contains("layout unknown, this build needs layout"), "{error}");
        Xdp::detach_all(pin_dir).unwrap();
    });
}

#[test]
#[ignore = "needs root"]
fn a_foreign_program_is_named_and_nothing_is_left_of_the_attempt() {
    in_a_sandbox("foreign", |pin_dir| {
        let theirs = pin_dir.with_file_name("theirs");
        let first = Xdp::start(&config(&theirs, "{ name: back }", 1000)).unwrap();
        let error = Xdp::start(&config(pin_dir, BOTH, 1000)).unwrap_err().to_string();
        assert!(error.contains("attach XDP to back: another XDP program runs there"), "{error}");
        assert!(error.contains("called \"mqlb\""), "{error}");
        assert!(!pin_dir.exists());
        let index = super::interface::index("front").unwrap();
        assert_eq!(super::interface::attached(index).unwrap(), None);
        assert!(first.interfaces().unwrap()[0].attached.is_some());
    });
}

#[test]
#[ignore = "needs root"]
fn a_changed_range_of_source_ports_is_refused_while_flows_may_use_the_old_one() {
    in_a_sandbox("ports", |pin_dir| {
        let mut xdp = Xdp::start(&config(pin_dir, BOTH, 1000)).unwrap();
        fill(&mut xdp);
        let other = Settings { first_port: 16_000, ..settings() };
        let error = xdp.apply(&Edit::PutSettings(other)).unwrap_err().to_string();
        assert!(error.contains("nat.ports"), "{error}");
        assert_eq!(xdp.known.settings, settings());
    });
}

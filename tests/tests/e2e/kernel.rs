//! What is not for a VIP stays the kernel's, and what is detached is gone.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use lb_tests::exclusive;
use lb_tests::topology::{Arms, Family};

use super::Stage;

#[test]
fn other_connections_to_the_balancer_and_through_it_work_as_before() {
    let _exclusive = exclusive();
    let stage = Stage::new(Arms::Two, 1);
    for family in Family::ALL {
        // As SSH would: to the balancer's own address, and to the VIP at another port.
        let own = SocketAddr::new(stage.topology.balancer_address(family), 22);
        let vip = SocketAddr::new(stage.topology.vip(family).ip(), 22);
        for address in [own, vip] {
            let listener = stage.topology.balancer().run(|| TcpListener::bind(address));
            let listener = listener.unwrap().unwrap();
            let connect = || TcpStream::connect(address);
            let mut client = stage.topology.clients().run(connect).unwrap().unwrap();
            let (mut server, _) = listener.accept().unwrap();
            server.write_all(b"hello").unwrap();
            let mut received = [0; 5];
            client.read_exact(&mut received).unwrap();
            assert_eq!(&received, b"hello");
        }
        // Past the balancer, which only routes it, to a broker directly.
        let broker = stage.topology.broker_address(0, family);
        stage.topology.clients().run(|| TcpStream::connect(broker)).unwrap().unwrap();
    }
}

/// Whatever is in the network's bpffs, but for the two files that the kernel puts into each.
fn pinned(stage: &Stage) -> Vec<PathBuf> {
    let entries = fs::read_dir(stage.topology.scratch().bpffs()).unwrap();
    let mut pinned: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    pinned.retain(|path| !path.ends_with("maps.debug") && !path.ends_with("progs.debug"));
    pinned
}

#[test]
fn detach_removes_every_pin_and_program() {
    let _exclusive = exclusive();
    let mut stage = Stage::new(Arms::Two, 1);
    assert!(!pinned(&stage).is_empty());
    assert_eq!(stage.programs().len(), 2);
    stage.balancer.stop().unwrap();
    assert_eq!(stage.programs().len(), 2, "a controller that ends leaves the fast path");
    stage.balancer.detach().unwrap();
    assert_eq!(stage.programs(), []);
    assert_eq!(pinned(&stage), [] as [PathBuf; 0]);
}

#[test]
fn a_panicking_test_leaves_no_controller_and_no_pins_behind() {
    let _exclusive = exclusive();
    let test = std::thread::spawn(|| {
        let stage = Stage::new(Arms::One, 1);
        let controller = stage.balancer.process().unwrap().pid().to_string();
        let traces = [
            Path::new("/proc").join(controller),
            stage.topology.balancer().path(),
            stage.topology.scratch().path().to_owned(),
        ];
        assert!(traces.iter().all(|trace| trace.exists()), "{traces:?}");
        std::panic::panic_any(traces);
    });
    let traces = *test.join().unwrap_err().downcast::<[PathBuf; 3]>().unwrap();
    // The pins were in a bpffs below the last one, which could not be removed while mounted.
    assert!(!traces.iter().any(|trace| trace.exists()), "left of {traces:?}");
}

//! What limits new connections, in the kernel.

use std::collections::BTreeMap;

use lb_common::admission::{ListKey, Listed};

use super::*;
use crate::control::direct::DirectRings;

#[test]
#[ignore = "needs root"]
fn lists_are_read_back_as_they_were_written() {
    in_a_sandbox("lists", |pin_dir| {
        let config = config(pin_dir, BOTH, 1000);
        let mut xdp = Xdp::start(&config).unwrap();
        assert!(xdp.lists().unwrap().is_empty());
        let network = Addr::v4([198, 51, 100, 0]);
        let everybody = Addr::v4([0, 0, 0, 0]);
        let mut lists = BTreeMap::from([
            (ListKey::new(0, everybody, 96), Listed::new(96, true)),
            (ListKey::new(0, network, 120), Listed::new(120, false)),
            (ListKey::new(0, network, 128), Listed::new(128, true)),
            (ListKey::new(7, network, 120), Listed::new(120, true)),
            (
                ListKey::new(ListKey::all_services(Addr::default()), Addr::default(), 0),
                Listed::new(0, true),
            ),
        ]);
        for (key, listed) in &lists {
            xdp.apply(&Edit::PutListed { key: *key, listed: *listed }).unwrap();
        }
        drop(xdp);
        let mut xdp = Xdp::start(&config).unwrap();
        assert!(xdp.taken_over());
        assert_eq!(xdp.lists().unwrap(), lists);
        // What it lies in stays.
        let gone = ListKey::new(0, network, 120);
        lists.remove(&gone);
        for _ in 0..2 {
            xdp.apply(&Edit::RemoveListed { key: gone }).unwrap();
            assert_eq!(xdp.lists().unwrap(), lists);
        }
        drop(xdp);
        Xdp::detach_all(pin_dir).unwrap();
    });
}

#[test]
#[ignore = "needs root"]
fn a_sweep_takes_idle_connections_off_the_count_of_their_backend() {
    in_a_sandbox("loads", |pin_dir| {
        let mut xdp = Xdp::start(&config(pin_dir, BOTH, 1000)).unwrap();
        fill(&mut xdp);
        let counted = |xdp: &Xdp| xdp.tables.loads.counted(&xdp.known.backends)[&BACKEND];
        for number in 0..10 {
            open_flow(&xdp, number, if number < 4 { 1 } else { 5000 }, false);
        }
        // Nobody counted them: the first sweep corrects that, and every one counts what it collects.
        xdp.sweep(2, &DirectRings::default()).unwrap();
        assert_eq!(counted(&xdp), 10);
        xdp.sweep(5000, &DirectRings::default()).unwrap();
        assert_eq!(counted(&xdp), 6);
        xdp.apply(&Edit::ClearBackend { id: BACKEND }).unwrap();
        xdp.apply(&Edit::PutBackend { id: BACKEND, backend: backend() }).unwrap();
        assert_eq!(counted(&xdp), 0, "another backend begins with none");
        drop(xdp);
        Xdp::detach_all(pin_dir).unwrap();
    });
}

//! Starting, taking over, refusing, detaching.

use super::super::{AttachedMode, StartError, interface};
use super::*;
use crate::datapath::now;

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
        assert!(second.known.ports[&FIRST_PEER][7].owner().has(port_flags::CLAIMED));
        fill(&mut second);
        assert!(second.known.ports[&FIRST_PEER][7].owner().has(port_flags::CLAIMED));

        second.set_interfaces(&config.interfaces[..1]).unwrap();
        assert_eq!(second.interfaces().unwrap().len(), 1);
        drop(second);
        Xdp::detach_all(pin_dir).unwrap();
        assert!(!pin_dir.exists());
        Xdp::detach_all(pin_dir).unwrap();
        let index = interface::index("front").unwrap();
        assert_eq!(interface::attached(index).unwrap(), None);
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
        let index = interface::index("front").unwrap();
        assert!(interface::attached(index).unwrap().is_some());

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
        let index = interface::index("front").unwrap();
        assert_eq!(interface::attached(index).unwrap(), None);
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

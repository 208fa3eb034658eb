//! The unwrapping program, attached and taken off.

use std::net::IpAddr;

use super::super::{
    StartError, attach, decap,
    decap::{Allowed, Unwrapping},
    interface,
};
use super::*;
use crate::config::model::{InterfaceSettings, XdpMode};

fn unwrapping(from: &[&str], vips: &[&str]) -> Unwrapping {
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    Unwrapping {
        interfaces: vec![InterfaceSettings { name: "front".into(), xdp: XdpMode::Native }],
        allowed: Allowed {
            from: from.iter().map(|text| text.parse().unwrap()).collect(),
            to: vec![address("10.0.1.11"), address("fd00:1::11")],
            vips: vips.iter().map(|text| address(text)).collect(),
        },
    }
}

#[test]
#[ignore = "needs root"]
fn attaching_again_changes_the_lists_in_place_and_detaching_leaves_nothing() {
    in_a_sandbox("decap", |pin_dir| {
        assert!(decap::status(pin_dir).unwrap().is_none());
        let first = unwrapping(&["10.99.0.0/16", "fd00:99::/64"], &["192.0.2.10", "2001:db8::10"]);
        decap::attach(pin_dir, &first).unwrap();
        let before = decap::status(pin_dir).unwrap().unwrap();
        assert_eq!(before.allowed, first.allowed);
        assert!(before.interfaces[0].attached.is_some());

        let second = unwrapping(&["10.99.128.0/17"], &["192.0.2.10", "192.0.2.11"]);
        decap::attach(pin_dir, &second).unwrap();
        decap::attach(pin_dir, &second).unwrap();
        let after = decap::status(pin_dir).unwrap().unwrap();
        assert_eq!(after.allowed, second.allowed);
        assert_ne!(after.interfaces, before.interfaces, "the program was not replaced");

        assert!(decap::detach(pin_dir).unwrap());
        assert!(!pin_dir.exists() && !decap::detach(pin_dir).unwrap());
        let index = interface::index("front").unwrap();
        assert_eq!(interface::attached(index).unwrap(), None);
    });
}

#[test]
#[ignore = "needs root"]
fn the_balancer_and_the_unwrapping_program_leave_each_other_alone() {
    in_a_sandbox("decap-balancer", |pin_dir| {
        let wanted = unwrapping(&["10.99.0.0/16"], &["192.0.2.10"]);
        drop(Xdp::start(&config(pin_dir, BOTH, 1000)).unwrap());
        for error in [
            decap::attach(pin_dir, &wanted).unwrap_err(),
            decap::detach(pin_dir).unwrap_err(),
            decap::status(pin_dir).unwrap_err(),
        ] {
            assert!(matches!(error, StartError::PinsOfBalancer(_)), "{error}");
        }
        let other = pin_dir.with_file_name("decap");
        let error = decap::attach(&other, &wanted).unwrap_err().to_string();
        assert!(
            error.contains("called \"mqlb\"\nhint: it is one of ours: `mqlb detach"),
            "{error}"
        );
        assert!(!other.exists(), "nothing is left of the attempt");
        Xdp::detach_all(pin_dir).unwrap();

        decap::attach(&other, &wanted).unwrap();
        let error = Xdp::start(&config(pin_dir, BOTH, 1000)).unwrap_err().to_string();
        assert!(error.contains("hint: it is one of ours: `mqlb decap detach"), "{error}");
        assert_eq!(attach::status(&super::super::pins::Pins::new(&other)).unwrap().len(), 1);
        decap::detach(&other).unwrap();
    });
}

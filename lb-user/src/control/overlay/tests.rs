use std::time::Duration;

use super::*;
use crate::config::model::{Affinity, AllDown, Mode, Refusal, Sources, SynRates};

fn backend(number: u8) -> Backend {
    Backend {
        name: format!("b{number}").parse().unwrap(),
        address: [10, 0, 0, number].into(),
        port: 1883,
        weight: Weight::DEFAULT,
        limits: LoadLimits::default(),
    }
}

fn service() -> Service {
    Service {
        name: "mqtt".parse().unwrap(),
        vip: [192, 0, 2, 1].into(),
        port: 1883,
        mode: Mode::Nat,
        affinity: Affinity::Connection,
        idle_timeout: Duration::from_secs(1),
        guard: crate::config::model::Guard::Off,
        sources: Sources::default(),
        syn_rates: SynRates::default(),
        limits: LoadLimits::default(),
        slow_start: None,
        dead_after: None,
        rebase_after: Duration::from_secs(1),
        no_backend: Refusal::Reset,
        unknown_flow: Refusal::Reset,
        all_down: AllDown::Refuse,
        health: None,
        ejection: None,
        mqtt: None,
        backends: vec![backend(1), backend(2)],
    }
}

fn names(overlay: &Overlay) -> Vec<String> {
    overlay.backends(&service()).iter().map(|b| b.name.to_string()).collect()
}

#[test]
fn what_is_taken_back_leaves_nothing() {
    let mut overlay = Overlay::default();
    overlay.add(&service(), &backend(3)).unwrap();
    overlay.remove(&service(), "b1").unwrap();
    overlay.weigh(&service(), "b2", Weight::new(7).unwrap()).unwrap();
    assert!(overlay.drain(&service(), "b2", true).unwrap());
    assert_eq!(names(&overlay), ["b2", "b3"]);
    assert_eq!(overlay.backends(&service())[0].weight.value(), 7);

    overlay.remove(&service(), "b3").unwrap();
    overlay.add(&service(), &backend(1)).unwrap();
    let before = overlay.weigh(&service(), "b2", Weight::DEFAULT).unwrap();
    assert_eq!(before.value(), 7);
    assert!(overlay.drain(&service(), "b2", false).unwrap());
    assert!(overlay.is_empty(), "{overlay:?}");
}

#[test]
fn a_backend_can_be_replaced_under_its_name() {
    let mut overlay = Overlay::default();
    overlay.remove(&service(), "b1").unwrap();
    overlay.add(&service(), &Backend { name: backend(1).name, ..backend(9) }).unwrap();
    let backends = overlay.backends(&service());
    assert_eq!(backends.iter().find(|b| b.name == *"b1").unwrap().address, backend(9).address);
}

#[test]
fn impossible_backends_are_refused() {
    let mut overlay = Overlay::default();
    let refusal = |backend: Backend| Overlay::default().add(&service(), &backend).unwrap_err();
    assert!(matches!(refusal(backend(1)), CommandError::NameTaken { .. }));
    let twice = Backend { name: backend(3).name, ..backend(1) };
    assert!(matches!(refusal(twice), CommandError::AddressTaken { .. }));
    let nowhere = Backend { port: 0, ..backend(3) };
    assert!(matches!(refusal(nowhere), CommandError::Unfit(_)));
    overlay.remove(&service(), "b1").unwrap();
    let last = overlay.remove(&service(), "b2").unwrap_err();
    assert!(matches!(last, CommandError::LastBackend { .. }));
    assert!(matches!(overlay.remove(&service(), "b1"), Err(CommandError::NoBackend { .. })));
}

#[test]
fn a_reload_keeps_only_the_drained() {
    let mut overlay = Overlay::default();
    overlay.add(&service(), &backend(3)).unwrap();
    overlay.drain(&service(), "b2", true).unwrap();
    overlay.drain(&service(), "b3", true).unwrap();
    let left = overlay.after_reload(&[service()]);
    assert_eq!(left.backends(&service()), service().backends);
    assert!(left.is_drained(&service().name, &backend(2).name));
    assert!(!left.is_drained(&service().name, &backend(3).name));
}

#[test]
fn a_broker_that_the_file_has_got_meanwhile_is_not_there_twice() {
    let mut overlay = Overlay::default();
    overlay.add(&service(), &backend(3)).unwrap();
    let mut file = service();
    file.backends.push(Backend { name: "other".parse().unwrap(), ..backend(3) });
    assert_eq!(overlay.backends(&file).len(), 3);
}

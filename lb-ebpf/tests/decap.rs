//! Unwrapping on the host library: the golden packets, and that it takes back what the balancer does.
#![cfg(feature = "host")]

use lb_common::{decap::DecapVerdict, service::mode, verdict::Verdict};
use lb_ebpf::{
    decap::decapsulate,
    host::{
        Frame,
        golden::{BrokerHost, Family, Net, decap},
    },
};
use proptest::prelude::*;

#[test]
fn golden_packets_come_out_of_a_brokers_host_as_written() {
    for case in decap::all() {
        let mut bytes = case.input;
        assert_eq!(decapsulate(&mut bytes, &BrokerHost::golden()), case.verdict, "{}", case.name);
        assert_eq!(bytes, case.output, "{}: bytes", case.name);
    }
}

proptest! {
    #[test]
    fn a_broker_gets_what_the_client_sent(
        families: [bool; 2], client: u8, port: u16, flags in prop::sample::select(vec![2u8, 16, 17]),
        tos: u8, label: u16, ttl in 2..=255u8, payload in prop::collection::vec(any::<u8>(), 0..1300),
    ) {
        let [inner, outer] = families.map(|v6| Net(if v6 { Family::V6 } else { Family::V4 }));
        let mut world = inner.direct_world(mode::IPIP);
        outer.add_backend(&mut world, 1, outer.broker(1));
        let source = (inner.client(client).0, port);
        let frame = Frame { tos, label, ttl, payload, source, ..inner.from_client(flags) };
        let mut bytes = frame.bytes();
        prop_assert_eq!(world.run(&mut bytes).verdict, Verdict::ToBackend);
        prop_assert_eq!(decapsulate(&mut bytes, &BrokerHost::golden()), DecapVerdict::Unwrapped);
        prop_assert_eq!(bytes, inner.directly(&frame, 1).bytes());
    }

    #[test]
    fn whatever_comes_is_unwrapped_or_left_alone(
        number in 0..decap::all().len(), place: usize, byte: u8, cut in 0..4usize,
    ) {
        let mut bytes = decap::all().swap_remove(number).input;
        let place = place % bytes.0.len();
        bytes.0[place] = byte;
        bytes.0.truncate(bytes.0.len() - cut);
        let before = bytes.clone();
        let verdict = decapsulate(&mut bytes, &BrokerHost::golden());
        prop_assert!(verdict == DecapVerdict::Unwrapped || bytes == before);
    }
}

//! What the program of `mqlb trace` tells, in the kernel.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::collections::HashSet;

use lb_common::{
    trace::{EndFilter, TraceFilter},
    verdict::{Action, Verdict},
};
use lb_ebpf::host::{
    Bytes,
    golden::{self, Case, Family, Net, Step},
};
use lb_tests::kernel::{EVERYTHING, Kernel, Program};

fn packets(case: &Case) -> impl Iterator<Item = (&Bytes, Verdict, &Bytes)> {
    case.steps.iter().filter_map(|step| match step {
        Step::Packet { input, verdict, output } => Some((input, *verdict, output)),
        Step::Change(_) => None,
    })
}

/// As few conversations as it takes to see every verdict that there are conversations with.
fn cases() -> Vec<Case> {
    let mut seen = HashSet::new();
    let mut cases = golden::all();
    cases.retain(|case| {
        let before = seen.len();
        seen.extend(packets(case).map(|(_, verdict, _)| verdict));
        seen.len() > before
    });
    cases
}

#[test]
fn a_traced_packet_is_told_of_as_it_came_and_as_it_goes_on() {
    for case in cases() {
        let mut kernel = Kernel::load(&case.world, Program::Tracing).unwrap();
        kernel.trace(&EVERYTHING).unwrap();
        kernel.play(&case).unwrap_or_else(|error| panic!("{}: {error:?}", case.name));
        let traced = kernel.traced().unwrap();
        assert_eq!(traced.len(), packets(&case).count(), "{}", case.name);
        for (traced, (input, verdict, output)) in traced.iter().zip(packets(&case)) {
            let event = &traced.event;
            assert_eq!((event.session, event.verdict), (7, verdict as u32), "{}", case.name);
            assert_eq!(traced.came, *input, "{}", case.name);
            assert_eq!(event.came_len as usize, input.0.len());
            let egress = if verdict.action() == Action::Forward { Net::INTERFACE } else { 0 };
            assert_eq!(event.egress, egress, "{}: {}", case.name, verdict.name());
            if verdict.action() == Action::Drop {
                assert!(traced.goes.0.is_empty());
            } else {
                assert_eq!(traced.goes, *output, "{}", case.name);
                assert_eq!(event.goes_len as usize, output.0.len());
            }
        }
        assert_eq!(kernel.untold().unwrap(), 0);
    }
}

/// How many packets of the first conversation, a handshake and more, this filter is told of.
fn told(filter: &TraceFilter, program: Program) -> (usize, usize) {
    let case = cases().swap_remove(0);
    let mut kernel = Kernel::load(&case.world, program).unwrap();
    kernel.trace(filter).unwrap();
    kernel.play(&case).unwrap();
    (kernel.traced().unwrap().len(), packets(&case).count())
}

#[test]
fn nothing_is_told_by_the_plain_program_nor_when_time_is_over() {
    assert_eq!(told(&EVERYTHING, Program::Plain).0, 0);
    assert_eq!(told(&TraceFilter { until_ns: 1, ..EVERYTHING }, Program::Tracing).0, 0);
    assert_eq!(told(&TraceFilter::default(), Program::Tracing).0, 0);
}

#[test]
fn only_what_the_filter_wants_is_told() {
    let net = Net(Family::V4);
    let of = |(address, port): (std::net::IpAddr, u16)| {
        let end = EndFilter::new(address.into(), 128, port);
        let ends = [end, EndFilter::default(), EndFilter::default()];
        told(&TraceFilter { ends, ..EVERYTHING }, Program::Tracing)
    };
    let (all, packets) = of(net.client(1));
    assert_eq!(all, packets);
    assert_eq!(of((net.client(1).0, 1)).0, 0);
    let to_client = TraceFilter { verdicts: 1 << Verdict::ToClient as u32, ..EVERYTHING };
    let (replies, packets) = told(&to_client, Program::Tracing);
    assert!(0 < replies && replies < packets, "{replies} of {packets}");
    let (sampled, packets) = told(&TraceFilter { every: 2, ..EVERYTHING }, Program::Tracing);
    assert_eq!(sampled, packets.div_ceil(2));
}

#[test]
fn no_more_bytes_are_caught_than_asked_for() {
    let case = cases().swap_remove(0);
    let mut kernel = Kernel::load(&case.world, Program::Tracing).unwrap();
    kernel.trace(&TraceFilter { most_caught: 40, ..EVERYTHING }).unwrap();
    kernel.play(&case).unwrap();
    for traced in kernel.traced().unwrap() {
        assert_eq!((traced.came.0.len(), traced.goes.0.len()), (40, 40));
        assert!(traced.event.came_len > 40);
    }
}

#[test]
fn what_does_not_fit_into_the_ring_is_counted() {
    let case = cases().swap_remove(0);
    let mut kernel = Kernel::load(&case.world, Program::Tracing).unwrap();
    kernel.trace(&EVERYTHING).unwrap();
    let (input, ..) = packets(&case).next().unwrap();
    let runs = 10_000;
    kernel.run(input, runs).unwrap();
    let told = kernel.traced().unwrap().len() as u64;
    assert!(told < u64::from(runs), "the ring is larger than the test expects");
    assert_eq!(told + kernel.untold().unwrap(), u64::from(runs));
}

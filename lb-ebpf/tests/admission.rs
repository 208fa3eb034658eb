//! What new connections must pass, on the host library, with a clock that the test moves.
#![cfg(feature = "host")]

use lb_common::{
    admission::{Admission, RateKey},
    backend::backend_flags::LIMITED,
    load::LoadLimits,
    rate::{Bucket, Rate},
    service::{mode, service_flags::ADMITS},
    verdict::Verdict,
};
use lb_ebpf::{
    admission::{Gate as _, Scope},
    host::{
        Frame, World,
        golden::{Family, Net},
    },
    parse::tcp_flags::{ACK, FIN, RST, SYN},
    tables::InsertError,
};

const NET: Net = Net(Family::V4);

fn send(world: &World, frame: &Frame) -> Verdict {
    world.run(&mut frame.bytes()).verdict
}

fn syn(client: u8) -> Frame {
    Frame { source: NET.client(client), ..NET.from_client(SYN) }
}

fn with_rate(source: Rate) -> World {
    let mut world = NET.direct_world(mode::DSR);
    world.services.values_mut().for_each(|service| service.flags |= ADMITS);
    world.admissions.insert(Net::SERVICE, Admission { source, ..Admission::default() });
    world
}

fn with_limits(mut world: World, limits: LoadLimits) -> World {
    world.backends.entry(1).and_modify(|backend| backend.flags |= LIMITED);
    world.load_limits.insert(1, limits);
    world
}

#[test]
fn a_source_that_waits_may_send_again() {
    let world = with_rate(Rate::new(1, 2));
    let verdicts = [(); 3].map(|()| send(&world, &syn(1)));
    assert_eq!(verdicts, [Verdict::ToBackend, Verdict::ToBackend, Verdict::SourceLimited]);
    // A tick is a little more than a second.
    world.now.set(world.now.get() + 1);
    let verdicts = [(); 2].map(|()| send(&world, &syn(1)));
    assert_eq!(verdicts, [Verdict::ToBackend, Verdict::SourceLimited]);
}

#[test]
fn of_two_cpus_that_see_a_source_for_the_first_time_both_count() {
    let (world, rate) = (with_rate(Rate::new(1, 2)), Rate::new(1, 2));
    let key = RateKey { client: NET.client(1).0.into(), service: Net::SERVICE, pad: 0 };
    let begin = || world.begin(Scope::Source, &key, Bucket::begun(&rate, world.clock_ns()));
    assert_eq!(begin(), Ok(()));
    assert_eq!(begin(), Err(InsertError::Exists), "the other one takes from the same bucket");
    let verdicts = [(); 2].map(|()| send(&world, &syn(1)));
    assert_eq!(verdicts, [Verdict::ToBackend, Verdict::SourceLimited]);
}

#[test]
fn what_a_backend_does_not_take_is_counted_for_it() {
    let limits = LoadLimits { new: Rate::new(1, 1), connections: 0 };
    let world = with_limits(NET.direct_world(mode::DSR), limits);
    let verdicts = [1, 2, 3].map(|client| send(&world, &syn(client)));
    let paced = Verdict::BackendPaced;
    assert_eq!(verdicts, [Verdict::ToBackend, paced, paced]);
    let counters = world.counters_of(1);
    assert_eq!((counters.attempted, counters.paced, counters.full), (1, 2, 0));
    world.now.set(world.now.get() + 1);
    assert_eq!(send(&world, &syn(2)), Verdict::ToBackend, "the client's next SYN");
}

#[test]
fn a_full_backend_takes_no_token_for_whom_it_refuses() {
    let limits = LoadLimits { new: Rate::new(1, 2), connections: 1 };
    let world = with_limits(NET.world(), limits);
    world.load_of(1).change(1);
    assert_eq!(send(&world, &syn(1)), Verdict::BackendFullReset);
    assert_eq!(world.counters_of(1).full, 1);
    world.load_of(1).change(-1);
    assert_eq!(send(&world, &syn(1)), Verdict::ToBackend);
    assert_eq!(send(&world, &syn(2)), Verdict::PortsExhausted, "let through: it had another token");
}

#[test]
fn open_connections_are_counted_however_they_end() {
    let client =
        |flags, at: u32| Frame { sequence: 1 + at, acknowledgement: 71, ..NET.from_client(flags) };
    let broker = |flags, at| Frame { sequence: at, acknowledgement: 1, ..NET.from_broker(flags) };
    let ends = [
        vec![client(RST, 0)],
        vec![broker(RST, 71)],
        vec![client(FIN | ACK, 0), broker(FIN | ACK, 71)],
    ];
    for end in ends {
        let world = NET.world();
        let open = || world.load_of(1).open();
        send(&world, &Frame { sequence: 0, ..NET.from_client(SYN) });
        send(&world, &broker(SYN | ACK, 70));
        assert_eq!(open(), 0, "a handshake is no connection");
        send(&world, &client(ACK, 0));
        assert_eq!(open(), 1);
        for frame in &end {
            send(&world, frame);
        }
        assert_eq!(open(), 0, "{end:?}");
        // It was not the end after all.
        send(&world, &Frame { payload: b"alive".into(), ..client(ACK, 0) });
        assert_eq!(open(), 1, "{end:?}");
    }
}

//! The fuzz target: bytes that say what happens in the world of a golden conversation, and what must
//! hold whatever happens.
//!
//! Both drivers call it: libFuzzer (`fuzz/`), and a test that spoils the golden conversations by
//! chance (`tests/fuzz.rs`).

use std::{format, rc::Rc, thread_local, vec::Vec};

use lb_common::{
    backend::backend_flags,
    flow::{FlowCell, FlowKey},
    port::port_flags,
    ring::{Slot, slot_flags},
    service::mode,
    verdict::{Action, Verdict},
};

use super::{
    Bytes, World,
    frame::internet_checksum,
    golden::{self, Case, Step},
    intact,
};

thread_local! {
    static CASES: Rc<Vec<Case>> = Rc::new(golden::all());
}

/// Ethernet frames that the kernel runs a program on.
const SHORTEST: usize = 14;
const LONGEST: usize = 3_400;

/// What happens next.
enum Event {
    Frame(Vec<u8>),
    /// So many ticks pass.
    Time(u8),
    /// A backend gets other flags.
    Backend(u8, u8),
    /// All slots change.
    Slots {
        base: u8,
        current: u8,
        flags: u8,
    },
}

/// The golden conversations as inputs.
#[must_use]
pub fn corpus() -> Vec<Vec<u8>> {
    let cases = CASES.with(Rc::clone);
    let input = |(number, case): (u16, &Case)| {
        let mut input = number.to_be_bytes().to_vec();
        for step in &case.steps {
            if let Step::Packet { input: frame, .. } = step {
                input.push(FRAME_AS_IT_IS);
                input.extend((frame.0.len() as u16).to_be_bytes());
                input.extend(&frame.0);
            }
        }
        input
    };
    (0..).zip(cases.iter()).map(input).collect()
}

const FRAME_AS_IT_IS: u8 = 4;

/// Plays an input.
///
/// # Panics
///
/// If something does not hold that must.
pub fn run(input: &[u8]) {
    let cases = CASES.with(Rc::clone);
    let Some((number, mut rest)) = input.split_first_chunk() else { return };
    let number = usize::from(u16::from_be_bytes(*number));
    let mut world = cases[number % cases.len()].world.emptied();
    vary(&mut world, number / cases.len());
    while let Some((event, behind)) = next(rest) {
        rest = behind;
        match event {
            Event::Frame(frame) => check(&world, &frame),
            Event::Time(ticks) => world.now.set(world.now.get().wrapping_add(ticks.into())),
            Event::Backend(id, flags) => {
                if let Some(backend) = world.backends.get_mut(&id.into()) {
                    let of_health = backend_flags::FORWARD | backend_flags::ACCEPT;
                    backend.flags = backend.flags & !of_health | u16::from(flags) & of_health;
                }
            }
            Event::Slots { base, current, flags } => {
                let flag = |bit: u8, flag: u64| if flags & bit == 0 { 0 } else { flag };
                let flags = flag(1, slot_flags::LOOKUP) | flag(2, slot_flags::LEARN);
                let slot = Slot::in_transition(base.into(), current.into()).with(flags);
                world.rings.values_mut().for_each(|it| *it = slot);
            }
        }
        check_state(&world);
    }
}

/// Ways in which [`run`] varies the world of a conversation; number 0 leaves it as it is.
pub const VARIATIONS: usize = 4;

/// Small tables of flows, or many source ports.
fn vary(world: &mut World, variation: usize) {
    if variation & 1 != 0 {
        (world.pending_room, world.flows_room, world.learned_room) = (2, 1, 1);
    }
    if variation & 2 != 0 {
        world.settings.ports = 8;
    }
}

/// The first event, and what is behind it; what is cut off is left out.
fn next(input: &[u8]) -> Option<(Event, &[u8])> {
    let (kind, rest) = input.split_first()?;
    match kind % 8 {
        kind @ 0..=4 => {
            let (len, rest) = rest.split_first_chunk()?;
            let (frame, rest) = rest.split_at(rest.len().min(u16::from_be_bytes(*len).into()));
            let mut frame = frame.to_vec();
            frame.resize(frame.len().clamp(SHORTEST, LONGEST), 0);
            if kind != FRAME_AS_IT_IS {
                mend_header(&mut frame);
            }
            Some((Event::Frame(frame), rest))
        }
        5 => rest.split_first().map(|(ticks, rest)| (Event::Time(*ticks), rest)),
        6 => {
            rest.split_first_chunk().map(|([id, flags], rest)| (Event::Backend(*id, *flags), rest))
        }
        _ => rest.split_first_chunk().map(|([base, current, flags], rest)| {
            (Event::Slots { base: *base, current: *current, flags: *flags }, rest)
        }),
    }
}

/// With a wrong checksum of the IPv4 header nobody looks further.
fn mend_header(frame: &mut [u8]) {
    if let Some(ip) = intact::ip_offset(frame)
        && let Some(header) = frame.get_mut(ip..ip + 20)
        && header[0] >> 4 == 4
    {
        header[10..12].fill(0);
        let checksum = internet_checksum(header);
        header[10..12].copy_from_slice(&checksum);
    }
}

/// Sends a frame through the pipeline, and looks at what comes out.
fn check(world: &World, frame: &[u8]) {
    let mut out = Bytes(frame.to_vec());
    let counted = |world: &World| world.verdicts.borrow().values().sum::<u64>();
    let before = counted(world);
    let verdict = world.run(&mut out).verdict;
    let out = out.0;
    let what = || format!("{}: {frame:02x?}\nbecame {out:02x?}", verdict.name());
    assert_eq!(counted(world), before + 1, "{}", what());
    let by_kernel = matches!(verdict, Verdict::ToBackendByKernel | Verdict::ToClientByKernel);
    match verdict.action() {
        Action::Pass if !by_kernel => assert_eq!(out, frame, "{}", what()),
        Action::Pass | Action::Forward => assert!(is_well_forwarded(frame, &out), "{}", what()),
        Action::Reply => assert!(is_well_answered(frame, &out), "{}", what()),
        Action::Drop => {}
    }
}

/// Whether a packet is as long as it was, but for a header around it, and as intact.
fn is_well_forwarded(frame: &[u8], out: &[u8]) -> bool {
    let (Some(ip), Some(outer)) = (intact::ip_offset(frame), out.len().checked_sub(frame.len()))
    else {
        return false;
    };
    let inside = ip + outer;
    let was_intact = intact::transport(&frame[ip..]) != Some(false);
    let is_intact = intact::transport(&out[inside..]) != Some(false);
    matches!(outer, 0 | 20 | 40)
        && frame[12..ip - 2] == out[12..ip - 2]
        && intact::header(&out[ip..])
        && intact::header(&out[inside..]) == intact::header(&frame[ip..])
        && (is_intact || !was_intact)
}

/// Whether a RST or an ICMP error goes back to where the frame came from, with all checksums right.
fn is_well_answered(frame: &[u8], out: &[u8]) -> bool {
    let Some(ip) = intact::ip_offset(out) else { return false };
    let turned = out[..6] == frame[6..12] && out[6..12] == frame[..6];
    let packet = &out[ip..];
    turned
        && out.len() <= ip + 2 * 40 + 8 + 20
        && intact::header(packet)
        && intact::transport(packet) == Some(true)
}

/// Whether the tables agree with each other.
fn check_state(world: &World) {
    let (pending, flows) = (world.pending.borrow(), world.flows.borrow());
    assert!(pending.len() <= world.pending_room && flows.len() <= world.flows_room);
    assert!(world.learned.borrow().len() <= world.learned_room);
    let is_nat = |id: u32| world.services.values().any(|it| it.id == id && it.mode == mode::NAT);
    for (key, cell) in pending.iter().chain(flows.iter()) {
        let flow = cell.load();
        if !is_nat(key.service) {
            assert!(!flow.is_promoted() || flows.contains_key(key), "promoted to nowhere: {key:?}");
            continue;
        }
        let owns = has_port(world, key, cell);
        assert!(owns, "a flow without a port: {key:?}, {flow:?}");
    }
    for (peer, ports) in world.ports.borrow().iter() {
        for (port, index) in ports.iter().zip(0u16..) {
            let owner = port.owner();
            if !owner.has(port_flags::CLAIMED) {
                continue;
            }
            let service = world.backends[&owner.backend()].service;
            let key = FlowKey::new(port.client(), owner.client_port(), service);
            let number = (world.settings.first_port + index).to_be_bytes();
            let is_of = |cell: &Rc<FlowCell>| cell.load().nat_port == number;
            let is_anybodys =
                [&pending, &flows].iter().any(|table| table.get(&key).is_some_and(is_of));
            assert!(is_anybodys, "a port without a flow: {index} of peer {peer}, {owner:?}");
        }
    }
}

fn has_port(world: &World, key: &FlowKey, cell: &FlowCell) -> bool {
    let flow = cell.load();
    let peer = world.backends[&flow.backend()].first_peer + u32::from(flow.source);
    let index = u16::from_be_bytes(flow.nat_port) - world.settings.first_port;
    let ports = world.ports.borrow();
    let port = ports.get(&peer).and_then(|ports| ports.get(usize::from(index)));
    port.is_some_and(|port| port.owner().is_of(port.client(), key, &flow))
}

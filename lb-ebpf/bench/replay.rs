//! The program that the packet benchmark runs in front of the one under test: it makes each frame
//! new, as one of the next flow, because a program that rewrites would otherwise see its own
//! output from the second run on. What it costs itself is measured with `nothing` behind it.
#![no_std]
#![no_main]

use core::ptr;

use aya_ebpf::{
    bindings::xdp_action,
    btf_maps::{Array, ProgramArray},
    helpers::generated::{bpf_xdp_adjust_head, bpf_xdp_get_buff_len},
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use lb_common::replay::{FRAME_LEN, FlowOf, Plan, client, kind};
use lb_ebpf::checksum::Sum;

/// What to replay.
#[btf_map]
static PLAN: Array<Plan, 1> = Array::new();
/// How many frames were replayed, and the state of the random numbers.
#[btf_map]
static PROGRESS: Array<[u32; 2], 1> = Array::new();
/// The program under test, or `nothing`.
#[btf_map]
static UNDER_TEST: ProgramArray<1> = ProgramArray::new();

/// Where IPv4 and TCP behind it, and IPv6 and TCP behind it, have their fields.
const IPV4_CHECKSUM: usize = 24;
const IPV4_SOURCE: usize = 26;
const IPV4_DESTINATION: usize = 30;
const IPV4_TCP: usize = 34;
const IPV6_SOURCE: usize = 22;
const IPV6_DESTINATION: usize = 38;
const IPV6_TCP: usize = 54;

/// Replays one frame.
#[xdp]
pub fn replay(ctx: XdpContext) -> u32 {
    if make_frame(&ctx).is_some() {
        // SAFETY: nothing here waits to be dropped.
        unsafe { UNDER_TEST.tail_call(&ctx, 0) };
    }
    // The benchmark fails when it sees this.
    xdp_action::XDP_ABORTED
}

/// The base line: what is left is the cost of `replay`.
#[xdp]
pub fn nothing(_: XdpContext) -> u32 {
    xdp_action::XDP_DROP
}

#[inline(always)]
fn make_frame(ctx: &XdpContext) -> Option<()> {
    let plan = PLAN.get(0)?;
    if plan.is_wrapped != 0 {
        unwrap(ctx)?;
    }
    let progress = PROGRESS.get_ptr_mut(0)?;
    // SAFETY: the map returned the pointer, and one CPU alone runs the benchmark.
    let [count, random] = unsafe { &mut *progress };
    // The constants of Numerical Recipes' generator; its high bits are the random ones.
    *random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    let number = if plan.kind == kind::FROM_CLIENT_IN_TURN { *count } else { *random >> 12 };
    *count = count.wrapping_add(1);
    let number = number & plan.flows.wrapping_sub(1);

    let start = ctx.data();
    if start + FRAME_LEN > ctx.data_end() {
        return None;
    }
    let frame = Frame(start as *mut u8);
    for (place, word) in plan.frame.iter().enumerate() {
        frame.write(place * 8, *word);
    }
    let flow = FlowOf::number(number);
    if plan.first_client.is_v4() {
        ipv4(&frame, plan, &flow, number, *count);
    } else {
        ipv6(&frame, plan, &flow, number, *count);
    }
    Some(())
}

/// Takes off what the program under test has put in front. Behind `nothing` that is no byte, at the
/// same cost.
#[inline(always)]
fn unwrap(ctx: &XdpContext) -> Option<()> {
    // SAFETY: `ctx` is the context that the kernel gave us, and no packet pointer exists yet.
    let result = unsafe {
        let wrapped = bpf_xdp_get_buff_len(ctx.ctx) as i32;
        bpf_xdp_adjust_head(ctx.ctx, wrapped - FRAME_LEN as i32)
    };
    (result == 0).then_some(())
}

/// A frame of [`FRAME_LEN`] bytes, as was checked.
struct Frame(*mut u8);

impl Frame {
    #[inline(always)]
    fn write<T>(&self, offset: usize, value: T) {
        // SAFETY: all offsets are constants that leave room for `T` in the frame.
        unsafe { ptr::write_unaligned(self.0.add(offset).cast(), value) }
    }

    #[inline(always)]
    fn read<T>(&self, offset: usize) -> T {
        // SAFETY: as in `write`.
        unsafe { ptr::read_unaligned(self.0.add(offset).cast()) }
    }
}

#[inline(always)]
fn ipv4(frame: &Frame, plan: &Plan, flow: &FlowOf, number: u32, count: u32) {
    let sum = if plan.kind == kind::FROM_BROKER {
        let broker = plan.brokers[flow.broker as usize % plan.brokers.len()].v4_word();
        let source = plan.sources[flow.source as usize % plan.sources.len()].v4_word();
        frame.write(IPV4_SOURCE, broker);
        frame.write(IPV4_DESTINATION, source);
        frame.write(IPV4_TCP + 2, nat_port(plan, flow));
        Sum::ZERO.add32(broker).add32(source)
    } else {
        let client = client(plan.first_client, number).v4_word();
        frame.write(IPV4_SOURCE, client);
        frame.write(IPV4_TCP, flow.client_port);
        Sum::ZERO.add32(client)
    };
    let checksum = sum.update(frame.read(IPV4_CHECKSUM));
    frame.write(IPV4_CHECKSUM, checksum);
    frame.write(IPV4_TCP + 4, count.to_be());
}

#[inline(always)]
fn ipv6(frame: &Frame, plan: &Plan, flow: &FlowOf, number: u32, count: u32) {
    if plan.kind == kind::FROM_BROKER {
        let broker = plan.brokers[flow.broker as usize % plan.brokers.len()];
        let source = plan.sources[flow.source as usize % plan.sources.len()];
        frame.write(IPV6_SOURCE, broker.words());
        frame.write(IPV6_DESTINATION, source.words());
        frame.write(IPV6_TCP + 2, nat_port(plan, flow));
    } else {
        frame.write(IPV6_SOURCE, client(plan.first_client, number).words());
        frame.write(IPV6_TCP, flow.client_port);
    }
    frame.write(IPV6_TCP + 4, count.to_be());
}

/// Big-endian.
#[inline(always)]
fn nat_port(plan: &Plan, flow: &FlowOf) -> [u8; 2] {
    plan.first_port.wrapping_add(flow.port_index as u16).to_be_bytes()
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

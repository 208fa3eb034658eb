//! The XDP program: its entry point, and what becomes of an outcome.
#![no_std]
#![no_main]

mod xdp;

use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    helpers::generated::bpf_redirect,
    macros::xdp,
    programs::XdpContext,
};
use lb_common::verdict::Action;
use lb_ebpf::{Outcome, process};

use crate::xdp::{
    frame::Frame,
    maps::VERDICTS,
    packet_log::{self, CAME_IN, GOES_ON, LOG_PACKETS},
    tables::Kernel,
};

/// The load balancer: attached to every interface that clients or brokers are behind.
#[xdp]
pub fn mqlb(ctx: XdpContext) -> u32 {
    if LOG_PACKETS.load() != 0 {
        packet_log::note(ctx.ctx, CAME_IN);
    }
    let outcome = balance(ctx.ctx);
    count(outcome);
    if LOG_PACKETS.load() != 0 {
        packet_log::note(ctx.ctx, GOES_ON);
        packet_log::log(ctx.ctx, outcome.verdict as u32, outcome.ifindex);
    }
    match outcome.verdict.action() {
        Action::Pass => xdp_action::XDP_PASS,
        Action::Drop => xdp_action::XDP_DROP,
        Action::Reset => xdp_action::XDP_TX,
        Action::Forward => send_to(&ctx, outcome.ifindex),
    }
}

/// The pipeline. A function of its own, so that its stack is free again for what comes after: a
/// chain of calls has 512 bytes together.
#[inline(never)]
fn balance(ctx: *mut xdp_md) -> Outcome {
    let mut frame = Frame { ctx: XdpContext::new(ctx) };
    process(&mut frame, &Kernel { ctx })
}

#[inline(always)]
fn send_to(ctx: &XdpContext, ifindex: u32) -> u32 {
    if ctx.ingress_ifindex() as u32 == ifindex {
        return xdp_action::XDP_TX;
    }
    // SAFETY: the helper takes two integers and touches no memory of ours.
    unsafe { bpf_redirect(ifindex, 0) as u32 }
}

#[inline(always)]
fn count(outcome: Outcome) {
    if let Some(counter) = VERDICTS.get_ptr_mut(outcome.verdict as u32) {
        // SAFETY: the map returned the pointer; only this CPU uses this copy, and XDP programs do
        // not interrupt each other on a CPU.
        unsafe { *counter += 1 };
    }
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Some helpers may be called by programs with a GPL-compatible licence only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

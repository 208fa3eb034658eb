//! The XDP program: its entry points, and what becomes of an outcome.
#![no_std]
#![no_main]

mod xdp;

use core::mem;

use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    helpers::generated::bpf_redirect,
    macros::xdp,
    programs::XdpContext,
};
use lb_common::verdict::{Action, Verdict};
use lb_ebpf::{
    Outcome, fragments, icmp,
    stages::{self, Stages},
};

use crate::xdp::{
    frame::Frame,
    maps::VERDICTS,
    packet_log::{self, CAME_IN, GOES_ON, LOG_PACKETS},
    tables::Kernel,
    trace,
};

/// The load balancer: attached to every interface that clients or brokers are behind.
#[xdp]
pub fn mqlb(ctx: XdpContext) -> u32 {
    if LOG_PACKETS.load() != 0 {
        packet_log::note(ctx.ctx, CAME_IN);
    }
    let outcome = stages::run(&mut Functions { frame: Frame { ctx: XdpContext::new(ctx.ctx) } });
    count(outcome);
    if LOG_PACKETS.load() != 0 {
        packet_log::note(ctx.ctx, GOES_ON);
        packet_log::log(ctx.ctx, outcome.verdict as u32, egress(outcome));
    }
    carry_out(&ctx, outcome)
}

/// The same, while `mqlb trace` follows packets: it takes the other's place then. A program of its
/// own, so that the other has not an instruction for this.
#[xdp]
pub fn mqlb_trace(ctx: XdpContext) -> u32 {
    trace::came(ctx.ctx);
    let outcome = stages::run(&mut Functions { frame: Frame { ctx: XdpContext::new(ctx.ctx) } });
    count(outcome);
    let drops = outcome.verdict.action() == Action::Drop;
    trace::tell(ctx.ctx, outcome.verdict as u32, egress(outcome), drops);
    carry_out(&ctx, outcome)
}

/// The interface that the frame is sent out of, 0 if it is not.
#[inline(always)]
fn egress(outcome: Outcome) -> u32 {
    if outcome.verdict.action() == Action::Forward { outcome.detail } else { 0 }
}

#[inline(always)]
fn carry_out(ctx: &XdpContext, outcome: Outcome) -> u32 {
    match outcome.verdict.action() {
        Action::Pass => xdp_action::XDP_PASS,
        Action::Drop => xdp_action::XDP_DROP,
        Action::Reply => xdp_action::XDP_TX,
        Action::Forward => send_to(ctx, outcome.detail),
    }
}

/// The stages as functions of their own, each with a stack that is free again after it.
struct Functions {
    frame: Frame,
}

impl Stages for Functions {
    type Packet = Frame;

    #[inline(always)]
    fn packet(&mut self) -> &mut Frame {
        &mut self.frame
    }

    #[inline(always)]
    fn ingress(&self) -> u32 {
        self.frame.ctx.ingress_ifindex() as u32
    }

    #[inline(always)]
    fn balance(&mut self) -> Outcome {
        outcome(balance(self.frame.ctx.ctx))
    }

    #[inline(always)]
    fn icmp_error(&mut self) -> Outcome {
        outcome(icmp_error(self.frame.ctx.ctx))
    }

    #[inline(always)]
    fn fragment(&mut self) -> Outcome {
        outcome(fragment(self.frame.ctx.ctx))
    }

    #[inline(always)]
    fn fragment_again(&mut self, before: Outcome) -> Outcome {
        outcome(fragment_again(self.frame.ctx.ctx, number(before)))
    }

    #[inline(always)]
    fn too_big(&mut self, mtu: u32) -> Outcome {
        outcome(too_big(self.frame.ctx.ctx, mtu))
    }
}

/// The pipeline.
///
/// Global, as the other stages are: the verifier takes a global function (Linux 5.6) once, by
/// itself, and not once for each of its calls. It may return an integer only.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn balance(ctx: *mut xdp_md) -> u64 {
    number(lb_ebpf::balance(&mut Frame { ctx: XdpContext::new(ctx) }, &Kernel { ctx }))
}

/// What becomes of a frame that is not TCP.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn icmp_error(ctx: *mut xdp_md) -> u64 {
    number(icmp::error(&mut Frame { ctx: XdpContext::new(ctx) }, &Kernel { ctx }))
}

/// What becomes of a fragment.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fragment(ctx: *mut xdp_md) -> u64 {
    number(fragments::handle(&mut Frame { ctx: XdpContext::new(ctx) }, &Kernel { ctx }))
}

/// What becomes of a first fragment after the pipeline, whose outcome is `before`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fragment_again(ctx: *mut xdp_md, before: u64) -> u64 {
    let mut frame = Frame { ctx: XdpContext::new(ctx) };
    number(fragments::put_back(&mut frame, &Kernel { ctx }, outcome(before)))
}

/// What becomes of a segment of which only `mtu` bytes would fit.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn too_big(ctx: *mut xdp_md, mtu: u32) -> u64 {
    number(icmp::too_big(&mut Frame { ctx: XdpContext::new(ctx) }, &Kernel { ctx }, mtu))
}

#[inline(always)]
fn number(outcome: Outcome) -> u64 {
    u64::from(outcome.verdict as u32) | u64::from(outcome.detail) << 32
}

#[inline(always)]
fn outcome(number: u64) -> Outcome {
    // SAFETY: the lower half is a verdict, see `number`.
    let verdict = unsafe { mem::transmute::<u32, Verdict>(number as u32) };
    Outcome { verdict, detail: (number >> 32) as u32 }
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

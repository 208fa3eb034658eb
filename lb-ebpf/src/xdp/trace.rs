//! What `mqlb trace` is told: chosen packets, as they came and as they go on.
//!
//! Whether a packet is wanted depends on its verdict and on where it goes, too. So every packet is
//! taken down as it comes, while somebody traces.

use core::{ptr, slice};

use aya_ebpf::{
    bindings::xdp_md,
    btf_maps::{Array, PerCpuArray, RingBuf},
    helpers::generated::{bpf_ktime_get_ns, bpf_xdp_load_bytes},
    macros::btf_map,
    programs::XdpContext,
};
use lb_common::trace::{MOST_CAUGHT, RING_BYTES, TraceCounts, TraceEvent, TraceFilter};
use lb_ebpf::{packet::Packet, parse::ETHERNET_LEN, trace};

use super::frame::Frame;

#[btf_map]
static TRACE_FILTER: Array<TraceFilter, 1> = Array::new();
#[btf_map]
static TRACE_EVENTS: RingBuf<TraceEvent, RING_BYTES> = RingBuf::new();
#[btf_map]
static TRACE_COUNTS: PerCpuArray<TraceCounts, 1> = PerCpuArray::new();
/// The packet that this CPU is at.
#[btf_map]
static TRACE_RECORD: PerCpuArray<Record, 1> = PerCpuArray::new();

const CAUGHT: usize = MOST_CAUGHT as usize + 1;

#[repr(C)]
struct Record {
    event: TraceEvent,
    bytes: [[u8; CAUGHT]; 2],
}

/// Takes the frame down as it came, if somebody traces.
#[inline(never)]
pub fn came(ctx: *mut xdp_md) {
    let Some((filter, record)) = filter_and_record() else { return };
    // SAFETY: the helper takes nothing and returns an integer.
    let now = unsafe { bpf_ktime_get_ns() };
    record.event.session = 0;
    if now >= filter.until_ns {
        return;
    }
    let frame = Frame { ctx: XdpContext::new(ctx) };
    record.event.session = filter.session;
    record.event.time_ns = now;
    record.event.ingress = frame.ctx.ingress_ifindex() as u32;
    record.event.came_len = frame.length() as u32;
    record.event.came = trace::ends(&frame);
    record.event.came_caught =
        catch(ctx, record.event.came_len, filter.most_caught, record.bytes.as_mut_ptr().cast());
}

/// Tells of the frame that [`came`], if it is wanted: what became of it, and what it is now.
#[inline(never)]
pub fn tell(ctx: *mut xdp_md, verdict: u32, egress: u32, drops: bool) {
    let Some((filter, record)) = filter_and_record() else { return };
    if record.event.session == 0 {
        return;
    }
    let frame = Frame { ctx: XdpContext::new(ctx) };
    record.event.verdict = verdict;
    record.event.egress = egress;
    record.event.goes_len = frame.length() as u32;
    record.event.goes = trace::ends(&frame);
    if !filter.wants(&record.event.came, &record.event.goes, verdict) || !is_its_turn(filter) {
        return;
    }
    let before = record.event.came_caught & MOST_CAUGHT;
    // SAFETY: `before` is at most one less than `CAUGHT`, of which there are two behind each other.
    let behind = unsafe { record.bytes.as_mut_ptr().cast::<u8>().add(before as usize) };
    let most = if drops { 0 } else { filter.most_caught };
    let after = catch(ctx, record.event.goes_len, most, behind);
    record.event.goes_caught = after;
    let len = size_of::<TraceEvent>() + before as usize + (after & MOST_CAUGHT) as usize;
    // SAFETY: the record has room for the event and twice `CAUGHT` bytes, and no padding.
    let told = unsafe { slice::from_raw_parts(ptr::from_mut(record).cast::<u8>(), len) };
    if TRACE_EVENTS.output_untyped::<[u8]>(told, 0).is_err()
        && let Some(counts) = TRACE_COUNTS.get_ptr_mut(0)
    {
        // SAFETY: as in `crate::count`.
        unsafe { (*counts).lost += 1 };
    }
}

#[inline(always)]
fn filter_and_record() -> Option<(&'static TraceFilter, &'static mut Record)> {
    // SAFETY: the maps returned the pointers. The controller writes a filter only before a program
    // that reads it is attached; a packet that is under way from before sees some filter, and its
    // event has no session or that of one. The record is this CPU's, as in `crate::count`.
    unsafe { Some((&*TRACE_FILTER.get_ptr(0)?, &mut *TRACE_RECORD.get_ptr_mut(0)?)) }
}

/// Counts a packet that fits, and tells whether it is the one of so many that is told of.
#[inline(always)]
fn is_its_turn(filter: &TraceFilter) -> bool {
    let Some(counts) = TRACE_COUNTS.get_ptr_mut(0) else { return false };
    // SAFETY: as in `crate::count`.
    let counts = unsafe { &mut *counts };
    let number = counts.wanted;
    counts.wanted = number + 1;
    // Zero would be every one, and the compiler has to see that it divides nothing.
    number.checked_rem(u64::from(filter.every)).is_none_or(|rest| rest == 0)
}

/// Copies the beginning of a frame of `len` bytes, and returns how many bytes. `to` has room for
/// [`CAUGHT`].
#[inline(always)]
fn catch(ctx: *mut xdp_md, len: u32, most: u32, to: *mut u8) -> u32 {
    let caught = len.min(most) & MOST_CAUGHT;
    // Without an Ethernet header there is nothing to be seen; and the verifier wants to know that
    // it is not zero.
    if caught < ETHERNET_LEN as u32 {
        return 0;
    }
    // SAFETY: `ctx` is the context that the kernel gave us; there is room for so many bytes, see above.
    let result = unsafe { bpf_xdp_load_bytes(ctx, 0, to.cast(), caught) };
    if result == 0 { caught } else { 0 }
}

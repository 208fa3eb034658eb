//! What is said about single packets, when the program was loaded to say it.

use aya_ebpf::{
    Global, bindings::xdp_md, btf_maps::PerCpuArray, macros::btf_map, programs::XdpContext,
};
use aya_log_ebpf::info;
use lb_common::addr::Addr;
use lb_ebpf::{parse, tunnel};

use super::frame::Frame;

/// Set at load to log every packet. While it is zero the verifier removes the code.
#[unsafe(no_mangle)]
pub static LOG_PACKETS: Global<u8> = Global::new(0);

/// For the log: the ends of the segment that this CPU is at, as it came in and as it goes on. In a
/// map, because variables would cost the pipeline registers, logged or not.
#[btf_map]
static ENDS: PerCpuArray<Ends, 2> = PerCpuArray::new();
pub const CAME_IN: u32 = 0;
pub const GOES_ON: u32 = 1;

/// The two ends of a segment, or, without ports, of a packet with one inside; all zero for what is
/// neither.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Ends {
    source: Addr,
    destination: Addr,
    source_port: [u8; 2],
    destination_port: [u8; 2],
    pad: [u8; 4],
}

impl Ends {
    const LEN: usize = 36;

    #[inline(always)]
    fn of(ctx: *mut xdp_md) -> Self {
        let frame = Frame { ctx: XdpContext::new(ctx) };
        let Ok(segment) = parse::segment(&frame) else {
            let [source, destination] = tunnel::ends(&frame).unwrap_or_default();
            return Self { source, destination, ..Self::default() };
        };
        Self {
            source: segment.source,
            destination: segment.destination,
            source_port: segment.source_port,
            destination_port: segment.destination_port,
            pad: [0; 4],
        }
    }
}

/// Takes down the segment in the frame, at [`CAME_IN`] or [`GOES_ON`].
///
/// Not inlined, as `log` is not: the pipeline is to be the same with them and without.
#[inline(never)]
pub fn note(ctx: *mut xdp_md, place: u32) {
    let Some(cell) = ENDS.get_ptr_mut(place) else { return };
    // SAFETY: as in `crate::count`.
    unsafe { *cell = Ends::of(ctx) };
}

/// Says what became of a packet, in numbers alone: `lb-user/src/datapath/packet_log.rs` makes the
/// line of them that people read. It does not call `note`: a chain of calls has a stack of 512
/// bytes together, most of which the pipeline takes.
#[inline(never)]
pub fn log(ctx: *mut xdp_md, verdict: u32, out: u32) {
    let (Some(came), Some(goes)) = (ENDS.get_ptr(CAME_IN), ENDS.get_ptr(GOES_ON)) else { return };
    let ctx = XdpContext::new(ctx);
    // SAFETY: as in `crate::count`; the fields before the padding are these bytes.
    let [came, goes] = [came, goes].map(|ends| unsafe { &*ends.cast::<[u8; Ends::LEN]>() });
    // By reference: copies would not fit on the stack beside the pipeline's.
    info!(&ctx, "{} {} {} {:x} {:x}", verdict, ctx.ingress_ifindex() as u32, out, came, goes);
}

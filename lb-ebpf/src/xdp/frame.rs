//! The frame that the driver received, as the pipeline sees it.

use core::ptr;

use aya_ebpf::{
    bindings::xdp_md,
    helpers::generated::{
        bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len, bpf_xdp_load_bytes,
    },
    programs::XdpContext,
};
use lb_ebpf::{
    mqtt::{self, Connack, Greeting},
    packet::{Packet, Wire},
};

/// The frame that the driver received.
pub struct Frame {
    pub ctx: XdpContext,
}

impl Frame {
    #[inline(always)]
    fn move_front(&mut self, by: i32) -> Option<()> {
        // SAFETY: `ctx` is the context that the kernel gave us; no packet pointer is kept across the
        // call, every access derives its own.
        let result = unsafe { bpf_xdp_adjust_head(self.ctx.ctx, by) };
        (result == 0).then_some(())
    }
}

impl Packet for Frame {
    #[inline(always)]
    fn holds(&self, bytes: usize) -> bool {
        self.ctx.data() + bytes <= self.ctx.data_end()
    }

    #[inline(always)]
    fn length(&self) -> usize {
        // SAFETY: `ctx` is the context that the kernel gave us.
        unsafe { bpf_xdp_get_buff_len(self.ctx.ctx) as usize }
    }

    #[inline(always)]
    fn load<T: Wire>(&self, offset: usize) -> Option<T> {
        let start = self.ctx.data();
        if start + offset + size_of::<T>() > self.ctx.data_end() {
            return None;
        }
        // SAFETY: the bytes lie before `data_end`, and any bytes are a valid `T`.
        Some(unsafe { ptr::read_unaligned((start + offset) as *const T) })
    }

    #[inline(always)]
    fn word(&self, offset: usize, end: usize) -> Option<u64> {
        let left = end.checked_sub(offset).filter(|left| *left > 0)?;
        // A constant number of bytes, for the verifier: near the end some that come before, which
        // are shifted out. Headers come before what is read so.
        let (from, surplus) = if left < 8 { (end - 8, 8 - left) } else { (offset, 0) };
        let mut word = 0u64;
        // SAFETY: `ctx` is the context that the kernel gave us; the word takes the 8 bytes that are
        // written (Linux 5.18).
        let result =
            unsafe { bpf_xdp_load_bytes(self.ctx.ctx, from as u32, (&raw mut word).cast(), 8) };
        (result == 0).then(|| u64::from_be(word) << (8 * surplus))
    }

    #[inline(always)]
    fn greeting(&self, at: usize, end: usize) -> Greeting {
        Greeting::unpack(mqlb_greeting(self.ctx.ctx, at as u64, end as u64))
    }

    #[inline(always)]
    fn connack(&self, at: usize, end: usize) -> Connack {
        Connack::unpack(mqlb_connack(self.ctx.ctx, at as u64, end as u64))
    }

    #[inline(always)]
    fn store<T: Wire>(&mut self, offset: usize, value: T) -> Option<()> {
        let start = self.ctx.data();
        if start + offset + size_of::<T>() > self.ctx.data_end() {
            return None;
        }
        // SAFETY: as in `load`; XDP programs may write to the frame.
        unsafe { ptr::write_unaligned((start + offset) as *mut T, value) };
        Some(())
    }

    #[inline(always)]
    fn front<const N: usize>(&mut self) -> Option<&mut [u8; N]> {
        let start = self.ctx.data();
        if start + N > self.ctx.data_end() {
            return None;
        }
        // SAFETY: as in `store`; `self` is borrowed for as long, so that the frame does not move.
        Some(unsafe { &mut *(start as *mut [u8; N]) })
    }

    #[inline(always)]
    fn grow(&mut self, bytes: usize) -> Option<()> {
        self.move_front(-(bytes as i32))
    }

    #[inline(always)]
    fn shrink(&mut self, bytes: usize) -> Option<()> {
        self.move_front(bytes as i32)
    }

    #[inline(always)]
    fn truncate(&mut self, len: usize) -> Option<()> {
        // The difference of the two packet pointers is not usable here: LLVM re-associates it into
        // pointer arithmetic that the verifier forbids.
        // SAFETY: `ctx` is the context that the kernel gave us; no packet pointer is kept across
        // the second call, every access derives its own.
        let result =
            unsafe { bpf_xdp_adjust_tail(self.ctx.ctx, len as i32 - self.length() as i32) };
        (result == 0).then_some(())
    }
}

/// A function that the kernel verifies once, because it is global, and not again for every way that
/// leads to it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mqlb_greeting(ctx: *mut xdp_md, at: u64, end: u64) -> u64 {
    let frame = Frame { ctx: XdpContext::new(ctx) };
    mqtt::greeting(&frame, at as usize, end as usize).pack()
}

/// As `mqlb_greeting`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mqlb_connack(ctx: *mut xdp_md, at: u64, end: u64) -> u64 {
    let frame = Frame { ctx: XdpContext::new(ctx) };
    mqtt::connack(&frame, at as usize, end as usize).pack()
}

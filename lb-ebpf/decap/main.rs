//! The XDP program for the hosts of brokers: unwraps what the balancer has wrapped.
#![no_std]
#![no_main]

#[path = "../src/xdp/frame.rs"]
mod frame;

use aya_ebpf::{
    bindings::xdp_action,
    btf_maps::{HashMap, LpmTrie, PerCpuArray, lpm_trie::Key},
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use lb_common::{
    addr::Addr,
    decap::{LIST_ENTRIES, Prefix, VERDICTS},
    verdict::Action,
};
use lb_ebpf::decap::{Lists, decapsulate};

use crate::frame::Frame;

/// Who may wrap; keys are [`Prefix`].
#[btf_map]
static FROM: LpmTrie<[u32; 4], u32, LIST_ENTRIES> = LpmTrie::new();
/// The addresses of this host that wrapped packets are sent to.
#[btf_map]
static TO: HashMap<Addr, u32, LIST_ENTRIES> = HashMap::new();
/// The addresses that packets inside may be sent to.
#[btf_map]
static VIPS: HashMap<Addr, u32, LIST_ENTRIES> = HashMap::new();
#[btf_map]
static DECAP_VERDICTS: PerCpuArray<u64, VERDICTS> = PerCpuArray::new();

/// The lists, in maps.
struct Listed;

impl Lists for Listed {
    #[inline(always)]
    fn may_wrap(&self, source: Addr) -> bool {
        // The address is written in words of 64 bits, and the verifier takes aligned stores on the
        // stack only.
        #[repr(C, align(8))]
        struct Aligned(u32, Key<[u32; 4]>);
        let Prefix { bits, address } = Prefix::whole(source);
        FROM.get(&Aligned(0, Key::new(bits, address)).1).is_some()
    }

    #[inline(always)]
    fn is_own(&self, destination: Addr) -> bool {
        // SAFETY: the value is not looked at, so it does not matter that another may replace it.
        unsafe { TO.get(&destination) }.is_some()
    }

    #[inline(always)]
    fn is_vip(&self, destination: Addr) -> bool {
        // SAFETY: as in `is_own`.
        unsafe { VIPS.get(&destination) }.is_some()
    }
}

/// Attached to the interfaces of a broker's host that wrapped packets come in by.
#[xdp]
pub fn mqlb_decap(ctx: XdpContext) -> u32 {
    let verdict = decapsulate(&mut Frame { ctx: XdpContext::new(ctx.ctx) }, &Listed);
    if let Some(counter) = DECAP_VERDICTS.get_ptr_mut(verdict as u32) {
        // SAFETY: the map returned the pointer; only this CPU uses this copy, and XDP programs do
        // not interrupt each other on a CPU.
        unsafe { *counter += 1 };
    }
    match verdict.action() {
        Action::Drop => xdp_action::XDP_DROP,
        Action::Pass | Action::Forward | Action::Reply => xdp_action::XDP_PASS,
    }
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

//! Where a packet goes next, by the kernel's own tables.

use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::{
        BPF_FIB_LKUP_RET_FRAG_NEEDED, BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_SUCCESS,
        bpf_fib_lookup as FibLookup, xdp_md,
    },
    helpers::generated::bpf_fib_lookup,
};
use lb_common::addr::Addr;
use lb_ebpf::{
    packet::Ethernet,
    tables::{Route, RouteKind, RouteQuery},
};

/// `bpf_fib_lookup`: the kernel's own routing tables and neighbours (Linux 4.18; the MTU check
/// takes the IP length since 5.12).
#[inline(always)]
pub fn fib(ctx: *mut xdp_md, query: &RouteQuery) -> Route {
    const AF_INET: u8 = 2;
    const AF_INET6: u8 = 10;
    let mut zeroed = MaybeUninit::uninit();
    let lookup = zero(&mut zeroed);
    lookup.l4_protocol = 6;
    lookup.__bindgen_anon_1.tot_len = query.ip_len;
    // SAFETY: `ctx` is the context that the kernel gave us.
    lookup.ifindex = unsafe { (*ctx).ingress_ifindex };
    if query.destination.is_v4() {
        lookup.family = AF_INET;
        lookup.__bindgen_anon_2.tos = query.tos;
        lookup.__bindgen_anon_3.ipv4_src = query.source.v4_word();
        lookup.__bindgen_anon_4.ipv4_dst = query.destination.v4_word();
    } else {
        lookup.family = AF_INET6;
        lookup.__bindgen_anon_2.flowinfo = (u32::from(query.tos) << 20).to_be();
        lookup.__bindgen_anon_3.ipv6_src = halves(query.source);
        lookup.__bindgen_anon_4.ipv6_dst = halves(query.destination);
    }
    let size = size_of::<FibLookup>() as i32;
    // SAFETY: `ctx` as above; `lookup` is as long as we say, and initialised.
    let result = unsafe { bpf_fib_lookup(ctx.cast(), &raw mut *lookup, size, 0) };
    match result as u32 {
        BPF_FIB_LKUP_RET_SUCCESS => {
            let ethernet = Ethernet { destination: mac(&lookup.dmac), source: mac(&lookup.smac) };
            // SAFETY: the kernel replaced the length by the MTU (Linux 5.12); both are integers.
            let mtu = unsafe { lookup.__bindgen_anon_1.mtu_result };
            // In place of the destination stands the next hop.
            let on_link = next_hop(lookup, query.destination) == query.destination;
            Route { kind: RouteKind::Via, ifindex: lookup.ifindex, ethernet, mtu, on_link }
        }
        BPF_FIB_LKUP_RET_NO_NEIGH => Route::NO_NEIGHBOUR,
        BPF_FIB_LKUP_RET_FRAG_NEEDED => {
            // SAFETY: as above.
            Route::too_big(unsafe { lookup.__bindgen_anon_1.mtu_result })
        }
        _ => Route::NONE,
    }
}

/// The kernel's structure, in memory that is written by words.
#[repr(align(8))]
struct Aligned(FibLookup);

/// Sets all of the structure to zero, word by word: of one assignment the compiler makes a call of
/// `memset`, which takes 300 instructions, since it goes byte by byte.
#[inline(always)]
fn zero(memory: &mut MaybeUninit<Aligned>) -> &mut FibLookup {
    const WORDS: usize = size_of::<Aligned>() / size_of::<u64>();
    let words = memory.as_mut_ptr().cast::<u64>();
    for word in 0..WORDS {
        // SAFETY: within the structure, which is aligned for words.
        unsafe { words.add(word).write_volatile(0) };
    }
    // SAFETY: every field is an integer, an array or a union of integers, and all bytes are set.
    let aligned = unsafe { memory.assume_init_mut() };
    &mut aligned.0
}

/// The address of the next hop in the kernel's answer about a way to `destination`.
#[inline(always)]
fn next_hop(lookup: &FibLookup, destination: Addr) -> Addr {
    // SAFETY: the kernel filled the field of the family that was asked for; both are integers.
    unsafe {
        if destination.is_v4() {
            Addr::from_v4_word(lookup.__bindgen_anon_4.ipv4_dst)
        } else {
            let [a, b, c, d] = lookup.__bindgen_anon_4.ipv6_dst.map(u64::from);
            Addr::from_words([a | b << 32, c | d << 32])
        }
    }
}

/// An address in the kernel's four words.
#[inline(always)]
fn halves(addr: Addr) -> [u32; 4] {
    let [a, b] = addr.words();
    [a as u32, (a >> 32) as u32, b as u32, (b >> 32) as u32]
}

/// An Ethernet address out of the kernel's answer, in reads of two bytes: it lies on the stack,
/// where the verifier takes aligned accesses only.
#[inline(always)]
fn mac(address: &[u8; 6]) -> [u16; 3] {
    let words = address.as_ptr().cast::<u16>();
    // SAFETY: three words of two bytes, at an even offset of an aligned struct.
    unsafe { [words.read_volatile(), words.add(1).read_volatile(), words.add(2).read_volatile()] }
}

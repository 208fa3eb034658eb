//! The XDP program: the maps, the entry point, and the pipeline's view of the kernel.
#![no_std]
#![no_main]

use core::{mem, ptr};

use aya_ebpf::{
    Global,
    bindings::{
        BPF_F_MMAPABLE, BPF_FIB_LKUP_RET_FRAG_NEEDED, BPF_FIB_LKUP_RET_NO_NEIGH,
        BPF_FIB_LKUP_RET_SUCCESS, BPF_NOEXIST, bpf_fib_lookup as FibLookup, xdp_action,
    },
    btf_maps::{Array, ArrayOfMaps, HashMap, PerCpuArray},
    helpers::generated::{
        bpf_fib_lookup, bpf_jiffies64, bpf_ktime_get_coarse_ns, bpf_redirect, bpf_xdp_adjust_tail,
        bpf_xdp_get_buff_len,
    },
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use aya_log_ebpf::info;
use lb_common::{
    addr::Addr,
    backend::{Backend, PeerKey, Source},
    counters::BackendCounters,
    flow::{Flow, FlowCell, FlowKey},
    layout::sizes,
    port::Port,
    ring::{Ring, SLOTS, Slot},
    service::{Service, ServiceKey},
    settings::Settings,
    ticks,
    verdict::{self, Action},
};
use lb_ebpf::{
    Outcome,
    known::{self, KnownPeer, KnownService},
    packet::{Ethernet, Packet, Wire},
    parse, process,
    route::{self, CachedRoute},
    tables::{Direction, Event, InsertError, Route, RouteQuery, Tables},
};

#[btf_map]
static SETTINGS: Array<Settings, 1> = Array::new();
#[btf_map]
static SERVICES: HashMap<ServiceKey, Service, { sizes::SERVICES }> = HashMap::new();
/// Another one whenever services or peers were added or removed.
#[btf_map]
static GENERATION: Array<u32, 1> = Array::new();
#[btf_map]
static SERVICE_BY_ID: Array<Service, { sizes::SERVICES }> = Array::new();
#[btf_map]
static RINGS: ArrayOfMaps<Array<Ring, 1>, { sizes::SERVICES }> = ArrayOfMaps::new();
#[btf_map]
static BACKENDS: Array<Backend, { sizes::BACKENDS }> = Array::new();
#[btf_map]
static SOURCES: Array<Source, { lb_common::backend::MAX_SOURCES as usize }> = Array::new();
#[btf_map]
static PEERS: HashMap<PeerKey, u32, { sizes::PEERS }> = HashMap::new();
#[btf_map]
static PORTS: ArrayOfMaps<
    Array<Port, { sizes::PORTS }, { BPF_F_MMAPABLE as usize }>,
    { sizes::PEERS },
> = ArrayOfMaps::new();
#[btf_map]
static PENDING: HashMap<FlowKey, FlowCell, { sizes::PENDING }> = HashMap::new();
#[btf_map]
static FLOWS: HashMap<FlowKey, FlowCell, { sizes::FLOWS }> = HashMap::new();
#[btf_map]
static VERDICTS: PerCpuArray<u64, { verdict::COUNT }> = PerCpuArray::new();
#[btf_map]
static BACKEND_COUNTERS: PerCpuArray<BackendCounters, { sizes::BACKENDS }> = PerCpuArray::new();

/// Not pinned: what one load of the program knows is looked up anew by the next.
#[btf_map]
static ROUTES: PerCpuArray<CachedRoute, { route::CACHED }> = PerCpuArray::new();

#[btf_map]
static KNOWN_SERVICES: PerCpuArray<KnownService, { known::SERVICES }> = PerCpuArray::new();
#[btf_map]
static KNOWN_PEERS: PerCpuArray<KnownPeer, { known::PEERS }> = PerCpuArray::new();
#[btf_map]
static CLOCK: PerCpuArray<Reading, 1> = PerCpuArray::new();

/// Set at load to log every packet. While it is zero the verifier removes the code.
#[unsafe(no_mangle)]
static LOG_PACKETS: Global<u8> = Global::new(0);

/// For the log: the ends of the segment that this CPU is at, as it came in and as it goes on. In a
/// map, because variables would cost the pipeline registers, logged or not.
#[btf_map]
static ENDS: PerCpuArray<Ends, 2> = PerCpuArray::new();
const CAME_IN: u32 = 0;
const GOES_ON: u32 = 1;

/// The load balancer: attached to every interface that clients or brokers are behind.
#[xdp]
pub fn mqlb(ctx: XdpContext) -> u32 {
    let mut frame = Frame { ctx };
    if LOG_PACKETS.load() != 0 {
        note(frame.ctx.ctx, CAME_IN);
    }
    let tables = Kernel { ctx: frame.ctx.ctx };
    let outcome = process(&mut frame, &tables);
    count(outcome);
    if LOG_PACKETS.load() != 0 {
        note(frame.ctx.ctx, GOES_ON);
        log(frame.ctx.ctx, outcome.verdict as u32, outcome.ifindex);
    }
    match outcome.verdict.action() {
        Action::Pass => xdp_action::XDP_PASS,
        Action::Drop => xdp_action::XDP_DROP,
        Action::Reset => xdp_action::XDP_TX,
        Action::Forward => send_to(&frame.ctx, outcome.ifindex),
    }
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

/// The two ends of a segment; all zero for what is none.
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
    fn of(ctx: *mut aya_ebpf::bindings::xdp_md) -> Self {
        let Ok(segment) = parse::segment(&Frame { ctx: XdpContext::new(ctx) }) else {
            return Self::default();
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
fn note(ctx: *mut aya_ebpf::bindings::xdp_md, place: u32) {
    let Some(cell) = ENDS.get_ptr_mut(place) else { return };
    // SAFETY: as in `count` above.
    unsafe { *cell = Ends::of(ctx) };
}

/// Says what became of a packet, in numbers alone: `lb-user/src/datapath/packet_log.rs` makes the
/// line of them that people read. It does not call `note`: a chain of calls has a stack of 512
/// bytes together, most of which the pipeline takes.
#[inline(never)]
fn log(ctx: *mut aya_ebpf::bindings::xdp_md, verdict: u32, out: u32) {
    let (Some(came), Some(goes)) = (ENDS.get_ptr(CAME_IN), ENDS.get_ptr(GOES_ON)) else { return };
    let ctx = XdpContext::new(ctx);
    // SAFETY: as in `count` above; the fields before the padding are these bytes.
    let [came, goes] = [came, goes].map(|ends| unsafe { &*ends.cast::<[u8; Ends::LEN]>() });
    // By reference: copies would not fit on the stack beside the pipeline's.
    info!(&ctx, "{} {} {} {:x} {:x}", verdict, ctx.ingress_ifindex() as u32, out, came, goes);
}

/// The frame that the driver received.
struct Frame {
    ctx: XdpContext,
}

impl Packet for Frame {
    #[inline(always)]
    fn holds(&self, bytes: usize) -> bool {
        self.ctx.data() + bytes <= self.ctx.data_end()
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
    fn truncate(&mut self, len: usize) -> Option<()> {
        // The difference of the two packet pointers is not usable here: LLVM re-associates it into
        // pointer arithmetic that the verifier forbids.
        // SAFETY: `ctx` is the context that the kernel gave us; no packet pointer is kept across
        // the second call, every access derives its own.
        let result = unsafe {
            let delta = len as i32 - bpf_xdp_get_buff_len(self.ctx.ctx) as i32;
            bpf_xdp_adjust_tail(self.ctx.ctx, delta)
        };
        (result == 0).then_some(())
    }
}

/// A reading of the clock, which serves for the rest of its jiffy: a jiffy is read without a call.
#[derive(Clone, Copy)]
struct Reading {
    jiffy: u64,
    tick: u32,
}

/// The maps and the helpers of the kernel.
struct Kernel {
    ctx: *mut aya_ebpf::bindings::xdp_md,
}

impl Tables for Kernel {
    type FlowRef = &'static FlowCell;
    type PortRef = &'static Port;

    #[inline(always)]
    fn settings(&self) -> Option<&'static Settings> {
        SETTINGS.get(0).filter(|settings| settings.ports != 0)
    }

    #[inline(always)]
    fn service(&self, key: &ServiceKey) -> Option<&'static Service> {
        let generation = GENERATION.get(0).copied()?;
        let words = known::service(key);
        let cell = KNOWN_SERVICES.get_ptr_mut(known::place(&words, known::SERVICES))?;
        // SAFETY: as in `count` above; a service is replaced, as a whole, by one that is as valid.
        let (cell, ask) = unsafe { (&mut *cell, || SERVICES.get(key).map(|service| service.id)) };
        let id = known::id(cell, &words, generation, ask)?;
        // It may have been removed at this moment.
        SERVICE_BY_ID.get(id).filter(|service| service.id == id)
    }

    #[inline(always)]
    fn service_by_id(&self, id: u32) -> Option<&'static Service> {
        SERVICE_BY_ID.get(id)
    }

    #[inline(always)]
    fn slot(&self, service: u32, slot: u32) -> Option<Slot> {
        let ring = RINGS.get_value(service, &0)?;
        if slot as usize >= SLOTS {
            return None;
        }
        Some(ring[slot as usize])
    }

    #[inline(always)]
    fn backend(&self, id: u32) -> Option<&'static Backend> {
        BACKENDS.get(id)
    }

    #[inline(always)]
    fn source(&self, number: u32) -> Option<&'static Source> {
        SOURCES.get(number)
    }

    #[inline(always)]
    fn peer(&self, key: &PeerKey) -> Option<u32> {
        let generation = GENERATION.get(0).copied()?;
        let words = known::peer(key);
        let cell = KNOWN_PEERS.get_ptr_mut(known::place(&words, known::PEERS))?;
        // SAFETY: as in `count` above; what the hash holds is copied out at once: an integer.
        let (cell, ask) = unsafe { (&mut *cell, || PEERS.get(key).copied()) };
        known::id(cell, &words, generation, ask)
    }

    #[inline(always)]
    fn port(&self, peer: u32, index: u32) -> Option<&'static Port> {
        PORTS.get_value(peer, &index)
    }

    #[inline(always)]
    fn pending(&self, key: &FlowKey) -> Option<&'static FlowCell> {
        // SAFETY: the cell has only atomics and fields that never change while the key is there;
        // see the trait on entries that vanish meanwhile.
        unsafe { PENDING.get(key) }
    }

    #[inline(always)]
    fn insert_pending(&self, key: &FlowKey, flow: Flow) -> Result<(), InsertError> {
        inserted(PENDING.insert(key, FlowCell::from(flow), u64::from(BPF_NOEXIST)))
    }

    #[inline(always)]
    fn remove_pending(&self, key: &FlowKey) -> bool {
        PENDING.remove(key).is_ok()
    }

    #[inline(always)]
    fn flow(&self, key: &FlowKey) -> Option<&'static FlowCell> {
        // SAFETY: as in `pending`.
        unsafe { FLOWS.get(key) }
    }

    #[inline(always)]
    fn insert_flow(&self, key: &FlowKey, flow: Flow) -> Result<(), InsertError> {
        inserted(FLOWS.insert(key, FlowCell::from(flow), u64::from(BPF_NOEXIST)))
    }

    #[inline(always)]
    fn remove_flow(&self, key: &FlowKey) -> bool {
        FLOWS.remove(key).is_ok()
    }

    #[inline(always)]
    fn now(&self) -> u32 {
        // SAFETY: the helpers take nothing and return integers (Linux 5.6 and 5.11).
        let read = || ticks::from_ns(unsafe { bpf_ktime_get_coarse_ns() });
        let Some(last) = CLOCK.get_ptr_mut(0) else { return read() };
        // SAFETY: as above; as in `count` above, nobody else uses this copy.
        let (last, jiffy) = unsafe { (&mut *last, bpf_jiffies64()) };
        // The coarse clock moves on with the jiffies.
        if last.jiffy != jiffy {
            *last = Reading { jiffy, tick: read() };
        }
        last.tick
    }

    #[inline(always)]
    fn route(&self, query: &RouteQuery) -> Route {
        let ask = || fib(self.ctx, query);
        let Some(cell) = ROUTES.get_ptr_mut(route::place(query)) else { return ask() };
        // SAFETY: the map returned the pointer; as in `count` above, nobody else uses this copy.
        // The second helper takes nothing and returns an integer (Linux 5.6).
        let (cell, jiffies) = unsafe { (&mut *cell, bpf_jiffies64() as u32) };
        route::of(cell, query, jiffies, ask)
    }

    #[inline(always)]
    fn count(&self, backend: u32, event: Event) {
        let Some(counters) = BACKEND_COUNTERS.get_ptr_mut(backend) else { return };
        // SAFETY: as in `count` above.
        let counters = unsafe { &mut *counters };
        match event {
            Event::Attempted => counters.attempted += 1,
            Event::Opened => counters.opened += 1,
            Event::Closed => counters.closed = counters.closed.wrapping_add(1),
            Event::Revived => counters.closed = counters.closed.wrapping_sub(1),
            Event::Refused => counters.refused += 1,
        }
    }

    #[inline(always)]
    fn count_forwarded(&self, backend: u32, direction: Direction, bytes: u64) {
        let Some(counters) = BACKEND_COUNTERS.get_ptr_mut(backend) else { return };
        // SAFETY: as in `count` above.
        let counters = unsafe { &mut *counters };
        match direction {
            Direction::ToBackend => {
                counters.packets_to_backend += 1;
                counters.bytes_to_backend += bytes;
            }
            Direction::ToClient => {
                counters.packets_to_client += 1;
                counters.bytes_to_client += bytes;
            }
        }
    }
}

#[inline(always)]
fn inserted(result: Result<(), i32>) -> Result<(), InsertError> {
    const EEXIST: i32 = -17;
    match result {
        Ok(()) => Ok(()),
        Err(EEXIST) => Err(InsertError::Exists),
        Err(_) => Err(InsertError::Full),
    }
}

/// `bpf_fib_lookup`: the kernel's own routing tables and neighbours (Linux 4.18; the MTU check
/// takes the IP length since 5.12).
#[inline(always)]
fn fib(ctx: *mut aya_ebpf::bindings::xdp_md, query: &RouteQuery) -> Route {
    const AF_INET: u8 = 2;
    const AF_INET6: u8 = 10;
    #[repr(align(8))]
    struct Aligned(FibLookup);
    // SAFETY: every field is an integer, an array or a union of integers.
    let mut aligned = Aligned(unsafe { mem::zeroed() });
    let lookup = &mut aligned.0;
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
            Route::Via { ifindex: lookup.ifindex, ethernet, mtu }
        }
        BPF_FIB_LKUP_RET_NO_NEIGH => Route::NoNeighbour,
        BPF_FIB_LKUP_RET_FRAG_NEEDED => Route::TooBig,
        _ => Route::None,
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

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Some helpers may be called by programs with a GPL-compatible licence only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

//! The maps, the clock and the routes of the kernel, as the pipeline sees them.

use aya_ebpf::{
    bindings::{BPF_NOEXIST, xdp_md},
    helpers::generated::{bpf_jiffies64, bpf_ktime_get_coarse_ns},
};
use lb_common::{
    addr::Addr,
    backend::{Backend, PeerKey, Source},
    counters::BackendCounters,
    flow::{Flow, FlowCell, FlowKey},
    port::{Owner, Port},
    ring::{SLOTS, Slot, missed_place},
    service::{Service, ServiceKey},
    settings::Settings,
    ticks,
    verdict::Verdict,
};
use lb_ebpf::{
    admission::Overload,
    fragments::{Cut, Followed, FragmentKey},
    known,
    nat::claim::{self, Found, Search},
    parse::IpVersion,
    route,
    tables::{InsertError, Route, RouteQuery, Tables},
};

use super::{
    fib::fib,
    gate,
    maps::{
        BACKEND_COUNTERS, BACKENDS, BUDGET, CLOCK, CUT, FLOWS, FRAGMENTS, GENERATION, KNOWN_PEERS,
        KNOWN_SERVICES, LEARNED, LOADS, MISSED, PEERS, PENDING, PORTS, RINGS, ROUTES,
        SERVICE_BY_ID, SERVICES, SETTINGS, SOURCES,
    },
};

/// A reading of the clock, which serves for the rest of its jiffy: a jiffy is read without a call.
#[derive(Clone, Copy)]
pub struct Reading {
    jiffy: u64,
    tick: u32,
}

/// No port was free.
const NO_PORT: u64 = u64::MAX;

/// A function that the kernel verifies once, because it is global, and not again for every way that
/// leads to it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mqlb_claim_port(start: u32, first_peer: u32, v6: u32, owner: u64, now: u32) -> u64 {
    let version = if v6 == 0 { IpVersion::V4 } else { IpVersion::V6 };
    let Some(settings) = SETTINGS.get(0) else { return NO_PORT };
    let search = Search { version, first_peer, start, now };
    let port = |peer, index: u32| PORTS.get_value(peer, &index);
    claim::search(&search, Owner(owner), settings, port)
        .map_or(NO_PORT, |found| u64::from(found.source) << 16 | u64::from(found.index))
}

/// The maps and the helpers of the kernel.
pub struct Kernel {
    pub ctx: *mut xdp_md,
}

impl Tables for Kernel {
    type FlowRef = &'static FlowCell;
    type PortRef = &'static Port;

    #[inline(always)]
    fn ingress(&self) -> u32 {
        // SAFETY: `ctx` is the context that the kernel gave us.
        unsafe { (*self.ctx).ingress_ifindex }
    }

    #[inline(always)]
    fn settings(&self) -> Option<&'static Settings> {
        SETTINGS.get(0).filter(|settings| settings.ports != 0)
    }

    #[inline(always)]
    fn service(&self, key: &ServiceKey) -> Option<&'static Service> {
        let generation = GENERATION.get(0).copied()?;
        let words = known::service(key);
        let cell = KNOWN_SERVICES.get_ptr_mut(known::place(&words, known::SERVICES))?;
        // SAFETY: as in `crate::count`; a service is replaced, as a whole, by one that is as valid.
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
        // SAFETY: as in `crate::count`; what the hash holds is copied out at once: an integer.
        let (cell, ask) = unsafe { (&mut *cell, || PEERS.get(key).copied()) };
        known::id(cell, &words, generation, ask)
    }

    #[inline(always)]
    fn port(&self, peer: u32, index: u32) -> Option<&'static Port> {
        PORTS.get_value(peer, &index)
    }

    #[inline(always)]
    fn claim_port(&self, search: &Search, owner: Owner) -> Option<Found> {
        let v6 = search.version == IpVersion::V6;
        let found =
            mqlb_claim_port(search.start, search.first_peer, v6.into(), owner.0, search.now);
        (found != NO_PORT).then(|| Found { source: (found >> 16) as u16, index: found as u16 })
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
    fn learned(&self, key: &FlowKey) -> Option<&'static FlowCell> {
        // SAFETY: as in `pending`.
        unsafe { LEARNED.get(key) }
    }

    #[inline(always)]
    fn insert_learned(&self, key: &FlowKey, flow: Flow) -> Result<(), InsertError> {
        inserted(LEARNED.insert(key, FlowCell::from(flow), u64::from(BPF_NOEXIST)))
    }

    #[inline(always)]
    fn note_missed(&self, service: u32, slot: u32) {
        let (index, bit) = missed_place(service, slot);
        if let Some(word) = MISSED.get(index) {
            word.set(bit);
        }
    }

    #[inline(always)]
    fn now(&self) -> u32 {
        // SAFETY: the helpers take nothing and return integers (Linux 5.6 and 5.11).
        let read = || ticks::from_ns(unsafe { bpf_ktime_get_coarse_ns() });
        let Some(last) = CLOCK.get_ptr_mut(0) else { return read() };
        // SAFETY: as above; as in `crate::count`, nobody else uses this copy.
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
        // SAFETY: the map returned the pointer; as in `crate::count`, nobody else uses this copy.
        // The second helper takes nothing and returns an integer (Linux 5.6).
        let (cell, jiffies) = unsafe { (&mut *cell, bpf_jiffies64() as u32) };
        route::of(cell, query, jiffies, ask)
    }

    #[inline(always)]
    fn may_answer(&self) -> bool {
        let Some(budget) = BUDGET.get_ptr_mut(0) else { return false };
        // SAFETY: as in `crate::count`; the helper takes nothing and returns an integer.
        unsafe { (*budget).take(bpf_jiffies64()) }
    }

    #[inline(always)]
    fn keep_cut(&self, cut: Cut) -> Option<()> {
        let kept = CUT.get_ptr_mut(0)?;
        // SAFETY: as in `crate::count`.
        unsafe { *kept = cut };
        Some(())
    }

    #[inline(always)]
    fn kept_cut(&self) -> Option<Cut> {
        // SAFETY: as in `crate::count`.
        CUT.get_ptr(0).map(|kept| unsafe { *kept })
    }

    #[inline(always)]
    fn fragment(&self, key: &FragmentKey) -> Option<Followed> {
        // SAFETY: what is found is copied out at once. If another CPU puts a fragment in its place at
        // this moment, a fragment may go astray, as any may that is sent without encryption.
        unsafe { FRAGMENTS.get(key) }.copied()
    }

    #[inline(always)]
    fn note_fragment(&self, key: &FragmentKey, followed: Followed) {
        // It fails where the table's lock is held; then the later fragments follow nothing.
        let _ = FRAGMENTS.insert(key, followed, 0);
    }

    #[inline(always)]
    fn refuses(&self, service: u32, client: Addr) -> Option<Verdict> {
        gate::refuses(service, client)
    }

    #[inline(always)]
    fn overload(&self, backend: u32) -> Option<Overload> {
        gate::overload(backend)
    }

    #[inline(always)]
    fn change_open(&self, backend: u32, by: i64) {
        if let Some(load) = LOADS.get(backend) {
            load.change(by);
        }
    }

    #[inline(always)]
    fn change_counters(&self, backend: u32, change: impl FnOnce(&mut BackendCounters)) {
        change_counters(backend, change);
    }
}

#[inline(always)]
pub(super) fn change_counters(backend: u32, change: impl FnOnce(&mut BackendCounters)) {
    if let Some(counters) = BACKEND_COUNTERS.get_ptr_mut(backend) {
        // SAFETY: as in `crate::count`.
        change(unsafe { &mut *counters });
    }
}

#[inline(always)]
pub(super) fn inserted(result: Result<(), i32>) -> Result<(), InsertError> {
    const EEXIST: i32 = -17;
    match result {
        Ok(()) => Ok(()),
        Err(EEXIST) => Err(InsertError::Exists),
        Err(_) => Err(InsertError::Full),
    }
}

//! The tables that new connections must pass.

use core::mem;

use aya_ebpf::{
    bindings::BPF_NOEXIST, btf_maps::lpm_trie::Key, helpers::generated::bpf_ktime_get_coarse_ns,
};
use lb_common::{
    addr::Addr,
    admission::{Admission, ListKey, Listed, RateKey},
    counters::BackendCounters,
    load::{Load, LoadLimits},
    rate::Bucket,
    verdict::Verdict,
};
use lb_ebpf::{
    admission::{self, Gate, Overload, Scope},
    tables::InsertError,
};

use super::{
    maps::{ADMISSIONS, LISTS, LOAD_LIMITS, LOADS, PREFIX_RATES, SOURCE_RATES},
    tables::{change_counters, inserted},
};

/// No verdict.
const ADMITTED: u64 = u64::MAX;

/// Why a SYN is refused, see [`admission::refuses`].
#[inline(always)]
pub fn refuses(service: u32, client: Addr) -> Option<Verdict> {
    let [a, b] = client.words();
    let verdict = mqlb_refuses(u64::from(service), a, b);
    // SAFETY: the function returns a verdict or `ADMITTED`.
    (verdict != ADMITTED).then(|| unsafe { mem::transmute::<u32, Verdict>(verdict as u32) })
}

/// Why a backend takes no new connection now, see [`admission::overload`].
#[inline(always)]
pub fn overload(backend: u32) -> Option<Overload> {
    match mqlb_overload(u64::from(backend)) {
        0 => None,
        1 => Some(Overload::Paced),
        _ => Some(Overload::Full),
    }
}

/// A function that the kernel verifies once, because it is global, and that has a stack of its own.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mqlb_refuses(service: u64, client_a: u64, client_b: u64) -> u64 {
    let client = Addr::from_words([client_a, client_b]);
    admission::refuses(service as u32, client, &Tables).map_or(ADMITTED, |verdict| verdict as u64)
}

/// As `mqlb_refuses`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mqlb_overload(backend: u64) -> u64 {
    admission::overload(backend as u32, &Tables).map_or(0, |overload| overload as u64)
}

struct Tables;

impl Gate for Tables {
    type BucketRef = &'static Bucket;
    type LoadRef = &'static Load;

    #[inline(always)]
    fn admission(&self, service: u32) -> Option<&Admission> {
        ADMISSIONS.get(service)
    }

    #[inline(always)]
    fn listed(&self, key: &ListKey) -> Listed {
        // SAFETY: a key of the trie is a number of bits and what they are taken from, and so is ours;
        // its type asks for no alignment.
        let key = unsafe { &*(&raw const *key).cast::<Key<[u32; 5]>>() };
        LISTS.get(key).copied().unwrap_or_default()
    }

    #[inline(always)]
    fn bucket(&self, scope: Scope, key: &RateKey) -> Option<&'static Bucket> {
        // SAFETY: an atomic word. If its memory serves another source by now, that one has a
        // connection less.
        unsafe {
            match scope {
                Scope::Source => SOURCE_RATES.get(key),
                Scope::Prefix => PREFIX_RATES.get(key),
            }
        }
    }

    #[inline(always)]
    fn begin(&self, scope: Scope, key: &RateKey, bucket: Bucket) -> Result<(), InsertError> {
        let only_new = u64::from(BPF_NOEXIST);
        inserted(match scope {
            Scope::Source => SOURCE_RATES.insert(key, bucket, only_new),
            Scope::Prefix => PREFIX_RATES.insert(key, bucket, only_new),
        })
    }

    #[inline(always)]
    fn load_limits(&self, backend: u32) -> Option<&LoadLimits> {
        LOAD_LIMITS.get(backend)
    }

    #[inline(always)]
    fn load(&self, backend: u32) -> Option<&'static Load> {
        LOADS.get(backend)
    }

    #[inline(always)]
    fn change_counters(&self, backend: u32, change: impl FnOnce(&mut BackendCounters)) {
        change_counters(backend, change);
    }

    #[inline(always)]
    fn clock_ns(&self) -> u64 {
        // SAFETY: the helper takes nothing and returns an integer (Linux 5.11).
        unsafe { bpf_ktime_get_coarse_ns() }
    }
}

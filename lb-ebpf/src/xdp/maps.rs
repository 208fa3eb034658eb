//! The maps. Those that are pinned are described in `lb_common::layout`.

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    btf_maps::{Array, ArrayOfMaps, HashMap, LpmTrie, LruHashMap, PerCpuArray},
    macros::btf_map,
};
use lb_common::{
    admission::{Admission, Listed, RateKey},
    atomic::Word,
    backend::{Backend, MAX_SOURCES, PeerKey, Source},
    counters::BackendCounters,
    flow::{FlowCell, FlowKey},
    layout::sizes,
    load::{Load, LoadLimits},
    port::Port,
    rate::Bucket,
    ring::Ring,
    service::{Service, ServiceKey},
    settings::Settings,
    verdict,
};
use lb_ebpf::{
    budget::Budget,
    fragments::{self, Cut, Followed, FragmentKey},
    known::{self, KnownPeer, KnownService},
    route::{self, CachedRoute},
};

use super::tables::Reading;

#[btf_map]
pub static SETTINGS: Array<Settings, 1> = Array::new();
#[btf_map]
pub static SERVICES: HashMap<ServiceKey, Service, { sizes::SERVICES }> = HashMap::new();
/// Another one whenever services or peers were added or removed.
#[btf_map]
pub static GENERATION: Array<u32, 1> = Array::new();
#[btf_map]
pub static SERVICE_BY_ID: Array<Service, { sizes::SERVICES }> = Array::new();
#[btf_map]
pub static RINGS: ArrayOfMaps<Array<Ring, 1>, { sizes::SERVICES }> = ArrayOfMaps::new();
#[btf_map]
pub static BACKENDS: Array<Backend, { sizes::BACKENDS }> = Array::new();
#[btf_map]
pub static SOURCES: Array<Source, { MAX_SOURCES as usize }> = Array::new();
#[btf_map]
pub static PEERS: HashMap<PeerKey, u32, { sizes::PEERS }> = HashMap::new();
#[btf_map]
pub static PORTS: ArrayOfMaps<
    Array<Port, { sizes::PORTS }, { BPF_F_MMAPABLE as usize }>,
    { sizes::PEERS },
> = ArrayOfMaps::new();
#[btf_map]
pub static PENDING: HashMap<FlowKey, FlowCell, { sizes::PENDING }> = HashMap::new();
#[btf_map]
pub static FLOWS: HashMap<FlowKey, FlowCell, { sizes::FLOWS }> = HashMap::new();
/// Without room set aside: most balancers never have an entry here.
#[btf_map]
pub static LEARNED: HashMap<FlowKey, FlowCell, { sizes::LEARNED }, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();
#[btf_map]
pub static MISSED: Array<Word, { sizes::MISSED }, { BPF_F_MMAPABLE as usize }> = Array::new();
#[btf_map]
pub static ADMISSIONS: Array<Admission, { sizes::SERVICES }> = Array::new();
/// The keys are those of `lb_common::admission::ListKey`, in the words behind the number of bits.
#[btf_map]
pub static LISTS: LpmTrie<[u32; 5], Listed, { sizes::LISTED }> = LpmTrie::new();
#[btf_map]
pub static LOAD_LIMITS: Array<LoadLimits, { sizes::BACKENDS }> = Array::new();
#[btf_map]
pub static LOADS: Array<Load, { sizes::BACKENDS }, { BPF_F_MMAPABLE as usize }> = Array::new();
#[btf_map]
pub static VERDICTS: PerCpuArray<u64, { verdict::COUNT }> = PerCpuArray::new();
#[btf_map]
pub static BACKEND_COUNTERS: PerCpuArray<BackendCounters, { sizes::BACKENDS }> = PerCpuArray::new();

// Not pinned: what one load of the program knows is looked up anew by the next.

#[btf_map]
pub static ROUTES: PerCpuArray<CachedRoute, { route::CACHED }> = PerCpuArray::new();
#[btf_map]
pub static KNOWN_SERVICES: PerCpuArray<KnownService, { known::SERVICES }> = PerCpuArray::new();
#[btf_map]
pub static KNOWN_PEERS: PerCpuArray<KnownPeer, { known::PEERS }> = PerCpuArray::new();
#[btf_map]
pub static FRAGMENTS: LruHashMap<FragmentKey, Followed, { fragments::NOTED }> = LruHashMap::new();
#[btf_map]
pub static SOURCE_RATES: LruHashMap<RateKey, Bucket, { sizes::RATES }> = LruHashMap::new();
#[btf_map]
pub static PREFIX_RATES: LruHashMap<RateKey, Bucket, { sizes::RATES }> = LruHashMap::new();
#[btf_map]
pub static CUT: PerCpuArray<Cut, 1> = PerCpuArray::new();
#[btf_map]
pub static BUDGET: PerCpuArray<Budget, 1> = PerCpuArray::new();
#[btf_map]
pub static CLOCK: PerCpuArray<Reading, 1> = PerCpuArray::new();

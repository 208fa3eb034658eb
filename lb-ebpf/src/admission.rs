//! Whether a new connection may have a backend: lists of sources, rates of sources, and what the
//! backend may take. Only SYNs are asked, and only where something is configured.

use core::ops::Deref;

use lb_common::{
    addr::Addr,
    admission::{Admission, ListKey, Listed, RateKey, admission_flags},
    counters::BackendCounters,
    load::{Load, LoadLimits},
    rate::{Bucket, Rate},
    verdict::Verdict,
};

use crate::tables::InsertError;

/// Whose SYNs a bucket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Those of one address.
    Source,
    /// Those of all addresses that share a prefix.
    Prefix,
}

/// Why a backend takes no new connection now, although it takes new ones.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overload {
    /// It was given as many as it takes in that time.
    Paced = 1,
    /// It has as many as it takes.
    Full = 2,
}

/// The tables that are asked.
pub trait Gate {
    /// A bucket in its table.
    type BucketRef: Deref<Target = Bucket>;
    /// What a backend has taken.
    type LoadRef: Deref<Target = Load>;

    /// What holds for the service with this id.
    fn admission(&self, service: u32) -> Option<&Admission>;
    /// What the longest prefix of a list says that contains this one.
    fn listed(&self, key: &ListKey) -> Listed;
    /// The bucket of a source, or of its prefix.
    fn bucket(&self, scope: Scope, key: &RateKey) -> Option<Self::BucketRef>;
    /// Adds a bucket, in place of the least recent one if there is no room; never overwrites.
    fn begin(&self, scope: Scope, key: &RateKey, bucket: Bucket) -> Result<(), InsertError>;
    /// What the backend with this id may take.
    fn load_limits(&self, backend: u32) -> Option<&LoadLimits>;
    /// What it has taken.
    fn load(&self, backend: u32) -> Option<Self::LoadRef>;
    /// Changes the counters of a backend.
    fn change_counters(&self, backend: u32, change: impl FnOnce(&mut BackendCounters));
    /// The coarse monotonic clock, in nanoseconds.
    fn clock_ns(&self) -> u64;
}

/// Why a SYN of `client` to the service with this id is refused; `None` if it is not.
#[inline(always)]
pub fn refuses(service: u32, client: Addr, gate: &impl Gate) -> Option<Verdict> {
    let admission = gate.admission(service)?;
    if is_denied(admission, service, client, gate) {
        return Some(Verdict::SourceDenied);
    }
    if !admission.source.is_limited() && !admission.prefix.is_limited() {
        return None;
    }
    let now_ns = gate.clock_ns();
    let within = |scope, rate: &Rate, client| {
        !rate.is_limited() || take(scope, rate, service, client, now_ns, gate)
    };
    // The source first: what is too much of one must not use up what its neighbours share.
    if !within(Scope::Source, &admission.source, client) {
        return Some(Verdict::SourceLimited);
    }
    let (prefix, _) = admission.prefixes.chooses(client, [0; 2]);
    if !within(Scope::Prefix, &admission.prefix, prefix) {
        return Some(Verdict::PrefixLimited);
    }
    None
}

#[inline(always)]
fn is_denied(admission: &Admission, service: u32, client: Addr, gate: &impl Gate) -> bool {
    let look = |flag, list| {
        let asked = admission.flags & flag != 0;
        if asked { gate.listed(&ListKey::new(list, client, 128)) } else { Listed::NOWHERE }
    };
    let own = look(admission_flags::LISTED, service);
    let of_all = look(admission_flags::LISTED_FOR_ALL, ListKey::all_services(client));
    Listed::of_both(own, of_all).is_denied()
}

#[inline(always)]
fn take(
    scope: Scope,
    rate: &Rate,
    service: u32,
    client: Addr,
    now_ns: u64,
    gate: &impl Gate,
) -> bool {
    let key = RateKey { client, service, pad: 0 };
    if let Some(bucket) = gate.bucket(scope, &key) {
        return bucket.take(rate, now_ns);
    }
    match gate.begin(scope, &key, Bucket::begun(rate, now_ns)) {
        // Another CPU was faster.
        Err(InsertError::Exists) => {
            gate.bucket(scope, &key).is_none_or(|bucket| bucket.take(rate, now_ns))
        }
        // Nobody is refused because the table is busy.
        Ok(()) | Err(InsertError::Full) => true,
    }
}

/// Why the backend with this id takes no new connection now, which is counted; `None` if it takes
/// one.
#[inline(always)]
pub fn overload(backend: u32, gate: &impl Gate) -> Option<Overload> {
    let limits = gate.load_limits(backend)?;
    let load = gate.load(backend)?;
    if load.is_full(limits) {
        gate.change_counters(backend, |counters| counters.full += 1);
        return Some(Overload::Full);
    }
    if limits.new.is_limited() && !load.new.take(&limits.new, gate.clock_ns()) {
        gate.change_counters(backend, |counters| counters.paced += 1);
        return Some(Overload::Paced);
    }
    None
}

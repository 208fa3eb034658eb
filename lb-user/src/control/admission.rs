//! What new connections must pass, in the words of the tables.

use lb_common::{
    addr::Addr,
    admission::{Admission, ListKey, Listed, admission_flags},
    affinity::Affinity,
    load::LoadLimits,
    rate::Rate,
    service::service_flags,
};

use super::{
    desired::{Desired, DesiredBackend, DesiredService},
    members::Health,
    tables::Tables,
    warming,
};
use crate::config::model::{Prefix, SynRate, SynRates};

/// A backend is given at once what it may get in a tenth of a second: few, so that it gets them
/// evenly, and enough for the time between two steps of the coarse clock, at most 10 ms.
const BURSTS_PER_SECOND: u32 = 10;

/// The rates of a service whose clients' addresses have so many bits of 128 in front of them.
#[must_use]
pub fn rates(rates: &SynRates, family_bits: u8) -> Admission {
    let rate = |rate: SynRate| Rate::new(rate.rate, rate.burst);
    Admission {
        source: rates.source.map(rate).unwrap_or_default(),
        prefix: rates.prefix.map(|prefix| rate(prefix.rate)).unwrap_or_default(),
        prefixes: rates.prefix.map(|p| Affinity::client(family_bits + p.bits)).unwrap_or_default(),
        ..Admission::default()
    }
}

/// Writes down what new connections of the service with this id must pass, and that they must.
pub fn admit(new: &mut Tables, desired: &Desired, service: &DesiredService, id: u32) {
    let flag = |listed: &[_], flag| if listed.is_empty() { 0 } else { flag };
    let flags = flag(&service.listed, admission_flags::LISTED)
        | flag(&desired.listed, admission_flags::LISTED_FOR_ALL);
    let admission = Admission { flags, ..service.rates };
    if admission == Admission::default() {
        return;
    }
    new.admissions.insert(id, admission);
    if let Some(entry) = new.services.get_mut(&service.key) {
        entry.flags |= service_flags::ADMITS;
    }
    new.lists.extend(service.listed.iter().map(|(prefix, denied)| entry(id, *prefix, *denied)));
}

/// Writes down the list for all services.
pub fn list_for_all(new: &mut Tables, desired: &Desired) {
    new.lists.extend(desired.listed.iter().map(|(prefix, denied)| {
        entry(ListKey::all_services(prefix.address().into()), *prefix, *denied)
    }));
}

fn entry(list: u32, prefix: Prefix, denied: bool) -> (ListKey, Listed) {
    let bits = 128 - prefix.host_bits();
    (ListKey::new(list, prefix.address().into(), bits), Listed::new(bits, denied))
}

/// The prefix that decides about `client` in the lists of `tables`, and whether it is denied.
#[must_use]
pub fn decides(tables: &Tables, service: u32, client: Addr) -> Option<(Prefix, bool)> {
    let longest = |list| {
        let mine = |key: &ListKey| key.service == list && key.contains(client);
        let entries = tables.lists.iter().filter(|(key, _)| mine(key));
        entries.max_by_key(|(key, _)| key.address_bits())
    };
    let own = longest(service);
    let of_all = longest(ListKey::all_services(client));
    let said = |entry: Option<(&ListKey, &Listed)>| entry.map_or(Listed::NOWHERE, |(_, l)| *l);
    let listed = Listed::of_both(said(own), said(of_all));
    let (key, _) = [own, of_all].into_iter().flatten().find(|(_, l)| **l == listed)?;
    let family_bits = if client.is_v4() { 96 } else { 0 };
    let bits = key.address_bits().saturating_sub(family_bits);
    Some((Prefix::new(key.address.into(), bits), listed.is_denied()))
}

/// What the backend with this id may take at tick `now`; `None` is as much as comes.
#[must_use]
pub fn load_limits(
    service: &DesiredService,
    backend: &DesiredBackend,
    id: u32,
    health: &Health,
    now: u32,
) -> Option<LoadLimits> {
    let limits = backend.limits;
    let new = limits.max_new_per_second.map_or(Rate::UNLIMITED, |full| {
        let per_second = warming::rate(full, health.up_for(id, now), service.slow_start_ticks);
        Rate::new(per_second, per_second.div_ceil(BURSTS_PER_SECOND))
    });
    let connections = limits.max_connections.map_or(0, u64::from);
    let limits = LoadLimits { new, connections };
    (limits != LoadLimits::default()).then_some(limits)
}

/// Brings what the backends may take up to date: those that came up lately may take more by now.
pub fn warm(tables: &mut Tables, desired: &Desired, health: &Health, now: u32) {
    let serving = tables.serving();
    for service in &desired.services {
        let Some(known) = tables.services.get(&service.key) else { continue };
        for backend in &service.backends {
            let Some(id) = serving.get(&(known.id, backend.endpoint)) else { continue };
            // One that had no limit has none after a while, either.
            if let Some(entry) = tables.load_limits.get_mut(id)
                && let Some(limits) = load_limits(service, backend, *id, health, now)
            {
                *entry = limits;
            }
        }
    }
}

//! The way from one state of the tables to another: edits in an order that is safe after each.

use lb_common::backend::{
    Backend, Source,
    backend_flags::{ACCEPT, DIRECT, FORWARD, PRESENT},
};

use super::{datapath::Edit, tables::Tables};

/// How far the record of what the tables hold is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// They hold exactly that: only differences are written.
    Exact,
    /// They may differ (the controller was killed, or an edit could be neither made nor undone):
    /// everything is written again.
    Rewrite,
}

/// The edits that lead from `old` to `new`.
///
/// Make before break. First whatever a new flow may be led to (source addresses, peers, settings,
/// backends), then the rings, then the services. After that the way back: services, rings,
/// backends that refuse, the purge of their flows, and at last their numbers. What is handled in
/// userspace takes no edit.
#[must_use]
pub fn plan(old: &Tables, new: &Tables, trust: Trust) -> Vec<Edit> {
    let (old, new) = (&*old.in_data_plane(), &*new.in_data_plane());
    let changed = |same: bool| !same || trust == Trust::Rewrite;
    let mut edits = Vec::new();
    let settings = new.settings.filter(|_| changed(old.settings == new.settings));
    if old.settings.is_none() {
        // Tables of source ports belong to a range of ports: that must be known first.
        edits.extend(settings.map(Edit::PutSettings));
    }
    for (number, address) in (0..).zip(&new.sources) {
        if changed(old.sources.get(number as usize) == Some(address)) {
            edits.push(Edit::PutSource { number, source: Source { address: *address } });
        }
    }
    for (key, peer) in &new.peers {
        if changed(old.peers.get(key) == Some(peer)) {
            edits.push(Edit::PutPeer { key: *key, peer: *peer });
        }
    }
    if old.settings.is_some() {
        // They say how many source addresses there are: with them those are used.
        edits.extend(settings.map(Edit::PutSettings));
    }
    // Exceptions first: at no moment is somebody denied whom both lists let in.
    for denied in [false, true] {
        for (key, listed) in new.lists.iter().filter(|(_, l)| l.is_denied() == denied) {
            if changed(old.lists.get(key) == Some(listed)) {
                edits.push(Edit::PutListed { key: *key, listed: *listed });
            }
        }
    }
    for (service, admission) in &new.admissions {
        if changed(old.admissions.get(service) == Some(admission)) {
            edits.push(Edit::PutAdmission { service: *service, admission: *admission });
        }
    }
    for (id, limits) in &new.load_limits {
        if changed(old.load_limits.get(id) == Some(limits)) {
            edits.push(Edit::PutLoadLimits { id: *id, limits: *limits });
        }
    }
    for (id, backend) in &new.backends {
        let before = old.backends.get(id);
        if changed(before == Some(backend)) && !before.is_some_and(|b| only_loses(b, backend)) {
            edits.push(Edit::PutBackend { id: *id, backend: *backend });
        }
    }
    for (service, spec) in &new.rings {
        if changed(old.rings.get(service).is_some_and(|old| old.is_same_ring(spec))) {
            edits.push(Edit::PutRing { service: *service, ring: spec.ring() });
        }
    }
    for (key, service) in &new.services {
        if changed(old.services.get(key) == Some(service)) {
            edits.push(Edit::PutService(*service));
        }
    }
    removals(old, new, &mut edits);
    edits
}

fn removals(old: &Tables, new: &Tables, edits: &mut Vec<Edit>) {
    for (key, service) in old.services.iter().filter(|(key, _)| !new.services.contains_key(key)) {
        edits.push(Edit::RemoveService { key: *key, id: service.id });
    }
    for (key, service) in &old.services {
        if new.services.get(key).is_some_and(|new| new.id != service.id) {
            edits.push(Edit::ClearService { id: service.id });
        }
    }
    for denied in [true, false] {
        let gone = old.lists.iter().filter(|(key, _)| !new.lists.contains_key(key));
        let gone = gone.filter(|(_, listed)| listed.is_denied() == denied);
        edits.extend(gone.map(|(key, _)| Edit::RemoveListed { key: *key }));
    }
    for service in old.rings.keys().filter(|service| !new.rings.contains_key(service)) {
        edits.push(Edit::RemoveRing { service: *service });
    }
    for (id, before) in &old.backends {
        if let Some(backend) = new.backends.get(id).filter(|backend| only_loses(before, backend)) {
            edits.push(Edit::PutBackend { id: *id, backend: *backend });
        }
    }
    // Each step for all of them before the next: the end of an entry waits for the packets under
    // way, but only once after a series of purges.
    let removed = || old.backends.iter().filter(|(id, _)| !new.backends.contains_key(id));
    for (id, before) in removed().filter(|(_, before)| before.flags & FORWARD != 0) {
        let backend = Backend { flags: before.flags & (PRESENT | DIRECT), ..*before };
        edits.push(Edit::PutBackend { id: *id, backend });
    }
    edits.extend(removed().map(|(id, _)| Edit::Purge { backend: *id }));
    edits.extend(removed().map(|(id, _)| Edit::ClearBackend { id: *id }));
    for (key, peer) in old.peers.iter().filter(|(key, _)| !new.peers.contains_key(key)) {
        edits.push(Edit::RemovePeer { key: *key, peer: *peer });
    }
}

/// Whether by the change the backend gets fewer packets: then it comes after the ring swap.
fn only_loses(before: &Backend, after: &Backend) -> bool {
    let [had, has] = [before, after].map(|backend| backend.flags & (FORWARD | ACCEPT));
    let same_flags = Backend { flags: before.flags, ..*after };
    had & !has != 0 && has & !had == 0 && same_flags == *before
}

#[cfg(test)]
mod tests;

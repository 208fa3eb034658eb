//! Which backends of a service take new connections.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::ticks;

use super::desired::{DesiredBackend, DesiredService};
use crate::config::model::AllDown;

/// What the health checks found out about the backends, by id. Who is not in it was never up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    standings: BTreeMap<u32, Standing>,
    /// Who was taken out for refusing clients.
    ejected: BTreeSet<u32>,
}

/// What the health checks found out about a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// Not checked yet, or never seen up.
    #[default]
    Unproven,
    /// Up.
    Up,
    /// Down, after it was up.
    Down {
        /// The tick at which it went down.
        since: u32,
    },
}

impl Health {
    /// What is known about backend `id`.
    #[must_use]
    pub fn of(&self, id: u32) -> Standing {
        self.standings.get(&id).copied().unwrap_or_default()
    }

    /// Whether some backend is down.
    #[must_use]
    pub fn is_any_down(&self) -> bool {
        self.standings.values().any(|standing| matches!(standing, Standing::Down { .. }))
    }

    /// Whether backend `id` has been down for more than `limit` ticks.
    #[must_use]
    pub fn is_down_for(&self, id: u32, limit: u32, now: u32) -> bool {
        matches!(self.of(id), Standing::Down { since } if ticks::age(now, since) > limit)
    }

    /// Takes note that backend `id` came up or went down at tick `now`. Whether that is news.
    pub fn note(&mut self, id: u32, up: bool, now: u32) -> bool {
        let standing = self.standings.entry(id).or_default();
        let before = *standing;
        *standing = match (up, before) {
            (true, _) => Standing::Up,
            (false, Standing::Up) => Standing::Down { since: now },
            (false, _) => before,
        };
        *standing != before
    }

    /// Takes over what was known about backend `id`.
    pub fn set(&mut self, id: u32, standing: Standing) {
        self.standings.insert(id, standing);
    }

    /// Forgets all backends but those for which `keep` holds.
    pub fn retain(&mut self, keep: impl Fn(u32) -> bool) {
        self.standings.retain(|id, _| keep(*id));
        self.ejected.retain(|id| keep(*id));
    }

    /// Takes note of who is out for refusing clients. Whether that is news.
    pub fn eject(&mut self, ejected: BTreeSet<u32>) -> bool {
        let news = self.ejected != ejected;
        self.ejected = ejected;
        news
    }
}

/// Those of `candidates` (id and backend) that take new connections of `service`.
///
/// These are the backends that are up and not drained. If none is, and the service asks for the
/// last known good ones: those that went down together with the one that went down last. A
/// failing network takes all of them down within the time of a check; without that margin the one
/// that happened to be noticed last would get everything.
///
/// Of these, those that were ejected take nothing, as long as that leaves one.
#[must_use]
pub fn accepting<'a>(
    service: &DesiredService,
    candidates: &[(u32, &'a DesiredBackend)],
    health: &Health,
) -> Vec<(u32, &'a DesiredBackend)> {
    let healthy = healthy(service, candidates, health);
    let mut kept = healthy.clone();
    kept.retain(|(id, _)| !health.ejected.contains(id));
    if kept.is_empty() { healthy } else { kept }
}

fn healthy<'a>(
    service: &DesiredService,
    candidates: &[(u32, &'a DesiredBackend)],
    health: &Health,
) -> Vec<(u32, &'a DesiredBackend)> {
    let open: Vec<_> = candidates.iter().filter(|(_, backend)| !backend.drained).copied().collect();
    if !service.checked {
        return open;
    }
    let up: Vec<_> =
        open.iter().filter(|(id, _)| health.of(*id) == Standing::Up).copied().collect();
    if !up.is_empty() || service.all_down == AllDown::Refuse {
        return up;
    }
    let went_down = |id: u32| match health.of(id) {
        Standing::Down { since } => Some(since),
        Standing::Unproven | Standing::Up => None,
    };
    let ends: Vec<u32> = open.iter().filter_map(|(id, _)| went_down(*id)).collect();
    let with_the_last =
        |since: u32| ends.iter().all(|later| ticks::age(*later, since) <= service.together_ticks);
    open.into_iter().filter(|(id, _)| went_down(*id).is_some_and(with_the_last)).collect()
}

#[cfg(test)]
mod tests {
    use lb_common::{addr::Addr, affinity::Affinity, service::ServiceKey};

    use super::{super::desired::Endpoint, *};

    fn service(all_down: AllDown) -> DesiredService {
        let backend = |number: u8| DesiredBackend {
            name: format!("b{number}").parse().unwrap(),
            endpoint: Endpoint { address: Addr::v4([10, 0, 0, number]), port: 1883 },
            weight: 100,
            drained: false,
        };
        DesiredService {
            name: "mqtt".parse().unwrap(),
            key: ServiceKey::tcp(Addr::v4([192, 0, 2, 1]), 1883u16.to_be_bytes()),
            idle_ticks: 1,
            mode: 0,
            flags: 0,
            affinity: Affinity::CONNECTION,
            checked: true,
            all_down,
            together_ticks: 7,
            dead_ticks: None,
            rebase_ticks: 0,
            backends: (0..4).map(backend).collect(),
        }
    }

    /// The numbers of those that accept, after these (time, backend, up) events.
    fn after(service: &DesiredService, events: &[(u32, u32, bool)]) -> Vec<u32> {
        let mut health = Health::default();
        for (now, id, up) in events {
            health.note(*id, *up, *now);
        }
        let candidates: Vec<_> = (0..).zip(&service.backends).collect();
        accepting(service, &candidates, &health).into_iter().map(|(id, _)| id).collect()
    }

    const ALL_UP: [(u32, u32, bool); 3] = [(1, 0, true), (1, 1, true), (1, 2, true)];

    #[test]
    fn a_backend_that_was_never_up_takes_nothing() {
        assert_eq!(after(&service(AllDown::LastKnownGood), &ALL_UP), [0, 1, 2]);
        assert_eq!(after(&service(AllDown::LastKnownGood), &[(1, 0, false)]), [0u32; 0]);
    }

    #[test]
    fn a_drained_backend_takes_nothing_even_if_it_was_the_last_one_up() {
        let mut service = service(AllDown::LastKnownGood);
        service.backends[2].drained = true;
        let down = [(9, 0, false), (10, 1, false), (11, 2, false)];
        assert_eq!(after(&service, &ALL_UP), [0, 1]);
        assert_eq!(after(&service, &[&ALL_UP[..], &down].concat()), [0, 1]);
    }

    #[test]
    fn when_all_fail_together_all_stay() {
        let down = [(100, 1, false), (101, 0, false), (107, 2, false)];
        let events = [&ALL_UP[..], &down].concat();
        assert_eq!(after(&service(AllDown::LastKnownGood), &events), [0, 1, 2]);
        assert_eq!(after(&service(AllDown::Refuse), &events), [0u32; 0]);
    }

    #[test]
    fn who_failed_long_before_the_last_one_is_not_good() {
        let down = [(100, 1, false), (1000, 0, false), (1003, 2, false), (1005, 1, false)];
        let events = [&ALL_UP[..], &down].concat();
        assert_eq!(after(&service(AllDown::LastKnownGood), &events), [0, 2]);
    }

    #[test]
    fn an_ejected_backend_takes_nothing_unless_nobody_else_does() {
        for checked in [true, false] {
            let service = DesiredService { checked, ..service(AllDown::Refuse) };
            let mut health = Health::default();
            for id in 0..4 {
                health.note(id, true, 1);
            }
            let candidates: Vec<_> = (0..).zip(&service.backends).collect();
            let takes = |health: &Health| -> Vec<u32> {
                accepting(&service, &candidates, health).into_iter().map(|(id, _)| id).collect()
            };
            assert!(health.eject([1, 2].into()));
            assert!(!health.eject([1, 2].into()), "no news");
            assert_eq!(takes(&health), [0, 3]);
            assert!(health.eject([0, 1, 2, 3].into()));
            assert_eq!(takes(&health), [0, 1, 2, 3]);
        }
    }

    #[test]
    fn one_that_is_up_is_enough() {
        let events = [&ALL_UP[..], &[(5, 0, false), (5, 1, false)]].concat();
        assert_eq!(after(&service(AllDown::LastKnownGood), &events), [2]);
    }
}

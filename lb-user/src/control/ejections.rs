//! Takes backends out that refuse clients, and lets them back.

use std::collections::BTreeMap;

use lb_common::{counters::BackendCounters, ticks};

use super::{
    controller::Controller, datapath::DatapathError, desired::service_key, report::EjectedReport,
};
use crate::{
    config::model::{self, Name, Service},
    health::ejection::{Answers, Ejection, Ejections, Event, Observed, Rules},
};

/// By service, for those that have it configured.
pub(super) type ByService = BTreeMap<Name, Ejections>;

impl From<&model::Ejection> for Rules {
    fn from(wanted: &model::Ejection) -> Self {
        Self {
            refused_percent: wanted.refused_percent,
            min_connects: wanted.min_connects.into(),
            interval: ticks::from_duration(wanted.interval),
            eject_for: ticks::from_duration(wanted.eject_for),
            max_eject_for: ticks::from_duration(wanted.max_eject_for),
            max_ejected_percent: wanted.max_ejected_percent,
        }
    }
}

impl From<&BackendCounters> for Answers {
    fn from(counters: &BackendCounters) -> Self {
        Self {
            // A wrong password is the client's fault: the broker works.
            fine: counters.connack_accepted.saturating_add(counters.connack_refused),
            refused: counters.connack_unavailable.saturating_add(counters.connack_missing),
        }
    }
}

impl Controller {
    /// What has to be done once a second; whether it changes who takes new connections.
    pub(super) fn judge(&mut self) -> bool {
        let now = self.now();
        let mut before = std::mem::take(&mut self.ejections);
        let mut events = Vec::new();
        for service in &self.config.services {
            let Some(rules) = service.ejection.as_ref().map(Rules::from) else { continue };
            let mut ejections = before.remove(&service.name).unwrap_or_default();
            events.extend(ejections.let_back(now));
            if ejections.is_due(&rules, now) {
                match self.observe(service) {
                    Ok(observed) => events.extend(ejections.judge(&rules, &observed, now)),
                    Err(error) => tracing::error!(%error, "refusals could not be counted"),
                }
            }
            self.ejections.insert(service.name.clone(), ejections);
        }
        for event in &events {
            self.tell(event);
        }
        self.health.eject(self.ejections.values().flat_map(Ejections::out).collect())
    }

    fn observe(&self, service: &Service) -> Result<Vec<Observed>, DatapathError> {
        let tables = self.applied.tables();
        let Some(entry) = tables.services.get(&service_key(service.address())) else {
            return Ok(Vec::new());
        };
        let serving = tables.serving();
        let backends = self.overlay.backends(service).into_iter();
        let ids: Vec<u32> = backends
            .filter_map(|backend| serving.get(&(entry.id, backend.socket().into())).copied())
            .collect();
        let members = tables.rings.get(&entry.id).map_or(&[][..], |spec| &spec.members);
        let counters = self.backend_counters(&ids)?;
        let observed = ids.into_iter().zip(&counters).map(|(backend, counters)| Observed {
            backend,
            answers: counters.into(),
            accepts: members.iter().any(|member| member.id == backend),
        });
        Ok(observed.collect())
    }

    fn tell(&self, event: &Event) {
        match event {
            Event::Ejected(id, ejection) => {
                let Ejection { answers: Answers { fine, refused }, lasts, times, .. } = ejection;
                let lasts_s = ticks::to_duration(*lasts).as_secs();
                let backend = self.name_of(*id);
                tracing::warn!(
                    backend,
                    refused,
                    fine,
                    lasts_s,
                    times,
                    "ejected: it refuses clients"
                );
            }
            Event::Spared(id, Answers { fine, refused }) => {
                let backend = self.name_of(*id);
                tracing::warn!(
                    backend,
                    refused,
                    fine,
                    "refuses clients, but enough others are out"
                );
            }
            Event::Returned(id) => {
                tracing::info!(backend = self.name_of(*id), "takes new connections again");
            }
        }
    }

    /// Why and how long a backend of `service` is out, and how often it was.
    pub(super) fn ejected(&self, service: &Name, id: u32) -> (Option<EjectedReport>, u64) {
        let Some(ejections) = self.ejections.get(service) else { return (None, 0) };
        let report = |ejection: Ejection| EjectedReport {
            left_s: ticks::to_duration(ejection.left(self.now())).as_secs(),
            refused: ejection.answers.refused,
            answers: ejection.answers.fine.saturating_add(ejection.answers.refused),
            times: ejection.times,
        };
        (ejections.of(id).map(report), ejections.total(id))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::control::{
        controller::{
            Origin,
            stage::{Shared, start_with_clock, write},
        },
        report::{BackendState, ServiceState},
        samples::UNCHECKED,
    };

    /// The clock of this test alone.
    static TICK: AtomicU32 = AtomicU32::new(1000);

    struct Rig {
        controller: Controller,
        tables: Shared,
        dir: tempfile::TempDir,
    }

    const EJECTION: &str =
        "ejection: { min_connects: 10, interval: 10s, eject_for: 30s }\n    health:";

    impl Rig {
        fn start() -> Self {
            let dir = tempfile::tempdir().unwrap();
            write(dir.path(), &UNCHECKED.replace("health:", EJECTION));
            let tables = Shared::default();
            let clock = || TICK.load(Ordering::Relaxed);
            let controller = start_with_clock(dir.path(), &tables, Origin::Fresh, clock);
            let mut rig = Self { controller: controller.unwrap(), tables, dir };
            rig.controller.tick();
            rig
        }

        /// The first backend answers so many clients, and an interval passes.
        fn answers(&mut self, accepted: u64, unavailable: u64, refused: u64) {
            let id = self.controller.service_reports().unwrap()[0].backends[0].id;
            {
                let mut tables = self.tables.lock().unwrap();
                let counters = tables.counters.entry(id).or_default();
                counters.connack_accepted += accepted;
                counters.connack_unavailable += unavailable;
                counters.connack_refused += refused;
            }
            self.pass(10);
        }

        fn pass(&mut self, ticks: u32) {
            TICK.fetch_add(ticks, Ordering::Relaxed);
            self.controller.tick();
        }

        fn state(&self) -> (BackendState, ServiceState) {
            let service = self.controller.service_reports().unwrap().swap_remove(0);
            (service.backends[0].state, service.state)
        }
    }

    #[tokio::test]
    async fn a_backend_that_refuses_clients_gets_none_for_a_while() {
        let mut rig = Rig::start();
        rig.answers(5, 0, 95);
        assert_eq!(rig.state(), (BackendState::Active, ServiceState::Ok), "the clients' fault");
        rig.answers(5, 15, 0);
        assert_eq!(rig.state(), (BackendState::Ejected, ServiceState::Degraded));
        let report = rig.controller.backend("mqtt", "b1").unwrap();
        let ejected = report.ejected.unwrap();
        assert_eq!((ejected.refused, ejected.answers, ejected.times), (15, 20, 1));
        assert_eq!((report.slots, report.ejections), (0, 1));
        let owners = rig.tables.lock().unwrap().owners.values().next().unwrap().clone();
        assert!(!owners.contains(&report.id));

        // What the operator does meanwhile leaves it out.
        rig.controller.drain("mqtt", "b2", true).unwrap();
        assert_eq!(rig.state().0, BackendState::Ejected);
        rig.controller.drain("mqtt", "b2", false).unwrap();
        rig.pass(30);
        assert_eq!(rig.state(), (BackendState::Active, ServiceState::Ok));
        assert_eq!(rig.controller.backend("mqtt", "b1").unwrap().ejected, None);

        // Without the setting nobody stays out.
        rig.answers(0, 20, 0);
        assert_eq!(rig.state().0, BackendState::Ejected);
        write(rig.dir.path(), UNCHECKED);
        rig.controller.reload(false).unwrap();
        rig.pass(1);
        assert_eq!(rig.state(), (BackendState::Active, ServiceState::Ok));
    }
}

//! A rebalancing under way: the clock, and the connections.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{
    end::Order,
    rebalance::{Assessment, Backend, Connection, Rebalance, Round, Rules, assess},
    service::Service,
};

/// How far a rebalancing has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// How the service stood when it began.
    pub before: Assessment,
    /// Connections that were moved.
    pub moved: u32,
    /// Why it ended; `None` while it goes on.
    pub end: Option<Ended>,
}

/// Why a rebalancing ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// No backend has more than its share, and the tolerance.
    Balanced,
    /// What is left to move are clients whose sessions stay.
    OnlySessions,
    /// Clients come back to where they were.
    Futile,
    /// Somebody stopped it.
    Stopped,
}

/// The rebalancing of a service: the one under way, or the last one.
#[derive(Debug, Default)]
pub struct Rebalancing(Mutex<Option<Running>>);

#[derive(Debug)]
struct Running {
    progress: Progress,
    /// Dropped to end it.
    stop: Option<watch::Sender<()>>,
}

impl Rebalancing {
    /// How far it has come; `None` if there was none.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        self.lock().as_ref().map(|running| running.progress.clone())
    }

    /// Ends the one under way, if there is one.
    pub fn stop(&self) {
        if let Some(running) = self.lock().as_mut() {
            running.progress.end.get_or_insert(Ended::Stopped);
            drop(running.stop.take());
        }
    }

    /// Makes way for a new one. The receiver fails when that is to end.
    fn begin(&self, before: Assessment) -> watch::Receiver<()> {
        let (stop, stopped) = watch::channel(());
        let progress = Progress { before, moved: 0, end: None };
        // The one before, whose sender is dropped, ends.
        *self.lock() = Some(Running { progress, stop: Some(stop) });
        stopped
    }

    /// Changes what is known of the one that has this receiver, unless it was stopped, or another one
    /// has its place.
    fn note(&self, mine: &watch::Receiver<()>, change: impl FnOnce(&mut Progress)) {
        let mut running = self.lock();
        // Its sender is dropped under this lock.
        if mine.has_changed().is_ok()
            && let Some(running) = running.as_mut()
        {
            change(&mut running.progress);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far the backends of `service` are from their shares. Those `drained` shall have nothing.
#[must_use]
pub fn look(service: &Service, rules: &Rules, drained: &[u32]) -> Assessment {
    assess(&standing(service, drained).0, rules)
}

/// Moves connections of `service` until there is no reason to. The one before ends.
pub fn begin(
    service: &Arc<Service>,
    rules: Rules,
    drained: Vec<u32>,
) -> (Assessment, impl Future<Output = ()> + use<>) {
    let before = look(service, &rules, &drained);
    let plan = Rebalance::new(rules, &before);
    let mut stopped = service.rebalancing.begin(before.clone());
    let service = Arc::clone(service);
    (before, async move {
        if let Some(end) = run(&service, plan, &drained, &mut stopped).await {
            service.rebalancing.note(&stopped, |progress| progress.end = Some(end));
        }
    })
}

/// `None` if it was stopped.
async fn run(
    service: &Service,
    mut plan: Rebalance,
    drained: &[u32],
    stopped: &mut watch::Receiver<()>,
) -> Option<Ended> {
    let origin = Instant::now();
    loop {
        let round = {
            let (backends, connections) = standing(service, drained);
            plan.round(&backends, &connections, origin.elapsed())
        };
        let (moves, next) = match round {
            Round::Moves { moves, next } => (moves, next),
            Round::Balanced => return Some(Ended::Balanced),
            Round::OnlySessions => return Some(Ended::OnlySessions),
            Round::Futile => return Some(Ended::Futile),
        };
        for one in moves {
            tokio::select! {
                biased;
                _ = stopped.changed() => return None,
                () = sleep_until(origin + one.at) => {}
            }
            // It may have gone by itself.
            if let Some(connection) = service.registry.get(one.connection) {
                if let Some(sessions) = service.settings().sessions {
                    // It would return to where it is.
                    sessions.forget(&connection.client_id);
                }
                connection.end(Order::Rebalanced);
                service.rebalancing.note(stopped, |progress| progress.moved += 1);
            }
        }
        tokio::select! {
            biased;
            _ = stopped.changed() => return None,
            () = sleep_until(origin + next) => {}
        }
    }
}

/// The backends of `service`, and its connections. Those that take leave have gone already: they would
/// be moved again otherwise.
fn standing(service: &Service, drained: &[u32]) -> (Vec<Backend>, Vec<Connection>) {
    let mut connections = Vec::with_capacity(service.registry.len());
    let mut ending: HashMap<u32, u32> = HashMap::new();
    service.registry.visit(|one| {
        if one.is_ending() {
            *ending.entry(one.backend.id).or_default() += 1;
        } else {
            connections.push(Connection {
                id: one.number,
                backend: one.backend.id,
                session: one.session,
                idle: one.idle(),
            });
        }
    });
    let backend = |(id, weight, connections, takes): (u32, u32, u32, bool)| {
        let ending = ending.get(&id).copied().unwrap_or_default();
        let weight = if drained.contains(&id) && !takes { 0 } else { weight };
        Backend { id, weight, connections: connections.saturating_sub(ending), takes }
    };
    (service.loads().into_iter().map(backend).collect(), connections)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_was_replaced_or_stopped_changes_nothing_that_is_known_of_another() {
        let before = Assessment { backends: Vec::new(), connections: 9, moves: 3, seconds: 1 };
        let rebalancing = Rebalancing::default();
        let first = rebalancing.begin(before.clone());
        let second = rebalancing.begin(before);
        rebalancing.note(&first, |progress| progress.end = Some(Ended::Balanced));
        rebalancing.note(&second, |progress| progress.moved += 1);
        let known = || rebalancing.progress().map(|progress| (progress.moved, progress.end));
        assert_eq!(known(), Some((1, None)));
        rebalancing.stop();
        rebalancing.note(&second, |progress| progress.moved += 1);
        assert_eq!(known(), Some((1, Some(Ended::Stopped))));
    }
}

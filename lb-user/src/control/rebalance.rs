//! Moving connections of a service in the mode `mqtt` to where there are too few.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::{controller::Controller, error::ChangeError, overlay::CommandError};
use crate::{
    config::model::{MqttSettings, Name, Service},
    proxy::{
        rebalance::{Rules, Sessions},
        rebalancing::{Ended, Progress},
    },
};

/// Moves a second, unless it is said otherwise.
pub const MOVES_PER_SECOND: u32 = 50;

/// By how many percent of its share a backend may exceed it, unless it is said otherwise.
pub const TOLERANCE_PERCENT: u32 = 10;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RebalanceOrder {
    /// Only say what would move.
    pub dry_run: bool,
    /// Connections that are moved per second, at most.
    pub rate: NonZeroU32,
    /// By how many percent of its share a backend may exceed it.
    pub tolerance_percent: u32,
    /// Whether clients with a session stay where it is.
    pub keep_sessions: bool,
}

impl Default for RebalanceOrder {
    fn default() -> Self {
        let rate = NonZeroU32::new(MOVES_PER_SECOND).unwrap_or(NonZeroU32::MIN);
        let tolerance_percent = TOLERANCE_PERCENT;
        Self { dry_run: false, rate, tolerance_percent, keep_sessions: false }
    }
}

/// How a rebalancing stands, or what it would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebalanceReport {
    /// Whether it only says what it would do.
    pub dry_run: bool,
    /// Connections that were moved.
    pub moved: u32,
    /// Connections that had to be moved when it began.
    pub moves: u32,
    /// How long that takes at least, in seconds.
    pub seconds: u32,
    /// Why it ended; nothing while it goes on.
    pub end: Option<Ended>,
    /// The backends as they were when it began.
    pub backends: Vec<RebalanceStanding>,
}

/// A backend when a rebalancing began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebalanceStanding {
    /// Its name.
    pub name: String,
    /// Its open connections.
    pub connections: u32,
    /// What its weight gives it.
    pub share: u32,
    /// How many had to leave it.
    pub surplus: u32,
}

impl Controller {
    /// Begins to move connections, or only says what would move. One that goes on ends.
    pub fn rebalance(
        &mut self,
        service: &str,
        order: RebalanceOrder,
    ) -> Result<RebalanceReport, ChangeError> {
        let service = self.service(service)?;
        if service.mqtt.as_ref().is_some_and(leads_by_name) {
            return Err(CommandError::Routed(service.name.clone()).into());
        }
        let rules = Rules {
            moves_per_second: order.rate,
            tolerance_percent: order.tolerance_percent,
            sessions: if order.keep_sessions { Sessions::Stay } else { Sessions::Last },
        };
        let drained = self.drained_numbers(service);
        let assessment = self.proxies.rebalance(service.address(), rules, drained, !order.dry_run);
        let before = assessment.ok_or_else(|| not_proxied(service))?;
        let progress = Progress { before, moved: 0, end: None };
        Ok(self.rebalance_report(service, progress, order.dry_run))
    }

    /// How the rebalancing of a service stands, which is ended if `stops`.
    pub fn rebalancing(
        &mut self,
        service: &str,
        stops: bool,
    ) -> Result<RebalanceReport, ChangeError> {
        let service = self.service(service)?;
        if !service.mode.is_proxied() {
            return Err(not_proxied(service).into());
        }
        let progress = self.proxies.rebalancing(service.address(), stops);
        let none = || CommandError::NoRebalancing(service.name.clone());
        Ok(self.rebalance_report(service, progress.ok_or_else(none)?, false))
    }

    fn drained_numbers(&self, service: &Service) -> Vec<u32> {
        let drained = |name: &Name| self.overlay.is_drained(&service.name, name);
        let backends = self.snapshot(service).backends.into_iter();
        backends.filter(|one| drained(&one.name)).map(|one| one.id).collect()
    }

    fn rebalance_report(
        &self,
        service: &Service,
        progress: Progress,
        dry_run: bool,
    ) -> RebalanceReport {
        let Progress { before, moved, end } = progress;
        let known = self.snapshot(service).backends;
        let name = |id: u32| {
            let found = known.iter().find(|one| one.id == id);
            found.map_or_else(|| format!("(removed, {id})"), |one| one.name.to_string())
        };
        let backends = before.backends.iter().map(|one| RebalanceStanding {
            name: name(one.id),
            connections: one.connections,
            share: one.share,
            surplus: one.surplus,
        });
        let backends = backends.collect();
        let (moves, seconds) = (before.moves, before.seconds);
        RebalanceReport { dry_run, moved, moves, seconds, end, backends }
    }
}

/// Whether some clients can only go to some of the backends.
fn leads_by_name(settings: &MqttSettings) -> bool {
    settings.tls_passthrough.iter().any(|route| !route.backends.is_empty())
}

fn not_proxied(service: &Service) -> CommandError {
    CommandError::NotProxied(service.name.clone())
}

//! The owner of all state: every change goes through here, one after the other.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use lb_common::hash::Seed;

use super::{
    admission,
    apply::Applied,
    checks::Checks,
    counts::Counts,
    datapath::Datapath,
    desired::Desired,
    difference::effective,
    ejections,
    error::ChangeError,
    layout,
    members::Health,
    overlay::{CommandError, Overlay},
    plan::Trust,
    proxied,
    record::{Record, TablesRecord, VERSION, seed_from_text, seed_to_text},
    report::ConfigFileReport,
    state_file::StateFile,
    tables::Tables,
    trace, transitions,
};
use crate::{
    config::model::{Config, Service},
    health::checker::{Checker, HealthEvent},
    proxy::Proxies,
};

/// What a controller starts with.
pub struct Start {
    /// The configuration file, absolute: read again at a reload.
    pub file: PathBuf,
    /// What it says.
    pub config: Config,
    /// The tables.
    pub datapath: Box<dyn Datapath>,
    /// Where the tables come from.
    pub origin: Origin,
    /// Checks the backends.
    pub checker: Arc<Checker>,
    /// Handle the services in the mode `mqtt`.
    pub proxies: Arc<Proxies>,
    /// The name of this machine.
    pub host: String,
    /// The clock of the data plane: the current tick.
    pub clock: fn() -> u32,
}

impl std::fmt::Debug for Start {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Start").field("file", &self.file).finish_non_exhaustive()
    }
}

/// Where the tables come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// They were just made, and hold nothing.
    Fresh,
    /// They were pinned by an earlier controller, and may carry connections.
    TakenOver,
}

/// See the module.
#[derive(Debug)]
pub struct Controller {
    pub(super) file: PathBuf,
    pub(super) config: Config,
    pub(super) overlay: Overlay,
    /// The seed made at the first start, where the configuration names none.
    made_seed: Option<Seed>,
    pub(super) applied: Applied,
    pub(super) health: Health,
    pub(super) checks: Checks,
    pub(super) proxies: Arc<Proxies>,
    pub(super) counts: Counts,
    state: StateFile,
    clock: fn() -> u32,
    pub(super) started: Instant,
    pub(super) config_file: ConfigFileReport,
    /// Whether the rings lag behind the health checks, because an edit failed.
    behind: bool,
    pub(super) ejections: ejections::ByService,
    pub(super) trace: Option<trace::Running>,
    /// How many traces there were.
    pub(super) traces: u64,
}

impl Controller {
    /// Takes the tables over, or fills them, so that they are as the configuration and the changes
    /// made by command say.
    pub fn start(start: Start) -> Result<Self, ChangeError> {
        let state = StateFile::open(&start.config.state_dir)?;
        let record = match start.origin {
            Origin::Fresh => {
                // What was announced was announced for tables that are gone.
                state.withdraw()?;
                state.load()?.unwrap_or_default()
            }
            Origin::TakenOver => state.load_unfinished()?.ok_or_else(|| {
                ChangeError::NoRecord(start.config.state_dir.display().to_string())
            })?,
        };
        let (tables, health) = match start.origin {
            Origin::Fresh => {
                (Tables { next: record.tables.next_ids(), ..Tables::default() }, Health::default())
            }
            Origin::TakenOver => {
                let (mut tables, health) = record.tables.restore((start.clock)());
                tables.lists = start.datapath.lists()?;
                transitions::read_back(&mut tables, &*start.datapath, (start.clock)())?;
                (tables, health)
            }
        };
        let mut made_seed = record.seed.as_deref().and_then(seed_from_text);
        if start.config.seed.is_none() && made_seed.is_none() {
            made_seed = Some(random_seed());
        }
        if !record.changes.is_empty() {
            tracing::info!("changes made by command are kept; `mqlb reload` drops them");
        }
        let mut controller = Self {
            file: start.file,
            config: start.config.clone(),
            overlay: Overlay::default(),
            made_seed,
            applied: Applied::new(start.datapath, tables, Trust::Rewrite),
            health,
            checks: Checks::new(start.checker, start.host),
            proxies: start.proxies,
            counts: Counts::default(),
            state,
            clock: start.clock,
            started: Instant::now(),
            config_file: ConfigFileReport::default(),
            behind: false,
            ejections: ejections::ByService::default(),
            trace: None,
            traces: 0,
        };
        controller.change(start.config, record.changes, true)?;
        if start.origin == Origin::Fresh {
            controller.health.expect(controller.applied.tables().backends.keys().copied());
        }
        controller.note_read(true);
        Ok(controller)
    }

    /// The configuration that was applied last.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Makes the tables as `config` with the changes of `overlay` says, or leaves everything as it
    /// is. `reread` is whether files that health checks need are read again.
    ///
    /// Returns a warning if the change was made, but could not be recorded.
    pub(super) fn change(
        &mut self,
        config: Config,
        overlay: Overlay,
        reread: bool,
    ) -> Result<Option<String>, ChangeError> {
        let began = Instant::now();
        if config.seed.is_none() && self.made_seed.is_none() {
            // The file named a seed and does so no more: nothing shall move for that.
            self.made_seed = self.config.seed.as_ref().map(|seed| *seed.expose());
        }
        let ready = self.checks.prepare(&effective(&config, &overlay), reread)?;
        let proxied = self.proxies.prepare(&proxied::specs(&config), reread)?;
        let target = self.target(&config, &overlay)?;
        if !target.has_numbers_of(self.applied.tables()) {
            self.state.announce(&self.record(&overlay, &target))?;
        }
        match self.applied.change(&target, self.now()) {
            Ok(edits) => {
                let took_us = began.elapsed().as_micros();
                tracing::info!(edits, took_us, "the tables are as configured");
            }
            Err(error) => {
                if error.restored {
                    self.state.withdraw()?;
                }
                return Err(error.into());
            }
        }
        self.config = config;
        self.overlay = overlay;
        self.behind = false;
        self.checks.begin(ready, self.applied.tables(), &self.health);
        self.proxies.begin(proxied, self.snapshots());
        self.clean();
        Ok(self.commit())
    }

    /// The tables that `config` and `overlay` ask for.
    pub(super) fn target(&self, config: &Config, overlay: &Overlay) -> Result<Tables, ChangeError> {
        let desired = Desired::new(config, overlay, self.seed(config));
        Ok(layout::tables(self.applied.tables(), &desired, &self.health, self.now())?)
    }

    pub(super) fn seed(&self, config: &Config) -> Seed {
        // One of the two is always there: `start` and `change` see to it.
        let configured = config.seed.as_ref().map(|seed| *seed.expose());
        configured.or(self.made_seed).unwrap_or(Seed(0, 0))
    }

    /// Notes that the configuration file was read just now, and whether it was accepted.
    pub(super) fn note_read(&mut self, accepted: bool) {
        self.config_file.last_read_succeeded = accepted;
        if accepted {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            self.config_file.accepted_at_s = now.unwrap_or_default().as_secs();
        }
    }

    /// Takes the findings of the health checks into account.
    pub fn note_health(&mut self, events: &[HealthEvent]) {
        let now = self.now();
        for event in events {
            let HealthEvent { backend, up, reason } = event;
            // The backend may have been removed while the news was under way.
            if self.applied.tables().backends.contains_key(backend) {
                let name = self.name_of(*backend);
                let state = if *up { "up" } else { "down" };
                tracing::info!(backend = name, state, reason, "health changed");
                self.behind |= self.health.note(*backend, *up, now);
            }
        }
        self.catch_up();
    }

    /// What has to be done once a second.
    pub fn tick(&mut self) {
        self.behind |= self.has_dead();
        self.behind |= self.judge();
        self.catch_up();
        self.clean();
        self.warm();
        self.end_overdue_trace();
        let now = self.now();
        match self.counts.second(&mut self.applied, now) {
            Ok(Some(occupied)) => self.move_on(&occupied),
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "idle connections could not be collected"),
        }
    }

    /// The current tick.
    pub(super) fn now(&self) -> u32 {
        (self.clock)()
    }

    fn catch_up(&mut self) {
        if !self.behind {
            return;
        }
        let changed = match self.target(&self.config, &self.overlay) {
            // Backends that were down for too long have new numbers, which others need to know.
            Ok(target) if !target.has_numbers_of(self.applied.tables()) => {
                self.change(self.config.clone(), self.overlay.clone(), false).map(drop)
            }
            Ok(target) => {
                let changed = self.applied.change(&target, self.now());
                changed.map(|_| drop(self.commit())).map_err(ChangeError::from)
            }
            Err(error) => Err(error),
        };
        match changed {
            Ok(()) => {
                self.behind = false;
                self.publish();
            }
            Err(error) => tracing::error!(%error, "the rings lag behind the health checks"),
        }
    }

    /// Whether some backend has been down for so long that its connections are to be given up.
    fn has_dead(&self) -> bool {
        if !self.health.is_any_down() {
            return false;
        }
        let desired = self.desired();
        let tables = self.applied.tables();
        let serving = tables.serving();
        let dead = desired.services.iter().flat_map(|service| {
            let id = tables.services.get(&service.key).map(|known| known.id);
            let number = |at| serving.get(&(id?, at)).copied();
            layout::dead(service, &self.health, self.now(), number)
        });
        let mut dead = dead.peekable();
        let any = dead.peek().is_some();
        for id in dead {
            let backend = self.name_of(id);
            tracing::warn!(backend, "down for too long: its connections are given up");
        }
        any
    }

    /// Gives backends that came up lately more of their rate.
    fn warm(&mut self) {
        if !self.health.is_any_new() {
            return;
        }
        let (desired, now) = (self.desired(), self.now());
        let mut target = self.applied.tables().clone();
        admission::warm(&mut target, &desired, &self.health, now);
        match self.applied.change(&target, now) {
            Ok(_) => {
                let slowest = desired.services.iter().map(|service| service.slow_start_ticks);
                self.health.forget_older(slowest.max().unwrap_or_default(), now);
            }
            Err(error) => tracing::error!(%error, "a slow start could not go on"),
        }
    }

    /// Purges what has been removed. What fails is tried again at the next tick.
    fn clean(&mut self) {
        let clean = self.applied.tables().without_remains(self.now());
        if clean == *self.applied.tables() {
            return;
        }
        if let Err(error) = self.applied.change(&clean, self.now()) {
            tracing::error!(%error, "removed backends could not be purged");
        }
        let tables = self.applied.tables();
        self.health.retain(|id| tables.backends.contains_key(&id));
        self.counts.retain(|id| tables.backends.contains_key(&id));
    }

    fn commit(&self) -> Option<String> {
        let record = self.record(&self.overlay, self.applied.tables());
        let error = self.state.commit(&record).err()?;
        tracing::error!(%error, "the state could not be recorded");
        Some(format!("the change is in force, but a restart will not know it: {error}"))
    }

    fn record(&self, overlay: &Overlay, tables: &Tables) -> Record {
        Record {
            version: VERSION,
            seed: self.made_seed.map(seed_to_text),
            changes: overlay.clone(),
            tables: TablesRecord::new(tables, &self.health),
        }
    }

    /// The service called `name`, as in the file.
    pub(super) fn service(&self, name: &str) -> Result<&Service, ChangeError> {
        let found = self.config.service(name);
        Ok(found.ok_or_else(|| CommandError::NoService(name.to_owned()))?)
    }
}

fn random_seed() -> Seed {
    // The hash only has to be unknown to clients; the standard library's keys come from the
    // operating system's random numbers.
    let random = |salt: u64| std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), salt);
    Seed(random(0), random(1))
}

#[cfg(test)]
mod proxied_tests;
#[cfg(test)]
pub(super) mod stage;
#[cfg(test)]
mod storm_tests;
#[cfg(test)]
mod tests;

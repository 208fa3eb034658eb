//! Carries out a plan: all of it, or nothing.

use std::time::{Duration, Instant};

use super::{
    datapath::{Datapath, DatapathError},
    plan::{Trust, plan},
    tables::Tables,
};

/// Tables in the data plane, and the record of what they hold.
pub struct Applied {
    datapath: Box<dyn Datapath>,
    tables: Tables,
    trust: Trust,
    changes: Changes,
}

/// How the changes went so far. Those that needed no edit are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Those that were made.
    pub made: u64,
    /// Those that failed.
    pub failed: u64,
    /// How long the last one took that was made.
    pub last_took: Duration,
}

/// Why the tables were not changed.
#[derive(Debug, thiserror::Error)]
#[error("{edit}: {error}{}", if *.restored { "" } else { " (and the way back failed, too)" })]
pub struct ApplyError {
    /// What was to be done.
    pub edit: String,
    /// Why that failed.
    pub error: DatapathError,
    /// Whether everything is as it was before. If not, the next change writes all tables anew.
    pub restored: bool,
}

impl std::fmt::Debug for Applied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { tables, trust, .. } = self;
        f.debug_struct("Applied").field("tables", tables).field("trust", trust).finish()
    }
}

impl Applied {
    /// The tables of `datapath`, which hold `tables` as far as `trust` says.
    #[must_use]
    pub fn new(datapath: Box<dyn Datapath>, tables: Tables, trust: Trust) -> Self {
        Self { datapath, tables, trust, changes: Changes::default() }
    }

    /// What the tables hold.
    #[must_use]
    pub const fn tables(&self) -> &Tables {
        &self.tables
    }

    /// The tables themselves, to be read.
    #[must_use]
    pub fn datapath(&self) -> &dyn Datapath {
        &*self.datapath
    }

    /// The tables themselves, for what does not concern this record.
    pub fn datapath_mut(&mut self) -> &mut dyn Datapath {
        &mut *self.datapath
    }

    /// How the changes went so far.
    #[must_use]
    pub const fn changes(&self) -> Changes {
        self.changes
    }

    /// Makes the tables those of `target`, at tick `tick`. If that fails half-way, everything done
    /// is undone.
    ///
    /// Returns the number of edits.
    pub fn change(&mut self, target: &Tables, tick: u32) -> Result<usize, ApplyError> {
        let began = Instant::now();
        let result = self.make(target, tick);
        match result {
            Ok(0) => {}
            Ok(_) => {
                self.changes.made += 1;
                self.changes.last_took = began.elapsed();
            }
            Err(_) => self.changes.failed += 1,
        }
        result
    }

    fn make(&mut self, target: &Tables, tick: u32) -> Result<usize, ApplyError> {
        let before = self.tables.clone();
        let edits = plan(&before, target, self.trust);
        if let Err(error) = self.datapath.prepare(&edits) {
            return Err(ApplyError { edit: "prepare the edits".to_owned(), error, restored: true });
        }
        for edit in &edits {
            if let Err(error) = self.datapath.apply(edit) {
                // It may be made in part: the way back, or the next change, undoes it as if it were.
                self.tables.note(edit, target);
                let back = before.reached_from(&self.tables, tick);
                let restored = self.trust == Trust::Exact && self.go_back(&back);
                return Err(ApplyError { edit: edit.to_string(), error, restored });
            }
            tracing::debug!(%edit, "done");
            self.tables.note(edit, target);
        }
        self.tables.clone_from(target);
        self.trust = Trust::Exact;
        Ok(edits.len())
    }

    fn go_back(&mut self, before: &Tables) -> bool {
        for edit in plan(&self.tables, before, Trust::Exact) {
            if let Err(error) = self.datapath.apply(&edit) {
                tracing::error!(%edit, %error, "a failed change could not be undone");
                self.trust = Trust::Rewrite;
                return false;
            }
            self.tables.note(&edit, before);
        }
        self.tables.clone_from(before);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use lb_common::{addr::Addr, admission::Admission, service::ServiceKey, settings::Settings};

    use super::*;
    use crate::config::model::LoadLimits;
    use crate::control::{
        datapath::Edit,
        desired::{Desired, Endpoint},
        layout,
        members::Health,
        memory::Memory,
    };

    fn target() -> Tables {
        let key = ServiceKey::tcp(Addr::v4([192, 0, 2, 1]), [7, 91]);
        let backend = super::super::desired::DesiredBackend {
            name: "b".parse().unwrap(),
            endpoint: Endpoint { address: Addr::v4([10, 0, 0, 1]), port: 1883 },
            weight: 1,
            drained: false,
            limits: LoadLimits { max_new_per_second: Some(5), ..LoadLimits::default() },
        };
        let service = super::super::desired::DesiredService {
            name: "s".parse().unwrap(),
            key,
            idle_ticks: 1,
            mode: 0,
            flags: 0,
            affinity: lb_common::affinity::Affinity::CONNECTION,
            rates: Admission::default(),
            listed: vec![("198.51.100.0/24".parse().unwrap(), true)],
            slow_start_ticks: 0,
            checked: false,
            all_down: crate::config::model::AllDown::Refuse,
            together_ticks: 0,
            dead_ticks: None,
            rebase_ticks: 0,
            backends: vec![backend],
        };
        let desired = Desired {
            settings: Settings { ports: 10, sources_v4: 1, ..Settings::default() },
            sources: vec![Addr::v4([10, 0, 0, 2])],
            listed: vec![("198.51.100.7/32".parse().unwrap(), false)],
            max_backends: 10,
            services: vec![service],
        };
        layout::tables(&Tables::default(), &desired, &Health::default(), 0).unwrap()
    }

    fn failing(edits: std::ops::Range<usize>) -> Applied {
        let memory = Memory { failing: edits, ..Memory::default() };
        Applied::new(Box::new(memory), Tables::default(), Trust::Exact)
    }

    #[test]
    fn a_change_that_fails_is_undone_and_can_be_tried_again() {
        let edits = plan(&Tables::default(), &target(), Trust::Exact);
        for at in 0..edits.len() {
            let mut applied = failing(at..at + 1);
            let error = applied.change(&target(), 0).unwrap_err();
            assert!(error.restored);
            assert_eq!(error.edit, edits[at].to_string());
            assert_eq!(applied.tables(), &Tables::default());
            assert_eq!(applied.change(&target(), 0).unwrap(), edits.len());
        }
    }

    #[test]
    fn an_edit_that_fails_half_made_is_undone() {
        for (from, to) in [(Tables::default(), target()), (target(), Tables::default())] {
            let edits = plan(&from, &to, Trust::Exact);
            for at in 0..edits.len() {
                let memory = Arc::new(Mutex::new(Memory::default()));
                let datapath = Box::new(Arc::clone(&memory));
                let mut applied = Applied::new(datapath, Tables::default(), Trust::Exact);
                applied.change(&from, 0).unwrap();
                let before = {
                    let mut memory = memory.lock().unwrap();
                    memory.failing = memory.edits + at..memory.edits + at + 1;
                    memory.fails_half_made = true;
                    memory.clone()
                };
                let error = applied.change(&to, 0).unwrap_err();
                assert!(error.restored, "{error}");
                let after = memory.lock().unwrap();
                assert_eq!(after.services, before.services, "{error}");
                assert_eq!(after.by_id, before.by_id, "{error}");
                assert_eq!(after.owners, before.owners, "{error}");
                assert_eq!(after.backends, before.backends, "{error}");
                assert_eq!(after.peers, before.peers, "{error}");
            }
        }
    }

    #[test]
    fn after_a_change_that_could_not_be_undone_everything_is_written_anew() {
        let edits = plan(&Tables::default(), &target(), Trust::Exact);
        let service = edits.iter().position(|edit| matches!(edit, Edit::PutService(_))).unwrap();
        let mut applied = failing(service..service + 2);
        assert!(!applied.change(&target(), 0).unwrap_err().restored);
        assert_eq!(applied.change(&target(), 0).unwrap(), edits.len());
        assert_eq!(applied.tables(), &target());
    }

    #[test]
    fn changes_are_counted_unless_there_was_nothing_to_do() {
        let mut applied = failing(0..1);
        assert!(applied.change(&target(), 0).is_err());
        for _ in 0..2 {
            applied.change(&target(), 0).unwrap();
        }
        let changes = applied.changes();
        assert_eq!((changes.made, changes.failed), (1, 1));
        assert!(changes.last_took > Duration::ZERO);
    }
}

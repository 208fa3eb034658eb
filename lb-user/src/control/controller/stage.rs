//! What tests of the controller begin with: a configuration in a directory, tables in memory.

use std::{
    fs,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use super::*;
use crate::control::memory::Memory;

/// Tables that the test looks into, too.
pub type Shared = Arc<Mutex<Memory>>;

/// The clock of all tests that do not tell the time to the tick.
pub static TICK: AtomicU32 = AtomicU32::new(1000);

/// A configuration with these services.
pub fn text(dir: &Path, service: &str) -> String {
    format!(
        "interfaces: [{{ name: eth0 }}]
nat: {{ addresses: [10.0.0.2], ports: 15000-15999 }}
state_dir: {}
services:
{service}",
        dir.join("state").display()
    )
}

/// Writes it where [`start`] reads it.
pub fn write(dir: &Path, service: &str) {
    fs::write(dir.join("mqlb.yaml"), text(dir, service)).unwrap();
}

pub fn start(dir: &Path, tables: &Shared, origin: Origin) -> Result<Controller, ChangeError> {
    start_with_clock(dir, tables, origin, || TICK.load(Ordering::Relaxed))
}

/// Tests that tell the time to the tick have a clock of their own.
pub fn start_with_clock(
    dir: &Path,
    tables: &Shared,
    origin: Origin,
    clock: fn() -> u32,
) -> Result<Controller, ChangeError> {
    let (events, _) = tokio::sync::mpsc::channel(10);
    Controller::start(Start {
        file: dir.join("mqlb.yaml"),
        config: crate::config::load(&dir.join("mqlb.yaml")).unwrap(),
        datapath: Box::new(Arc::clone(tables)),
        origin,
        checker: Arc::new(Checker::new(events)),
        proxies: Arc::default(),
        host: "lb".into(),
        clock,
    })
}

pub fn fresh(dir: &Path) -> (Controller, Shared) {
    let tables = Shared::default();
    (start(dir, &tables, Origin::Fresh).unwrap(), tables)
}

//! A table of flows that packets and the collection share, with a step before every operation.

use std::{
    collections::BTreeMap,
    ops::Deref,
    sync::{Arc, Mutex},
};

use lb_common::flow::{Flow, FlowCell, FlowKey};
use lb_ebpf::tables::InsertError;

use super::schedule::step;

/// See the module.
pub(super) struct Table {
    room: usize,
    entries: Mutex<BTreeMap<FlowKey, Arc<Entry>>>,
}

/// An entry, with the number that whoever inserted it gave it.
#[derive(Debug)]
pub(super) struct Entry {
    cell: FlowCell,
    pub number: usize,
}

#[derive(Clone)]
pub(super) struct FlowRef(Arc<Entry>);

impl Deref for FlowRef {
    type Target = FlowCell;

    fn deref(&self) -> &FlowCell {
        &self.0.cell
    }
}

impl Entry {
    pub(super) fn flow(&self) -> Flow {
        self.cell.load()
    }
}

impl Table {
    pub(super) const fn new(room: usize) -> Self {
        Self { room, entries: Mutex::new(BTreeMap::new()) }
    }

    pub(super) fn find(&self, key: &FlowKey) -> Option<FlowRef> {
        step();
        self.entries.lock().unwrap().get(key).cloned().map(FlowRef)
    }

    /// Adds an entry; asks for its number if there is room.
    pub(super) fn insert(
        &self,
        key: &FlowKey,
        flow: Flow,
        number: impl FnOnce() -> usize,
    ) -> Result<(), InsertError> {
        step();
        let mut entries = self.entries.lock().unwrap();
        if entries.contains_key(key) {
            return Err(InsertError::Exists);
        }
        if entries.len() >= self.room {
            return Err(InsertError::Full);
        }
        entries.insert(*key, Arc::new(Entry { cell: flow.into(), number: number() }));
        Ok(())
    }

    pub(super) fn remove(&self, key: &FlowKey) -> Option<Arc<Entry>> {
        step();
        self.entries.lock().unwrap().remove(key)
    }

    /// The entries as they are: no step.
    pub(super) fn list(&self) -> Vec<(FlowKey, Arc<Entry>)> {
        self.entries.lock().unwrap().iter().map(|(key, entry)| (*key, Arc::clone(entry))).collect()
    }
}

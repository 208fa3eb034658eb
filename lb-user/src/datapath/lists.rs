//! The lists of sources: a trie, which has no batches of the shape that other tables have.

use std::collections::BTreeMap;

use lb_common::{
    admission::{ListKey, Listed},
    layout::maps,
};

use super::{StartError, pins::Pins, table::Table};
use crate::control::datapath::DatapathError;

/// What the lists say, by prefix.
#[derive(Debug)]
pub(super) struct Lists(Table<ListKey, Listed>);

impl Lists {
    pub(super) fn open(pins: &Pins) -> Result<Self, StartError> {
        Table::open(pins, maps::LISTS).map(Self)
    }

    pub(super) fn put(&self, key: &ListKey, listed: Listed) -> Result<(), DatapathError> {
        self.0.put(key, &listed)
    }

    pub(super) fn remove(&self, key: &ListKey) -> Result<(), DatapathError> {
        self.0.remove(key)
    }

    /// All of them. Nobody changes them meanwhile: there is one controller.
    pub(super) fn read(&self) -> Result<BTreeMap<ListKey, Listed>, DatapathError> {
        let mut lists = BTreeMap::new();
        let mut key = self.0.key_after(None)?;
        while let Some(this) = key {
            // The longest prefix that contains this one is itself.
            lists.extend(self.0.get(&this)?.map(|listed| (this, listed)));
            key = self.0.key_after(Some(&this))?;
        }
        Ok(lists)
    }
}

//! Waiting for the packets under way: those that may have read what an edit has changed since.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use aya_obj::generated::bpf_map_type::{BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_ARRAY_OF_MAPS};

use super::sys::{self, Shape};
use crate::control::datapath::DatapathError;

/// For what a wait is due, and what it is done with.
///
/// After a map of maps was changed, the kernel does not return before no BPF program runs that
/// could have seen what was in it before. It does that by an RCU grace period, which ends when
/// every program that had begun is through, whatever map that program read: so one change of a
/// small map of our own, which no program uses, waits for all packets under way. `membarrier`
/// would do as much on most machines, but not on those with `nohz_full`, and it promises nothing
/// about packets.
#[derive(Debug)]
pub(super) struct Settling {
    outer: OwnedFd,
    inner: OwnedFd,
    is_due: [bool; 2],
}

/// Something that packets under way may not have seen yet. Several of one kind need one wait.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    /// A backend refuses its flows. Before they are purged: such a packet may add one.
    Refusal,
    /// Flows of a backend were purged. Before its number is free: such a packet may have read it.
    Purge,
}

impl Settling {
    /// Begins with waits that are due: an earlier controller may have ended just before one.
    pub(super) fn new() -> Result<Self, DatapathError> {
        const INNER: Shape = Shape {
            kind: BPF_MAP_TYPE_ARRAY as u32,
            key_bytes: size_of::<u32>() as u32,
            value_bytes: size_of::<u32>() as u32,
            entries: 1,
            flags: 0,
        };
        const OUTER: Shape = Shape { kind: BPF_MAP_TYPE_ARRAY_OF_MAPS as u32, ..INNER };
        let make = |name, shape, inner| {
            sys::create_map(name, shape, inner).map_err(|source| error("make it", source))
        };
        let inner = make("SETTLING.inner", &INNER, None)?;
        let outer = make("SETTLING", &OUTER, Some(inner.as_fd()))?;
        Ok(Self { outer, inner, is_due: [true; 2] })
    }

    /// Notes a change.
    pub(super) const fn begin(&mut self, change: Change) {
        self.is_due[change as usize] = true;
    }

    /// Waits if that is due: once for all changes of this kind since the last wait. Some 10 ms.
    pub(super) fn wait_once(&mut self, change: Change) -> Result<(), DatapathError> {
        if self.is_due[change as usize] {
            self.wait()?;
            self.is_due[change as usize] = false;
        }
        Ok(())
    }

    /// Waits until every packet is through that is under way now.
    pub(super) fn wait(&self) -> Result<(), DatapathError> {
        let (only, inner) = (0u32, sys::raw(self.inner.as_fd()));
        // SAFETY: keys and values of the map are four bytes each.
        unsafe { sys::update(self.outer.as_fd(), &raw const only, &raw const inner) }
            .map_err(|source| error("wait for the packets under way", source))
    }
}

fn error(operation: &str, source: io::Error) -> DatapathError {
    DatapathError::Map { map: "SETTLING", operation: operation.to_owned(), source }
}

//! What the program of `mqlb trace` tells of the packets that it is fed with.

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, PerCpuArray, RingBuf};
use lb_common::trace::{EndFilter, MOST_CAUGHT, TraceCounts, TraceEvent, TraceFilter, maps};
use lb_ebpf::host::Bytes;

use super::Kernel;

/// Every packet, whole.
pub const EVERYTHING: TraceFilter = TraceFilter {
    session: 7,
    until_ns: u64::MAX,
    verdicts: TraceFilter::ALL_VERDICTS,
    most_caught: MOST_CAUGHT,
    every: 1,
    ends: [EndFilter { mask: [0; 2], address: [0; 2], port: [0; 2], pad: [0; 6] }; 3],
};

/// A packet that was told of.
#[derive(Debug, PartialEq, Eq)]
pub struct Traced {
    /// What became of it.
    pub event: TraceEvent,
    /// What was caught of it as it came.
    pub came: Bytes,
    /// What was caught of it as it goes on.
    pub goes: Bytes,
}

impl Kernel {
    /// Tells the program which packets it is to tell of.
    pub fn trace(&mut self, filter: &TraceFilter) -> Result<()> {
        let mut filters: Array<_, TraceFilter> = self.map(maps::FILTER)?.try_into()?;
        Ok(filters.set(0, filter, 0)?)
    }

    /// What it has told since it was last asked.
    pub fn traced(&mut self) -> Result<Vec<Traced>> {
        let mut ring: RingBuf<_> = self.map(maps::EVENTS)?.try_into()?;
        let mut traced = Vec::new();
        while let Some(item) = ring.next() {
            let (event, bytes) = item.split_at_checked(size_of::<TraceEvent>()).context("short")?;
            // SAFETY: as many bytes as an event has, and any bytes are one.
            let event = unsafe { event.as_ptr().cast::<TraceEvent>().read_unaligned() };
            let (came, goes) =
                bytes.split_at_checked(event.came_caught as usize).context("short")?;
            ensure!(goes.len() == event.goes_caught as usize, "{event:?}: {} bytes", goes.len());
            traced.push(Traced { event, came: Bytes(came.into()), goes: Bytes(goes.into()) });
        }
        Ok(traced)
    }

    /// How many packets it would have told of, had there been room.
    pub fn untold(&mut self) -> Result<u64> {
        let counts: PerCpuArray<_, TraceCounts> = self.map(maps::COUNTS)?.try_into()?;
        Ok(counts.get(&0, 0)?.iter().map(|counts| counts.lost).sum())
    }
}

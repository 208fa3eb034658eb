//! Collects idle flows, and counts connections.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use lb_common::counters::BackendCounters;

use super::{
    apply::Applied,
    datapath::DatapathError,
    direct::DirectRings,
    report::{Connacks, Traffic},
};
use crate::ring::transition::SlotSet;

/// Seconds from one sweep of the connection table to the next, if the table is not very large. What
/// waits for it can wait longer: memory, source ports, and slots that are in transition.
const SWEEP_EVERY_S: u32 = 10;
/// How many times as long as a sweep took the next one is put off: commands wait for a sweep, and one
/// of ten million connections takes seconds.
const SWEEP_REST: u32 = 10;
/// The longest rest, in seconds: room in the table, source ports, and SYNs of clients that come back to
/// an entry whose time is over wait for it.
const LONGEST_REST_S: u64 = 30;

/// What the sweeps found.
#[derive(Debug, Default)]
pub struct Counts {
    /// Seconds until the next sweep of the connection table.
    rest_s: u32,
    /// Entries in the connection table at the last sweep.
    pub flows: u64,
    /// Entries in the pending table at the last sweep.
    pub pending: u64,
    /// Source ports in use at the last sweep, by peer.
    pub ports: BTreeMap<u32, u64>,
    /// How long the last sweep of the connection table took.
    pub last_sweep: Duration,
    /// By backend: what is open beyond `opened - closed` of the counters. Those connections were
    /// opened before the counters began, or (negative) were idle and have been collected.
    corrections: BTreeMap<u32, i64>,
}

impl Counts {
    /// What has to be done once a second, at tick `now`: forget handshakes that failed and, more
    /// rarely, idle flows.
    ///
    /// Returns which slots are occupied, by service whose brokers answer directly, if it looked.
    pub fn second(
        &mut self,
        applied: &mut Applied,
        now: u32,
    ) -> Result<Option<BTreeMap<u32, SlotSet>>, DatapathError> {
        if self.rest_s > 0 {
            self.rest_s -= 1;
            self.pending = applied.datapath_mut().sweep_pending(now)?;
            return Ok(None);
        }
        self.rest_s = rest_s(Duration::ZERO);
        let began = Instant::now();
        let direct = DirectRings::of(applied.tables());
        let report = applied.datapath_mut().sweep(now, &direct)?;
        self.last_sweep = began.elapsed();
        self.rest_s = rest_s(self.last_sweep);
        self.flows = report.flows;
        self.pending = report.pending;
        self.ports = report.ports;
        let ids: Vec<u32> = applied.tables().backends.keys().copied().collect();
        let counters = applied.datapath().backend_counters(&ids)?;
        for (id, counters) in ids.into_iter().zip(counters) {
            let open = report.open.get(&id).copied().unwrap_or_default();
            self.corrections.insert(id, open.cast_signed().wrapping_sub(balance(&counters)));
        }
        let expired: u64 = report.expired.values().sum();
        tracing::debug!(flows = report.flows, pending = report.pending, expired, "swept");
        Ok(Some(report.occupied))
    }

    /// What a backend carries, from its counters.
    #[must_use]
    pub fn traffic(&self, id: u32, counters: &BackendCounters) -> Traffic {
        let correction = self.corrections.get(&id).copied().unwrap_or_default();
        Traffic {
            // Between reading and counting a connection may have come or gone: never below none.
            open: balance(counters).wrapping_add(correction).max(0).cast_unsigned(),
            attempted: counters.attempted,
            opened: counters.opened,
            closed: counters.closed,
            refused: counters.refused,
            paced: counters.paced,
            full: counters.full,
            connacks: Connacks {
                accepted: counters.connack_accepted,
                refused: counters.connack_refused,
                unavailable: counters.connack_unavailable,
                missing: counters.connack_missing,
            },
            packets_to_backend: counters.packets_to_backend,
            bytes_to_backend: counters.bytes_to_backend,
            packets_to_client: counters.packets_to_client,
            bytes_to_client: counters.bytes_to_client,
        }
    }

    /// Forgets all backends but those for which `keep` holds.
    pub fn retain(&mut self, keep: impl Fn(u32) -> bool) {
        self.corrections.retain(|id, _| keep(*id));
    }
}

/// Full seconds without a sweep after one that `took` so long.
fn rest_s(took: Duration) -> u32 {
    let rest = took.saturating_mul(SWEEP_REST).as_secs().min(LONGEST_REST_S);
    u32::try_from(rest).unwrap_or(u32::MAX).max(SWEEP_EVERY_S - 1)
}

/// Connections that the counters know to be open.
const fn balance(counters: &BackendCounters) -> i64 {
    counters.opened.wrapping_sub(counters.closed).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sweeps_are_ten_seconds_apart_and_up_to_thirty_where_they_take_long() {
        assert_eq!(rest_s(Duration::ZERO), 9);
        assert_eq!(rest_s(Duration::from_millis(900)), 9);
        assert_eq!(rest_s(Duration::from_millis(2100)), 21);
        assert_eq!(rest_s(Duration::MAX), 30);
    }
}

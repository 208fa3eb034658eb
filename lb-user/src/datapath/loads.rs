//! How many connections backends have open, as the packets count them: so that one that has enough
//! gets no more, whether a controller runs or not.

use std::collections::BTreeMap;

use lb_common::{
    backend::{Backend, backend_flags::DIRECT},
    layout::maps,
    load::Load,
};

use super::{StartError, mapped::Mapped, pins::Pins, sys, table::Table};
use crate::control::datapath::SweepReport;

/// What each backend has taken.
#[derive(Debug)]
pub(super) struct Loads(Mapped<Load>);

impl Loads {
    pub(super) fn open(pins: &Pins) -> Result<Self, StartError> {
        let path = pins.map(maps::LOADS);
        let failed = |source| StartError::file("map", &path, source);
        let table: Table<u32, [u64; 2]> = Table::open(pins, maps::LOADS)?;
        let entries = sys::shape(table.fd()).map_err(failed)?.entries;
        Mapped::new(table.into_fd(), entries as usize).map(Self).map_err(failed)
    }

    /// Forgets what backend `id` has taken.
    pub(super) fn clear(&self, id: u32) {
        if let Some(load) = self.0.get(id as usize) {
            load.clear();
        }
    }

    /// What is counted as open for those of `backends` whose connections are all known.
    pub(super) fn counted(&self, backends: &BTreeMap<u32, Backend>) -> BTreeMap<u32, i64> {
        let tracked = backends.iter().filter(|(_, backend)| backend.flags & DIRECT == 0);
        tracked.filter_map(|(id, _)| Some((*id, self.0.get(*id as usize)?.balance()))).collect()
    }

    /// Takes off what a sweep has collected, and corrects what was counted, which was `before` when
    /// the sweep began, by what the sweep has found.
    pub(super) fn correct(&self, before: &BTreeMap<u32, i64>, report: &SweepReport) {
        for (id, before) in before {
            let Some(load) = self.0.get(*id as usize) else { continue };
            let by = correction_of(*id, *before, load.balance(), report);
            if by != 0 {
                load.change(by);
            }
        }
    }
}

/// What is to be added to the count of backend `id`, which was `before` when the sweep of this report
/// began and is `after` now.
pub(super) fn correction_of(id: u32, before: i64, after: i64, report: &SweepReport) -> i64 {
    let of = |counts: &BTreeMap<u32, u64>| counts.get(&id).copied().unwrap_or_default();
    correction(before, after, of(&report.open), of(&report.expired))
}

/// What is to be added to a count that was `before` when a sweep began and is `after` now, if the
/// sweep collected `expired` connections and left `open`.
///
/// Connections that came or went meanwhile may have been seen or not: any number between the two is
/// explained by them.
fn correction(before: i64, after: i64, open: u64, expired: u64) -> i64 {
    let (open, expired) = (open.cast_signed(), expired.cast_signed());
    let [least, most] = [before.min(after), before.max(after)].map(|count| count - expired);
    open - open.clamp(least, most) - expired
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_collected_is_taken_off() {
        assert_eq!(correction(10, 10, 7, 3), -3);
        assert_eq!(correction(10, 10, 10, 0), 0);
    }

    #[test]
    fn connections_that_come_and_go_during_a_sweep_are_no_mistake() {
        for seen in 10..=15 {
            assert_eq!(correction(10, 15, seen, 0), 0);
            assert_eq!(correction(17, 12, seen, 2), -2);
        }
    }

    #[test]
    fn what_nothing_explains_is_corrected() {
        // A crash between the removal of entries and their subtraction.
        assert_eq!(correction(10, 10, 4, 0), -6);
        assert_eq!(correction(10, 12, 14, 0), 2);
        assert_eq!(correction(-3, -3, 0, 0), 3);
    }
}

//! A SYN on a slot in transition.

use lb_common::{
    backend::backend_flags,
    flow::{Flow, FlowCell},
    ring::NO_BACKEND,
    settings::Settings,
    verdict::Verdict,
};

use super::{Placed, by_default, give, is_opening_over, is_over, taking, to, way};
use crate::{
    Forward, refusal,
    tables::{Event, InsertError, Tables},
};

/// A new connection goes to `current` and is noted; whatever is known already stays where it is.
#[inline(always)]
pub(super) fn decide<T: Tables>(
    placed: &Placed<'_>,
    settings: &Settings,
    tables: &T,
) -> Result<Forward, Verdict> {
    let now = tables.now();
    if let Some(cell) = tables.flow(&placed.key) {
        let flow = cell.load();
        if is_over(&flow, now) {
            // Its entry is about to be collected, by its key: another one under the same key would
            // be hit. The SYN comes again.
            return Err(Verdict::Contended);
        }
        // A SYN that is repeated or forged must not move a live flow.
        return to(placed, flow.backend(), tables);
    }
    if let Some(cell) = tables.pending(&placed.key) {
        let opening = cell.load();
        let over = is_opening_over(&opening, settings, placed.service, now);
        if !over && accepts(opening.backend(), tables) {
            note(placed, &cell, &opening, now);
            return to(placed, opening.backend(), tables);
        }
        tables.remove_pending(&placed.key);
    }
    let id = placed.slot.current();
    if id == NO_BACKEND {
        return Err(refusal::no_backend(placed.service));
    }
    // An older connection from the same port may have been learned: then the slot says nothing of
    // where the segments that follow will go.
    let otherwise = by_default(placed, now, tables);
    if id == otherwise {
        return give(placed, id, tables);
    }
    let backend = taking(placed, id, tables)?;
    match tables.insert_pending(&placed.key, Flow::opening(id, placed.segment.sequence, now)) {
        Ok(()) => {
            tables.count(id, Event::Attempted);
            Ok(way(placed.segment, id, backend))
        }
        Err(InsertError::Exists) => {
            // Another CPU opened the same flow meanwhile: its choice stands.
            let cell = tables.pending(&placed.key).ok_or(Verdict::Contended)?;
            let opening = cell.load();
            note(placed, &cell, &opening, now);
            to(placed, opening.backend(), tables)
        }
        Err(InsertError::Full) => {
            let forward = give(placed, otherwise, tables)?;
            Ok(Forward { verdict: Verdict::ToBackendUntracked, ..forward })
        }
    }
}

/// Notes another SYN of a handshake. One that is completed ends in its time: kept alive by forged
/// SYNs, it would speak for a flow that nobody can learn.
#[inline(always)]
fn note(placed: &Placed<'_>, cell: &FlowCell, opening: &Flow, now: u32) {
    if !opening.is_promoted() {
        cell.note_syn(placed.segment.sequence, now);
    }
}

/// Whether a handshake that is under way may go on with this backend.
#[inline(always)]
fn accepts(id: u32, tables: &impl Tables) -> bool {
    tables.backend(id).is_some_and(|backend| backend.flags & backend_flags::ACCEPT != 0)
}

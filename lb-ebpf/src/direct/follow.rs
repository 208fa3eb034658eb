//! A segment, not a SYN, on a slot in transition.

use core::ops::Deref;

use lb_common::{
    flow::{Flow, FlowCell},
    ring::{NO_BACKEND, slot_flags},
    settings::Settings,
    verdict::Verdict,
};

use super::{Placed, forwards, is_opening_over, is_over, live, to};
use crate::{
    Forward,
    parse::tcp_flags,
    tables::{Event, InsertError, Tables},
};

/// How far the first segment of a client may lie behind its SYN.
const FIRST_DATA: u32 = 65_536;

/// A flow stays with the backend that a table names; one in no table is `base`'s.
#[inline(always)]
pub(super) fn decide<T: Tables>(
    placed: &Placed<'_>,
    settings: &Settings,
    tables: &T,
) -> Result<Forward, Verdict> {
    let now = tables.now();
    if let Some(id) = touched(tables.flow(&placed.key), now) {
        return to(placed, id, tables);
    }
    if let Some(cell) = tables.pending(&placed.key)
        && let Some(id) = handshake(placed, settings, &cell, now, tables)?
    {
        return to(placed, id, tables);
    }
    if let Some(id) = touched(tables.learned(&placed.key), now) {
        return to(placed, id, tables);
    }
    let base = placed.slot.base();
    let ends = placed.segment.has(tcp_flags::FIN | tcp_flags::RST);
    if placed.slot.has(slot_flags::LEARN) && !ends && base != NO_BACKEND {
        learn(placed, base, now, tables);
    }
    to(placed, base, tables)
}

/// The backend of the flow in an entry, which has been seen now; `None` if its time is over.
#[inline(always)]
fn touched(cell: Option<impl Deref<Target = FlowCell>>, now: u32) -> Option<u32> {
    let cell = cell?;
    let flow = cell.load();
    if is_over(&flow, now) {
        return None;
    }
    cell.touch(&flow, now);
    Some(flow.backend())
}

/// The backend of a handshake that this segment completes or has completed; `None` if it is of an
/// older connection, which a SYN does not move.
#[inline(always)]
fn handshake<T: Tables>(
    placed: &Placed<'_>,
    settings: &Settings,
    cell: &FlowCell,
    now: u32,
    tables: &T,
) -> Result<Option<u32>, Verdict> {
    let opening = cell.load();
    let over = is_opening_over(&opening, settings, placed.service, now);
    if over || !opening.is_promoted() && !opening.follows_syn(placed.segment.sequence, FIRST_DATA) {
        return Ok(None);
    }
    if opening.is_promoted() {
        // The other CPU had just promoted it.
        return Ok(Some(opening.backend()));
    }
    if !forwards(opening.backend(), tables) {
        // Its entries are being purged: another one would be left over.
        return Ok(Some(opening.backend()));
    }
    let flow = Flow::tracked(opening.backend(), now, placed.service.idle_ticks);
    // It stays for a while: another CPU may have missed the flow a moment ago.
    cell.note_syn(opening.idle_ticks, now);
    match tables.insert_flow(&placed.key, flow) {
        Ok(()) => {
            cell.promote();
            tables.count(opening.backend(), Event::Opened);
            Ok(Some(opening.backend()))
        }
        Err(InsertError::Exists) => {
            // One that is over is about to be collected; the segment comes again.
            let flow = live(tables.flow(&placed.key), now).ok_or(Verdict::Contended)?;
            Ok(Some(flow.backend()))
        }
        Err(InsertError::Full) => Err(Verdict::FlowsFull),
    }
}

/// Notes a flow as one of `base`'s. An entry in its way is of an older flow, or came just now from
/// another CPU: which one does not matter, the slot is only learned once more.
#[inline(always)]
fn learn(placed: &Placed<'_>, base: u32, now: u32, tables: &impl Tables) {
    let flow = Flow::tracked(base, now, placed.service.idle_ticks);
    if tables.insert_learned(&placed.key, flow).is_err() {
        tables.note_missed(placed.service.id, placed.number);
    }
}

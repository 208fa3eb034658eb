//! Fill-first.

use super::{Candidate, Choice, Why};

/// The first of `open` with fewer than `limit` connections.
pub(super) fn first_with_room(open: &[Candidate], limit: u32) -> Option<Choice> {
    let one = open.iter().find(|one| one.connections < limit)?;
    Some(Choice { id: one.id, why: Why::FirstWithRoom { connections: one.connections, limit } })
}

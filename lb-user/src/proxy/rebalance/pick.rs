//! Which connections leave first.

use std::collections::BTreeMap;

use super::{Assessment, Connection, Rules, Sessions};

/// The connections that leave in a second: those without a session first, and of these the longest
/// idle. The backends with the largest surplus give most.
pub(super) fn pick(
    assessment: &Assessment,
    connections: &[Connection],
    rules: &Rules,
) -> Vec<Connection> {
    let may_leave = |one: &&Connection| !one.session || rules.sessions == Sessions::Last;
    let mut candidates: BTreeMap<u32, Vec<Connection>> = BTreeMap::new();
    let surplus: BTreeMap<u32, u32> = assessment
        .backends
        .iter()
        .filter(|one| one.surplus > 0)
        .map(|one| (one.id, one.surplus))
        .collect();
    for one in connections.iter().filter(may_leave) {
        if surplus.contains_key(&one.backend) {
            candidates.entry(one.backend).or_default().push(*one);
        }
    }
    let offers: Vec<(u32, u32)> = candidates
        .iter()
        .map(|(id, all)| (*id, surplus[id].min(u32::try_from(all.len()).unwrap_or(u32::MAX))))
        .collect();
    let mut picked = Vec::new();
    for (id, quota) in quotas(offers, rules.moves_per_second.get()) {
        if let Some(all) = candidates.get_mut(&id) {
            picked.extend_from_slice(first(all, quota as usize));
        }
    }
    picked.sort_unstable_by_key(rank);
    picked
}

/// What each gives of `budget`: always the one with the most left gives next.
fn quotas(offers: Vec<(u32, u32)>, budget: u32) -> BTreeMap<u32, u32> {
    let mut left = offers;
    let mut quotas = BTreeMap::new();
    for _ in 0..budget {
        let Some((id, most)) = left.iter_mut().max_by_key(|(_, left)| *left) else { break };
        if *most == 0 {
            break;
        }
        *most -= 1;
        *quotas.entry(*id).or_default() += 1;
    }
    quotas
}

/// The first `count` of `all` by rank, in any order.
fn first(all: &mut [Connection], count: usize) -> &[Connection] {
    if count < all.len() {
        all.select_nth_unstable_by_key(count, rank);
    }
    &all[..count.min(all.len())]
}

fn rank(one: &Connection) -> (bool, std::cmp::Reverse<std::time::Duration>, u64) {
    (one.session, std::cmp::Reverse(one.idle), one.id)
}

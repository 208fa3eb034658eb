//! Fills the ring of a service: Maglev with weights.
//!
//! Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer" (NSDI 2016),
//! section 3.4: every member walks its own pseudo-random permutation of the slots, and the members
//! take turns claiming the next free one. Here a member's turns are spread evenly over the filling
//! in proportion to its weight, and their number is fixed beforehand, so that its share is exact to
//! one slot. The order of any two members' turns does not depend on the other members: that is
//! what keeps nearly all slots in place when one joins, leaves or changes its weight.

pub mod diff;
pub mod transition;

use lb_common::{
    addr::Addr,
    hash::{Seed, siphash13},
    ring::{Ring, SLOTS, Slot},
};

/// A backend that takes new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// Address of the broker. With `port` it decides which slots the member prefers, so that every
    /// balancer with the same members and seed builds the same ring, whatever its numbering.
    pub address: Addr,
    /// Port of the broker, host byte order.
    pub port: u16,
    /// Its share relative to the others, at least 1.
    pub weight: u32,
    /// The number that goes into its slots.
    pub id: u32,
}

/// The ring of `members`; empty slots throughout if there are none.
///
/// The order of `members` does not matter. Every member gets at least one slot, at most the
/// first [`SLOTS`] members (in the order of their addresses) are used.
#[must_use]
pub fn build(members: &[Member], seed: Seed) -> Box<Ring> {
    let members = sorted(members);
    let mut ring = empty();
    if members.is_empty() {
        return ring;
    }
    let mut walks: Vec<Walk> = members.iter().map(|m| Walk::new(m, seed)).collect();
    let mut free = Free::all();
    for turn in turns(&members) {
        let walk = &mut walks[turn as usize];
        let mut slot = walk.next();
        while !free.take(slot) {
            slot = walk.next();
        }
        ring[slot as usize] = walk.mark;
    }
    ring
}

/// A ring without members.
#[must_use]
pub fn empty() -> Box<Ring> {
    match vec![Slot::EMPTY; SLOTS].into_boxed_slice().try_into() {
        Ok(ring) => ring,
        Err(_) => unreachable!("the slice was made with this length"),
    }
}

/// Number of slots that each of `members` gets in [`build`], by id.
#[must_use]
pub fn slots(members: &[Member]) -> std::collections::BTreeMap<u32, u32> {
    let members = sorted(members);
    let quotas = quotas(&members);
    members.iter().map(|member| member.id).zip(quotas).collect()
}

fn sorted(members: &[Member]) -> Vec<Member> {
    let mut members = members.to_vec();
    // By octets, because the order of `Addr` is not the same on every machine.
    members.sort_unstable_by_key(|m| (m.address.octets(), m.port, m.weight, m.id));
    members.truncate(SLOTS);
    members
}

/// A member's permutation of the slots: every slot once, because their number is prime.
struct Walk {
    next: u32,
    skip: u32,
    mark: Slot,
}

impl Walk {
    fn new(member: &Member, seed: Seed) -> Self {
        let octets = member.address.octets();
        let (high, low) = octets.split_at(8);
        let word = |half: &[u8]| half.iter().fold(0, |word, octet| word << 8 | u64::from(*octet));
        let hash = siphash13::<3, 0>(seed, [word(high), word(low), u64::from(member.port)], 0);
        let scale = |half: u64, range: usize| ((half * range as u64) >> 32) as u32;
        Self {
            next: scale(hash >> 32, SLOTS),
            skip: 1 + scale(hash & 0xffff_ffff, SLOTS - 1),
            mark: Slot::stable(member.id),
        }
    }

    fn next(&mut self) -> u32 {
        let slot = self.next;
        let next = slot + self.skip;
        self.next = if next >= SLOTS as u32 { next - SLOTS as u32 } else { next };
        slot
    }
}

/// The slots that nobody has claimed: small enough to stay in the first-level cache.
struct Free([u64; SLOTS.div_ceil(64)]);

impl Free {
    const fn all() -> Self {
        Self([u64::MAX; SLOTS.div_ceil(64)])
    }

    /// Claims `slot`; whether it was free.
    fn take(&mut self, slot: u32) -> bool {
        let word = &mut self.0[slot as usize / 64];
        let bit = 1 << (slot % 64);
        let free = *word & bit != 0;
        *word &= !bit;
        free
    }
}

/// Whose turn it is, for every slot to be filled: indices of `members`.
///
/// Turn k of a member with share s comes at time (k + 1/2) / s. Sorted by counting, with as many
/// buckets as turns; members that share a bucket come in their order.
fn turns(members: &[Member]) -> Vec<u32> {
    let quotas = quotas(members);
    let total = total_weight(members);
    let times = |member: usize| {
        // Time in slots, 32 fractional bits: at most one division per member, none per turn.
        let step = ((u128::from(total) << 32) / u128::from(members[member].weight.max(1))) as u64;
        (0..quotas[member]).scan(step / 2, move |time, _| {
            let bucket = (*time >> 32).min(SLOTS as u64 - 1) as usize;
            *time += step;
            Some(bucket)
        })
    };
    let mut ends = vec![0u32; SLOTS + 1];
    for member in 0..members.len() {
        times(member).for_each(|bucket| ends[bucket + 1] += 1);
    }
    for bucket in 0..SLOTS {
        ends[bucket + 1] += ends[bucket];
    }
    let mut turns = vec![0; SLOTS];
    for member in 0..members.len() {
        for bucket in times(member) {
            turns[ends[bucket] as usize] = member as u32;
            ends[bucket] += 1;
        }
    }
    turns
}

/// Slots of each member: its exact share rounded down, at least 1; what is left over goes to those
/// that lost most by rounding (a share below 1 was rounded up, and has lost nothing). If minimum shares overdrew the ring, the largest pay.
fn quotas(members: &[Member]) -> Vec<u32> {
    let total = total_weight(members).max(1);
    let scaled = |member: &Member| u64::from(member.weight.max(1)) * SLOTS as u64;
    let mut quotas: Vec<u32> =
        members.iter().map(|m| ((scaled(m) / total) as u32).max(1)).collect();
    let mut by_loss: Vec<usize> =
        (0..members.len()).filter(|&i| scaled(&members[i]) >= total).collect();
    by_loss.sort_by_key(|&i| std::cmp::Reverse(scaled(&members[i]) % total));
    let given: usize = quotas.iter().map(|quota| *quota as usize).sum();
    for &member in by_loss.iter().cycle().take(SLOTS.saturating_sub(given)) {
        quotas[member] += 1;
    }
    let mut excess = given.saturating_sub(SLOTS) as u32;
    while let (1.., Some(largest)) = (excess, quotas.iter_mut().max()) {
        let cut = (*largest - 1).min(excess.div_ceil(8));
        *largest -= cut;
        excess -= cut;
    }
    quotas
}

fn total_weight(members: &[Member]) -> u64 {
    members.iter().map(|member| u64::from(member.weight.max(1))).sum()
}

#[cfg(test)]
pub(crate) mod tests;

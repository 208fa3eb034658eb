//! Least connections for the weight, and for the broker's own load.

use super::{Candidate, Choice, Told, Why};

/// How far a load moves the share of a broker: to a quarter at least, and to four times at most. A gauge
/// that is near zero, or far off, shall neither draw all clients nor keep them all away.
const MOST: f64 = 4.0;

/// Connections for a unit of weight, with the one to come counted: so the heaviest of several empty
/// backends comes first.
pub(super) fn per_weight(one: &Candidate) -> f64 {
    (f64::from(one.connections) + 1.0) / f64::from(one.weight.max(1))
}

/// The one of `open` with the fewest connections for its weight; `random` decides between equals.
pub(super) fn connections(open: &[Candidate], random: u64) -> Option<Choice> {
    let one = lowest(open, random, per_weight)?;
    let why = Why::LeastConnections { connections: one.connections, weight: one.weight };
    Some(Choice { id: one.id, why })
}

/// The same, times the load relative to the median of those that are known: who has twice the median load
/// gets half the connections. Not to the mean: one gauge that is far off would move it, and with it the
/// shares of all. Where the median is zero, the mean has to do.
///
/// Units cancel out. Connections are in the product because they count at once, and a load only at its next
/// reading: on loads alone, all clients would go to one broker until then. Who does not tell counts as the
/// median.
pub(super) fn load(open: &[Candidate], random: u64) -> Option<Choice> {
    let middle = middle(open.iter().filter_map(|one| one.load).collect());
    let factor = |one: &Candidate| match (one.load, middle) {
        (Some(load), Some(middle)) if middle > 0.0 => (load / middle).clamp(1.0 / MOST, MOST),
        _ => 1.0,
    };
    let one = lowest(open, random, |one| per_weight(one) * factor(one))?;
    let told = match (one.load, middle) {
        (Some(load), Some(middle)) => Told::Load { load: load as f32, middle: middle as f32 },
        (None, Some(_)) => Told::Nothing,
        (_, None) => Told::NothingByAny,
    };
    let Candidate { connections, weight, .. } = *one;
    Some(Choice { id: one.id, why: Why::LeastLoad { connections, weight, told } })
}

/// The median; the mean where that is zero.
fn middle(mut loads: Vec<f64>) -> Option<f64> {
    loads.sort_unstable_by(f64::total_cmp);
    let count = loads.len();
    let (low, high) = (loads.get(count.checked_sub(1)? / 2)?, loads.get(count / 2)?);
    let median = low / 2.0 + high / 2.0;
    let mean = || {
        let begin = (0.0, 0.0);
        loads.iter().fold(begin, |(mean, n), load| (mean + (load - mean) / (n + 1.0), n + 1.0)).0
    };
    Some(if median > 0.0 { median } else { mean() })
}

fn lowest(
    open: &[Candidate],
    random: u64,
    score: impl Fn(&Candidate) -> f64,
) -> Option<&Candidate> {
    if open.is_empty() {
        return None;
    }
    let start = super::two::scaled(random, open.len() as u64) as usize;
    // Of equals the first counts, and the order begins anywhere.
    let (before, behind) = open.split_at(start);
    behind.iter().chain(before).min_by(|a, b| score(a).total_cmp(&score(b)))
}

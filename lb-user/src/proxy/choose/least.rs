//! Least connections for the weight, and for what the broker's own load leaves of it.

use super::{Candidate, Choice, Why};

/// What is left of the weight of a broker that calls itself fully loaded: it is taken when all
/// others are far fuller, never excluded by a gauge alone.
const LEAST_HEADROOM: f64 = 1.0 / 64.0;

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

/// The same with weights reduced by load. Who does not tell counts as loaded as the others are on
/// average: a broken gauge shall neither draw clients nor drive them away.
pub(super) fn load(open: &[Candidate], random: u64) -> Option<Choice> {
    let known = open.iter().filter_map(told);
    let (sum, count) = known.fold((0.0, 0.0), |(sum, count), load| (sum + load, count + 1.0));
    let mean = if count > 0.0 { sum / count } else { 0.0 };
    let score = |one: &Candidate| {
        let headroom = (1.0 - told(one).unwrap_or(mean)).max(LEAST_HEADROOM);
        per_weight(one) / headroom
    };
    let one = lowest(open, random, score)?;
    let why = Why::LeastLoad {
        connections: one.connections,
        weight: one.weight,
        load: told(one).map(|load| load as f32),
    };
    Some(Choice { id: one.id, why })
}

/// The load that a broker tells, if it is a number.
fn told(one: &Candidate) -> Option<f64> {
    let load = one.load.filter(|load| !load.is_nan())?;
    Some(f64::from(load.clamp(0.0, 1.0)))
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

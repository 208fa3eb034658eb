//! Why a backend was chosen, in words.

use std::fmt;

use super::key::Field;
use crate::load::number;

/// Why a backend was chosen. Backends are named by number; whoever shows it puts the chosen one's name
/// in front.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Why {
    /// It has the client's session.
    Session,
    /// It was its turn.
    Turn {
        /// Its weight.
        weight: u32,
        /// Number of backends that take turns.
        of: usize,
    },
    /// Of two drawn by weight it had fewer connections for its weight.
    BetterOfTwo {
        /// Its connections before this one.
        connections: u32,
        /// Its weight.
        weight: u32,
        /// Number and connections of the other one; `None` if there was only one to draw.
        other: Option<(u32, u32)>,
    },
    /// It had the fewest connections for its weight.
    LeastConnections {
        /// Its connections before this one.
        connections: u32,
        /// Its weight.
        weight: u32,
    },
    /// It had the fewest connections for its weight and its load.
    LeastLoad {
        /// Its connections before this one.
        connections: u32,
        /// Its weight.
        weight: u32,
        /// What it says of its load.
        told: Told,
    },
    /// It owns the slot of the hash, or the first one behind it whose owner may take the client.
    Hash {
        /// What was hashed.
        on: HashedOn,
        /// Why the slot's owner was passed over, if it was.
        passed: Option<Passed>,
    },
    /// There was nothing to hash, so the fewest connections for the weight decided.
    NoKey {
        /// What is missing.
        missing: NoKey,
    },
    /// It is the first one that is not full.
    FirstWithRoom {
        /// Its connections before this one.
        connections: u32,
        /// When it counts as full.
        limit: u32,
    },
    /// All are full, so the fewest connections for the weight decided.
    AllFull {
        /// When a backend counts as full.
        limit: u32,
    },
}

/// What a broker says of its load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Told {
    /// It says it.
    Load {
        /// Its load, in the unit of its source.
        load: f32,
        /// The median of all that were known.
        middle: f32,
    },
    /// It is not known; it counts as the median.
    Nothing,
    /// Nobody's is known: connections decided alone.
    NothingByAny,
}

/// What was hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashedOn {
    /// The client's address.
    SourceAddress,
    /// A field of its identity, or a capture of it.
    Key(Field),
}

/// Why the owner of a slot was passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// It is down, drained, at a limit or no longer there.
    Unavailable {
        /// Its number.
        owner: u32,
    },
    /// It has refused this client already.
    Refused {
        /// Its number.
        owner: u32,
    },
    /// It has as many connections as the bound on its load lets it have.
    Full {
        /// Its number.
        owner: u32,
        /// That number of connections.
        limit: u32,
    },
}

/// Why there is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoKey {
    /// The client has not given this field.
    Missing(Field),
    /// The expression captures nothing of it.
    NoMatch(Field),
    /// No field is configured.
    NoRule,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session => f.write_str("it has the client's session"),
            Self::Turn { weight, of } => {
                write!(f, "its turn (weight {weight}, {of} backends take turns)")
            }
            Self::BetterOfTwo { connections, weight, other: None } => {
                write!(f, "the only one to draw ({connections} connections, weight {weight})")
            }
            Self::BetterOfTwo { connections, weight, other: Some((id, theirs)) } => write!(
                f,
                "fewer connections for its weight than backend {id}, drawn with it ({connections} \
                 to {theirs}, weight {weight})"
            ),
            Self::LeastConnections { connections, weight } => write!(
                f,
                "fewest connections for its weight ({connections} connections, weight {weight})"
            ),
            Self::LeastLoad { connections, weight, told } => write!(
                f,
                "fewest connections for its weight and load ({connections} connections, weight \
                 {weight}, {told})"
            ),
            Self::Hash { on, passed: None } => write!(f, "hash of the {on}"),
            Self::Hash { on, passed: Some(passed) } => {
                write!(f, "next on the ring by the hash of the {on}: {passed}")
            }
            Self::NoKey { missing } => write!(f, "fewest connections for its weight: {missing}"),
            Self::FirstWithRoom { connections, limit } => {
                write!(f, "first that is not full ({connections} of {limit} connections)")
            }
            Self::AllFull { limit } => {
                write!(f, "fewest connections for its weight: all have {limit} or more")
            }
        }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Load { load, middle } => {
                let [load, middle] = [load, middle].map(|load| number::short(load.into()));
                write!(f, "load {load} where the median is {middle}")
            }
            Self::Nothing => f.write_str("load not known, counted as the median"),
            Self::NothingByAny => f.write_str("no load is known"),
        }
    }
}

impl fmt::Display for HashedOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SourceAddress => "source address",
            Self::Key(field) => field.name(),
        })
    }
}

impl fmt::Display for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable { owner } => write!(f, "backend {owner} takes no new connections"),
            Self::Refused { owner } => write!(f, "backend {owner} has refused this client"),
            Self::Full { owner, limit } => {
                write!(f, "backend {owner} has the {limit} connections that its share allows")
            }
        }
    }
}

impl fmt::Display for NoKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(field) => write!(f, "the client has no {}", field.name()),
            Self::NoMatch(field) => write!(f, "nothing to capture in the {}", field.name()),
            Self::NoRule => f.write_str("no key is configured"),
        }
    }
}

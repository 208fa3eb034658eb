//! Who may open connections, and how fast.

use serde::Serialize;

use super::Prefix;

/// Which sources may open connections: the longest prefix decides, and one that none contains may.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sources {
    /// Those that may not; each prefix once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<Prefix>,
    /// Exceptions from what is denied; none of them is in `deny`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Prefix>,
}

impl Sources {
    /// Whether nobody is listed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.deny.is_empty() && self.allow.is_empty()
    }

    /// Every prefix, and whether it is denied.
    pub fn listed(&self) -> impl Iterator<Item = (Prefix, bool)> {
        let deny = self.deny.iter().map(|prefix| (*prefix, true));
        deny.chain(self.allow.iter().map(|prefix| (*prefix, false)))
    }
}

/// How many SYNs a service takes; those beyond are dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SynRates {
    /// From one address.
    pub source: Option<SynRate>,
    /// From all addresses that share a prefix.
    pub prefix: Option<PrefixRate>,
}

/// A rate with a burst, both at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SynRate {
    /// So many per second.
    pub rate: u32,
    /// So many at once after a pause.
    pub burst: u32,
}

/// A rate of a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PrefixRate {
    /// How many bits of the address make the prefix: 1 to what the VIP's family has.
    pub bits: u8,
    /// The rate.
    #[serde(flatten)]
    pub rate: SynRate,
}

/// What one backend may take; `None` is as much as comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LoadLimits {
    /// New connections per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_new_per_second: Option<u32>,
    /// Connections that are open; in mode `nat` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
}

impl LoadLimits {
    /// These, and where they say nothing, `others`.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        Self {
            max_new_per_second: self.max_new_per_second.or(others.max_new_per_second),
            max_connections: self.max_connections.or(others.max_connections),
        }
    }
}

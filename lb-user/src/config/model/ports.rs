//! Ranges of TCP ports.

use std::{fmt, ops::RangeInclusive};

use serde::{Serialize, Serializer};

/// A range of ports, both ends included, never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// The ports `first` to `last`; `None` if `last` comes before `first`.
    #[must_use]
    pub const fn new(first: u16, last: u16) -> Option<Self> {
        if first <= last { Some(Self { first, last }) } else { None }
    }

    /// The first port.
    #[must_use]
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The last port, itself part of the range.
    #[must_use]
    pub const fn last(self) -> u16 {
        self.last
    }

    /// The number of ports, 1 to 65,536.
    #[must_use]
    pub const fn count(self) -> u32 {
        (self.last - self.first) as u32 + 1
    }

    /// Whether `port` lies in the range.
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

impl From<PortRange> for RangeInclusive<u16> {
    fn from(range: PortRange) -> Self {
        range.first..=range.last
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl Serialize for PortRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Whether some port lies in both ranges.
#[must_use]
pub const fn overlaps(a: PortRange, b: PortRange) -> bool {
    a.first <= b.last && b.first <= a.last
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u16, last: u16) -> PortRange {
        PortRange::new(first, last).unwrap()
    }

    #[test]
    fn an_inverted_range_does_not_exist() {
        assert_eq!(PortRange::new(2, 1), None);
    }

    #[test]
    fn ranges_overlap_if_they_share_a_port() {
        assert!(overlaps(range(15_000, 30_000), range(30_000, 60_999)));
        assert!(overlaps(range(1, 65_535), range(5, 5)));
        assert!(overlaps(range(5, 5), range(1, 65_535)));
        assert!(!overlaps(range(15_000, 29_999), range(30_000, 60_999)));
        assert!(!overlaps(range(30_000, 60_999), range(15_000, 29_999)));
    }

    #[test]
    fn the_count_includes_both_ends() {
        assert_eq!(range(7, 7).count(), 1);
        assert_eq!(range(0, 65_535).count(), 65_536);
    }
}

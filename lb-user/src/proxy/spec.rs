//! What the controller tells about a service: everything that connections are led by.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use lb_common::hash::Seed;

use crate::config::model::{MqttSettings, Name, Prefix};

/// A service in the mode `mqtt`, as configured.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceSpec {
    /// Its name.
    pub name: Name,
    /// Where it listens; what makes it the same service after a change.
    pub address: SocketAddr,
    /// See the configuration.
    pub settings: MqttSettings,
    /// How long a connection may be idle whose Keep Alive is 0.
    pub idle_timeout: Duration,
    /// Where its sticky sessions outlive the process.
    pub sessions_file: PathBuf,
    /// Who may connect.
    pub sources: SourceLists,
}

/// Prefixes of sources, and whether they are denied: those of the service, and those of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceLists {
    /// In the service's own lists.
    pub own: Vec<(Prefix, bool)>,
    /// In the lists for all services.
    pub of_all: Vec<(Prefix, bool)>,
}

impl SourceLists {
    /// Whether `source` may not connect: in each list the longest prefix decides, and of the two
    /// lists the longer one; of two that are as long, the service's own.
    #[must_use]
    pub fn deny(&self, source: IpAddr) -> bool {
        let longest = |list: &[(Prefix, bool)]| {
            let mine = list.iter().filter(|(prefix, _)| prefix.contains(source));
            mine.max_by_key(|(prefix, _)| prefix.bits()).copied()
        };
        match (longest(&self.own), longest(&self.of_all)) {
            (Some((own, denied)), Some((all, _))) if own.bits() >= all.bits() => denied,
            (_, Some((_, denied))) | (Some((_, denied)), None) => denied,
            (None, None) => false,
        }
    }
}

/// The backends of a service at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Key of the hash over the ring.
    pub seed: Seed,
    /// All of them that were not removed, in the order of the configuration.
    pub backends: Vec<BackendSpec>,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self { seed: Seed(0, 0), backends: Vec::new() }
    }
}

/// A backend at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendSpec {
    /// Its number; another one means other connections.
    pub id: u32,
    /// Its name.
    pub name: Name,
    /// Where the broker listens.
    pub address: SocketAddr,
    /// Its share relative to the others.
    pub weight: u32,
    /// Whether it takes new connections: it is up, and does not drain.
    pub accepts: bool,
    /// The most connections that it may have.
    pub max_connections: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_decides_and_the_own_list_before_that_of_all() {
        let prefix = |text: &str| text.parse::<Prefix>().unwrap();
        let lists = SourceLists {
            own: vec![(prefix("10.0.0.0/8"), true), (prefix("10.1.0.0/16"), false)],
            of_all: vec![(prefix("10.1.2.0/24"), true), (prefix("10.1.0.0/16"), true)],
        };
        let denied = |text: &str| lists.deny(text.parse().unwrap());
        assert!(denied("10.9.9.9"));
        assert!(!denied("10.1.1.1"), "both lists have it: the own one counts");
        assert!(denied("10.1.2.3"), "the list for all knows it better");
        assert!(!denied("192.0.2.1") && !denied("2001:db8::1"));
    }
}

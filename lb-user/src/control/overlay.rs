//! Changes made by command, on top of what the configuration file says.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use serde::{Deserialize, Serialize};

use crate::config::{
    Fault,
    model::{Backend, LoadLimits, Name, Service, Weight},
};

/// The changes made by command, by service.
///
/// They outlive the controller; a reload drops all of them but the drained backends, of which the
/// file says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Overlay(BTreeMap<Name, Changes>);

/// The changes to one service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Changes {
    removed: BTreeSet<Name>,
    added: BTreeMap<Name, Added>,
    weights: BTreeMap<Name, Weight>,
    drained: BTreeSet<Name>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Added {
    address: IpAddr,
    port: u16,
    weight: Weight,
}

/// Why a command is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No such service.
    #[error("there is no service {0}")]
    NoService(String),
    /// Its connections are not in userspace.
    #[error("service {0} is not in the mode mqtt")]
    NotProxied(Name),
    /// It remembers no sessions.
    #[error("service {0} remembers no sessions")]
    NotSticky(Name),
    /// Each of its backends has clients of its own.
    #[error("service {0} leads clients to some of its backends by the name that they ask for")]
    Routed(Name),
    /// Nothing was ever rebalanced.
    #[error("service {0} was not rebalanced since mqlb started")]
    NoRebalancing(Name),
    /// No such backend.
    #[error("service {service} has no backend {backend}")]
    NoBackend {
        /// The service.
        service: Name,
        /// What was asked for.
        backend: String,
    },
    /// The name is taken.
    #[error("service {service} already has a backend {backend}")]
    NameTaken {
        /// The service.
        service: Name,
        /// The name.
        backend: Name,
    },
    /// The address is taken.
    #[error("{socket} is already backend {backend} of service {service}")]
    AddressTaken {
        /// The service.
        service: Name,
        /// Who has the address.
        backend: Name,
        /// The address.
        socket: SocketAddr,
    },
    /// An address that no backend of this service can have.
    #[error("{}", .0.problem)]
    Unfit(Fault),
    /// A service must keep one backend.
    #[error("{backend} is the last backend of service {service}")]
    LastBackend {
        /// The service.
        service: Name,
        /// The backend.
        backend: Name,
    },
}

impl CommandError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &str {
        match self {
            Self::NoService(_) => "`mqlb service list` shows the services",
            Self::NotProxied(_) => {
                "the other modes cannot close a connection at its client; there, new connections go \
                 by the weights"
            }
            Self::NotSticky(_) => "give it `mqtt: { sticky: {} }`; see docs/mqtt-mode.md",
            Self::Routed(_) => {
                "a share of all connections is nothing that they can have; `mqlb backend drain` \
                 empties one"
            }
            Self::NoRebalancing(_) => "`mqlb service rebalance SERVICE` begins it",
            Self::NoBackend { .. } => "`mqlb backend list` shows the backends",
            Self::NameTaken { .. } => "choose another name, or remove that backend first",
            Self::AddressTaken { .. } => "a service cannot have one broker twice",
            Self::Unfit(fault) => &fault.hint,
            Self::LastBackend { .. } => {
                "drain it, so that it takes no new connections, or take the service out of the \
                 configuration file and reload"
            }
        }
    }
}

impl Overlay {
    /// Whether there is no change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.values().all(|changes| *changes == Changes::default())
    }

    /// The backends of `service` with these changes.
    #[must_use]
    pub fn backends(&self, service: &Service) -> Vec<Backend> {
        let Some(changes) = self.0.get(&service.name) else {
            return service.backends.clone();
        };
        let kept = service.backends.iter().filter(|b| !changes.removed.contains(&b.name)).cloned();
        let mut backends: Vec<Backend> = kept.collect();
        for (name, added) in &changes.added {
            let Added { address, port, weight } = *added;
            let limits = LoadLimits::default();
            let new = Backend { name: name.clone(), address, port, weight, limits };
            // The file may have got the same broker meanwhile: then there is nothing to add.
            if !backends.iter().any(|b| b.name == new.name || b.socket() == new.socket()) {
                backends.push(new);
            }
        }
        for backend in &mut backends {
            if let Some(weight) = changes.weights.get(&backend.name) {
                backend.weight = *weight;
            }
        }
        backends
    }

    /// Whether the backend is drained.
    #[must_use]
    pub fn is_drained(&self, service: &Name, backend: &Name) -> bool {
        self.0.get(service).is_some_and(|changes| changes.drained.contains(backend))
    }

    /// Adds a backend, whose address has been found to fit.
    pub fn add(&mut self, service: &Service, new: &Backend) -> Result<(), CommandError> {
        let (name, backend) = (service.name.clone(), new.name.clone());
        let present = self.backends(service);
        if present.iter().any(|b| b.name == backend) {
            return Err(CommandError::NameTaken { service: name, backend });
        }
        if let Some(other) = present.iter().find(|b| b.socket() == new.socket()) {
            let (backend, socket) = (other.name.clone(), new.socket());
            return Err(CommandError::AddressTaken { service: name, backend, socket });
        }
        if new.port == 0 {
            let fault = Fault::new("port 0 is no port", "name the port that the broker listens at");
            return Err(CommandError::Unfit(fault));
        }
        let changes = self.0.entry(name).or_default();
        changes.weights.remove(&backend);
        changes.drained.remove(&backend);
        let same_as_in_file = service.backend(backend.as_str()) == Some(new);
        if !(same_as_in_file && changes.removed.remove(&backend)) {
            let Backend { address, port, weight, .. } = *new;
            changes.added.insert(backend, Added { address, port, weight });
        }
        Ok(())
    }

    /// Removes a backend.
    pub fn remove(&mut self, service: &Service, backend: &str) -> Result<(), CommandError> {
        let backend = self.find(service, backend)?.name;
        if self.backends(service).len() == 1 {
            return Err(CommandError::LastBackend { service: service.name.clone(), backend });
        }
        let changes = self.0.entry(service.name.clone()).or_default();
        changes.added.remove(&backend);
        changes.weights.remove(&backend);
        changes.drained.remove(&backend);
        if service.backend(backend.as_str()).is_some() {
            changes.removed.insert(backend);
        }
        Ok(())
    }

    /// Drains a backend, or ends that. Whether it made a difference.
    pub fn drain(
        &mut self,
        service: &Service,
        backend: &str,
        drained: bool,
    ) -> Result<bool, CommandError> {
        let backend = self.find(service, backend)?.name;
        let changes = self.0.entry(service.name.clone()).or_default();
        Ok(if drained { changes.drained.insert(backend) } else { changes.drained.remove(&backend) })
    }

    /// Gives a backend another weight. Returns the one it had.
    pub fn weigh(
        &mut self,
        service: &Service,
        backend: &str,
        weight: Weight,
    ) -> Result<Weight, CommandError> {
        let Backend { name, weight: before, .. } = self.find(service, backend)?;
        let changes = self.0.entry(service.name.clone()).or_default();
        if let Some(added) = changes.added.get_mut(&name) {
            added.weight = weight;
        } else if service.backend(name.as_str()).is_some_and(|b| b.weight == weight) {
            changes.weights.remove(&name);
        } else {
            changes.weights.insert(name, weight);
        }
        Ok(before)
    }

    /// What a reload leaves of the changes: which backends are drained, as far as `services` (of
    /// the file) have them.
    #[must_use]
    pub fn after_reload(&self, services: &[Service]) -> Self {
        let left = services.iter().filter_map(|service| {
            let mut drained = self.0.get(&service.name)?.drained.clone();
            drained.retain(|name| service.backend(name.as_str()).is_some());
            let changes = Changes { drained, ..Changes::default() };
            (!changes.drained.is_empty()).then(|| (service.name.clone(), changes))
        });
        Self(left.collect())
    }

    fn find(&self, service: &Service, backend: &str) -> Result<Backend, CommandError> {
        self.backends(service).into_iter().find(|b| b.name == *backend).ok_or_else(|| {
            CommandError::NoBackend { service: service.name.clone(), backend: backend.to_owned() }
        })
    }
}

#[cfg(test)]
mod tests;

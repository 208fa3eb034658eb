//! Sticky sessions of services in the mode `mqtt`: which are remembered, and forgetting them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{controller::Controller, error::ChangeError, overlay::CommandError};
use crate::proxy::{Remembered, Sessions, sticky::Ends};

/// Sessions that are listed, unless it is said otherwise.
const LISTED: usize = 100;

/// Which sessions are meant; what is left out does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SessionFilter {
    /// Only the one of this Client Identifier.
    pub client_id: Option<String>,
    /// Only those of this backend.
    pub backend: Option<String>,
    /// List at most so many.
    pub limit: Option<usize>,
}

/// Sessions of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionsReport {
    /// How many are remembered, those that are not meant included.
    pub remembered: usize,
    /// Some or all of those that are meant, the last used first.
    pub sessions: Vec<SessionReport>,
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionReport {
    /// The Client Identifier.
    pub client_id: String,
    /// The backend that has its session.
    pub backend: String,
    /// Whether its client is connected.
    pub open: bool,
    /// Unix time at which it is forgotten; `None` if it does not expire, or not yet.
    pub ends_at_s: Option<u32>,
}

/// How many sessions were forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgotten {
    /// So many.
    pub forgotten: usize,
}

impl From<Remembered> for SessionReport {
    fn from(Remembered { client_id, backend, ends }: Remembered) -> Self {
        let (open, ends_at_s) = match ends {
            Ends::Open => (true, None),
            Ends::Never => (false, None),
            Ends::At(time) => (false, Some(time)),
        };
        Self { client_id, backend, open, ends_at_s }
    }
}

impl Controller {
    /// The sessions of a service that `filter` lets through.
    pub fn sessions(
        &self,
        service: &str,
        filter: &SessionFilter,
    ) -> Result<SessionsReport, ChangeError> {
        let sessions = self.sticky(service)?;
        let SessionFilter { client_id, backend, limit } = filter;
        let most = limit.unwrap_or(LISTED);
        let (remembered, listed) = sessions.list(client_id.as_deref(), backend.as_deref(), most);
        Ok(SessionsReport { remembered, sessions: listed.into_iter().map(Into::into).collect() })
    }

    /// Forgets the sessions of a service that `filter` lets through: the policy leads their clients the
    /// next time.
    pub fn forget_sessions(
        &self,
        service: &str,
        filter: &SessionFilter,
    ) -> Result<Forgotten, ChangeError> {
        let sessions = self.sticky(service)?;
        let SessionFilter { client_id, backend, .. } = filter;
        let forgotten = sessions.clear(client_id.as_deref(), backend.as_deref());
        tracing::info!(service, forgotten, "sessions forgotten");
        Ok(Forgotten { forgotten })
    }

    fn sticky(&self, name: &str) -> Result<Arc<Sessions>, ChangeError> {
        let service = self.service(name)?;
        let found = self.proxies.sessions(service.address());
        Ok(found.ok_or_else(|| CommandError::NotSticky(service.name.clone()))?)
    }
}

//! Why the controller refuses, with what to do about it.

use super::{
    apply::ApplyError, checks::ChecksError, datapath::DatapathError, layout::LayoutError,
    overlay::CommandError, state_file::StateError, trace::TraceRefusal,
};
use crate::{config::ConfigError, proxy::PrepareError};

/// Why a change was not made: nothing is different from before.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// What was asked for makes no sense.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The tables cannot hold it.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The configuration has mistakes.
    #[error("{0}")]
    Config(ConfigError),
    /// These settings cannot change while the controller runs.
    #[error("a reload cannot change {}", .0.join(", "))]
    NeedsRestart(Vec<String>),
    /// A health check cannot be carried out.
    #[error(transparent)]
    Checks(#[from] ChecksError),
    /// A service in the mode `mqtt` cannot be served.
    #[error(transparent)]
    Proxies(#[from] PrepareError),
    /// The state cannot be kept.
    #[error(transparent)]
    State(#[from] StateError),
    /// The data plane refused.
    #[error("the data plane refused the change: {0}")]
    Apply(#[from] ApplyError),
    /// The data plane could not be read.
    #[error("the data plane could not be read: {0}")]
    Datapath(#[from] DatapathError),
    /// Packets are not followed.
    #[error(transparent)]
    Trace(#[from] TraceRefusal),
    /// The pinned tables are there, but not the record of what they hold.
    #[error("the data plane is running, but {0} has no record of what its tables hold")]
    NoRecord(String),
}

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// What was named does not exist.
    NotFound,
    /// What was asked for contradicts what there is.
    Conflict,
    /// What was asked for is wrong in itself.
    Request,
    /// The machine's, or ours.
    Balancer,
}

impl ChangeError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Command(error) => error.hint().to_owned(),
            Self::Layout(error) => error.hint().to_owned(),
            // The hints stand below each mistake.
            Self::Config(_) => "nothing was changed".to_owned(),
            Self::NeedsRestart(_) => {
                "restart mqlb with the new file; forwarding goes on meanwhile".to_owned()
            }
            Self::Checks(_) => "nothing was changed; mend the file it names".to_owned(),
            Self::Trace(error) => error.hint().to_owned(),
            Self::Proxies(error) => error.hint(),
            Self::State(error) => error.hint(),
            Self::Apply(error) if error.restored => "everything is as it was before".to_owned(),
            Self::Apply(_) | Self::Datapath(_) => {
                "see the log; the next change, or a restart, writes all tables anew".to_owned()
            }
            Self::NoRecord(_) => {
                "set state_dir to what it was when the data plane was started, or start anew: \
                 `mqlb detach` (this ends all connections), then start again"
                    .to_owned()
            }
        }
    }

    /// Whose fault it is.
    #[must_use]
    pub const fn blame(&self) -> Blame {
        match self {
            Self::Command(
                CommandError::NoService(_)
                | CommandError::NoBackend { .. }
                | CommandError::NoRebalancing(_),
            ) => Blame::NotFound,
            Self::Command(
                CommandError::NameTaken { .. }
                | CommandError::AddressTaken { .. }
                | CommandError::LastBackend { .. }
                | CommandError::NotProxied(_)
                | CommandError::NotSticky(_)
                | CommandError::Routed(_),
            )
            | Self::Layout(_)
            | Self::Proxies(_)
            | Self::Trace(TraceRefusal::Busy { .. })
            | Self::NeedsRestart(_) => Blame::Conflict,
            Self::Command(CommandError::Unfit(_))
            | Self::Config(_)
            | Self::Checks(_)
            | Self::Trace(_) => Blame::Request,
            Self::State(_) | Self::Apply(_) | Self::Datapath(_) | Self::NoRecord(_) => {
                Blame::Balancer
            }
        }
    }
}

//! Examines a host before the data plane is attached: what would break forwarding, why, and the
//! command that mends it.
//!
//! [`gather`] looks at the host, [`examine`] judges what it saw; the judging is pure, so that every
//! check is tested against made-up hosts.

mod check;
mod finding;
mod gather;
mod host;
#[cfg(test)]
mod samples;

pub use check::examine;
pub use finding::{Finding, Severity};
pub use gather::gather;
pub use host::{
    Host, Interface, Ipv4Settings, KernelVersion, PinDirectory, XdpFeatures, XdpProgram,
};

/// Whether the data plane must not be attached.
#[must_use]
pub fn any_error(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::Error)
}

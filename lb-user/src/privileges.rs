//! Giving up what is no longer needed once the data plane is attached.
//!
//! docs/privileges.md says which capability is needed when, and how that was found.

use std::{
    collections::BTreeSet,
    fs, io,
    time::{Duration, Instant},
};

use caps::{CapSet, Capability, CapsHashSet};
use rustix::thread::set_no_new_privs;

/// What the controller still uses while it runs, where it had it: tables (`CAP_BPF`); attaching to
/// another interface after a reload, and VIPs (`CAP_NET_ADMIN`); announcing VIPs (`CAP_NET_RAW`);
/// accepting in the mode `mqtt` at ports below 1024 (`CAP_NET_BIND_SERVICE`); and, if it runs as root, reading configuration and password files of other users.
const KEPT: [Capability; 5] = [
    Capability::CAP_BPF,
    Capability::CAP_NET_ADMIN,
    Capability::CAP_NET_RAW,
    Capability::CAP_NET_BIND_SERVICE,
    Capability::CAP_DAC_READ_SEARCH,
];

/// What it takes to load the program and to attach it. Without `CAP_PERFMON` the verifier refuses
/// pointer arithmetic that the program needs.
pub const TO_ATTACH: [&str; 3] = ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"];

/// The effective capabilities of the calling thread, as `CAP_BPF`; none if the kernel does not tell.
#[must_use]
pub fn effective() -> BTreeSet<String> {
    let held = caps::read(None, CapSet::Effective).unwrap_or_default();
    held.iter().map(ToString::to_string).collect()
}

/// How to get capabilities: all of `needed`, because a file has one set of them.
#[must_use]
pub fn how_to_get(needed: &[&str]) -> String {
    let list = needed.join(",").to_lowercase();
    format!(
        "run mqlb as root, or as packaging/mqlb.service does, or, as root, give the program what it \
         needs: setcap {list}=ep \"$(command -v mqlb)\""
    )
}

/// Why privileges were not given up.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// Not every thread has given up its own.
    #[error("drop capabilities: {0} other threads keep theirs")]
    Threads(usize),
    /// The kernel does not tell which threads there are.
    #[error("drop capabilities: list the threads: {0}")]
    Threadlist(#[source] io::Error),
    /// The kernel did not take them.
    #[error("drop capabilities: {0}")]
    Capabilities(#[from] caps::errors::CapsError),
    /// The promise never to gain any was refused.
    #[error("set no_new_privs: {0}")]
    NoNewPrivileges(#[source] io::Error),
}

/// How long a thread that was just started may take to give up its own.
const PATIENCE: Duration = Duration::from_secs(2);

/// Drops from the calling thread what a running controller does not need, and then makes sure that
/// every other thread has done the same with [`drop_from_this_thread`]: capabilities belong to
/// threads. To be called after attaching.
pub fn drop_unneeded() -> Result<(), PrivilegeError> {
    drop_from_this_thread()?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let more = threads_with_more()?;
        if more == 0 {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(PrivilegeError::Threads(more));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// How many threads of this process have capabilities that are not in [`KEPT`].
fn threads_with_more() -> Result<usize, PrivilegeError> {
    let mut more = 0;
    for thread in fs::read_dir("/proc/self/task").map_err(PrivilegeError::Threadlist)? {
        let thread = thread.map_err(PrivilegeError::Threadlist)?;
        let id = thread.file_name().to_str().and_then(|name| name.parse().ok());
        // One that has ended meanwhile has none.
        let held = caps::read(id, CapSet::Permitted).unwrap_or_default();
        more += usize::from(held.iter().any(|capability| !KEPT.contains(capability)));
    }
    Ok(more)
}

/// Keeps the capabilities that a running controller needs, out of those the calling thread has,
/// and makes sure that neither it nor what it starts ever gains another. There is no way back.
pub fn drop_from_this_thread() -> Result<(), PrivilegeError> {
    let held = caps::read(None, CapSet::Permitted)?;
    let kept: CapsHashSet = KEPT.into_iter().filter(|kept| held.contains(kept)).collect();
    // The bounding set can only be changed with this one, and does not matter without it: with
    // no_new_privs no program gains a capability by being executed.
    if held.contains(&Capability::CAP_SETPCAP) {
        for capability in caps::read(None, CapSet::Bounding)?.difference(&kept) {
            caps::drop(None, CapSet::Bounding, *capability)?;
        }
    }
    caps::set(None, CapSet::Inheritable, &CapsHashSet::new())?;
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)?;
    set_no_new_privs(true).map_err(|error| PrivilegeError::NoNewPrivileges(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_keeps_its_privileges_is_noticed() {
        // Those of the test runner have theirs.
        let privileged = !caps::read(None, CapSet::Permitted)
            .unwrap()
            .is_subset(&KEPT.into_iter().collect::<CapsHashSet>());
        let outcome = std::thread::spawn(drop_unneeded).join().unwrap();
        assert_eq!(matches!(outcome, Err(PrivilegeError::Threads(1..))), privileged);
    }

    #[test]
    fn a_thread_keeps_what_it_needs_and_gains_nothing() {
        // Capabilities are a thread's own: this one's end with it.
        let (kept, held) = std::thread::spawn(|| {
            let held = caps::read(None, CapSet::Permitted).unwrap();
            drop_from_this_thread().unwrap();
            let kept = caps::read(None, CapSet::Effective).unwrap();
            assert_eq!(caps::read(None, CapSet::Permitted).unwrap(), kept);
            assert!(caps::read(None, CapSet::Inheritable).unwrap().is_empty());
            assert!(caps::read(None, CapSet::Ambient).unwrap().is_empty());
            let status = fs::read_to_string("/proc/thread-self/status").unwrap();
            assert!(status.contains("NoNewPrivs:\t1"), "{status}");
            (kept, held)
        })
        .join()
        .unwrap();
        let expected: CapsHashSet = KEPT.into_iter().filter(|c| held.contains(c)).collect();
        assert_eq!(kept, expected);
    }
}

//! Giving up what is no longer needed once the data plane is attached.
//!
//! docs/privileges.md says which capability is needed when, and how that was found.

use std::{fs, io};

use caps::{CapSet, Capability, CapsHashSet};

/// What the controller still uses while it runs, where it had it: tables (`CAP_BPF`); attaching to
/// another interface after a reload, and VIPs (`CAP_NET_ADMIN`); announcing VIPs (`CAP_NET_RAW`);
/// and, if it runs as root, reading configuration and password files of other users.
const KEPT: [Capability; 4] = [
    Capability::CAP_BPF,
    Capability::CAP_NET_ADMIN,
    Capability::CAP_NET_RAW,
    Capability::CAP_DAC_READ_SEARCH,
];

/// Why privileges were not given up.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// Capabilities belong to threads: the others would keep theirs.
    #[error("drop capabilities: there are {0} threads already")]
    Threads(usize),
    /// The kernel does not tell how many threads there are.
    #[error("drop capabilities: count the threads: {0}")]
    Count(#[source] io::Error),
    /// The kernel did not take them.
    #[error("drop capabilities: {0}")]
    Capabilities(#[from] caps::errors::CapsError),
    /// The promise never to gain any was refused.
    #[error("set no_new_privs: {0}")]
    NoNewPrivileges(#[source] io::Error),
}

/// Keeps the capabilities that a running controller needs, out of those it has, and makes sure
/// that neither it nor what it may start ever gains another. There is no way back.
///
/// To be called between attaching and starting the runtime, while there is a single thread.
pub fn drop_unneeded() -> Result<(), PrivilegeError> {
    let threads = fs::read_dir("/proc/self/task").map_err(PrivilegeError::Count)?.count();
    if threads != 1 {
        return Err(PrivilegeError::Threads(threads));
    }
    drop_from_this_thread()
}

fn drop_from_this_thread() -> Result<(), PrivilegeError> {
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
    forbid_new_ones()
}

fn forbid_new_ones() -> Result<(), PrivilegeError> {
    // SAFETY: this option takes integers and touches no memory of ours.
    let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    if result == 0 {
        Ok(())
    } else {
        Err(PrivilegeError::NoNewPrivileges(io::Error::last_os_error()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_several_threads_nothing_is_dropped() {
        // The test runner has more than one.
        let before = caps::read(None, CapSet::Permitted).unwrap();
        let error = std::thread::spawn(drop_unneeded).join().unwrap().unwrap_err();
        assert!(matches!(error, PrivilegeError::Threads(2..)), "{error}");
        assert_eq!(caps::read(None, CapSet::Permitted).unwrap(), before);
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

//! Where pins go, and how many files may be open.

use super::super::{Finding, Host, PinDirectory};
use crate::config::model::Config;

/// Where mqlb mounts a bpffs itself if there is none.
const CUSTOMARY_BPFFS: &str = "/sys/fs/bpf";

/// Open files of a controller that has no backend: pins, sockets, the runtime's own.
const FILES_AT_REST: u64 = 256;
/// A backend's health check, and its table of source ports while it is changed.
const FILES_PER_BACKEND: u64 = 2;

pub(super) fn check(config: &Config, host: &Host) -> Vec<Finding> {
    vec![pins(config, host), open_files(config, host)]
}

fn pins(config: &Config, host: &Host) -> Finding {
    const CHECK: &str = "bpffs";
    let directory = config.pin_dir.display();
    let mount_point = match &host.pins {
        PinDirectory::Bpffs => return Finding::ok(CHECK, format!("{directory} is on a bpffs")),
        PinDirectory::Other(mount_point) => mount_point,
    };
    let mountable =
        config.pin_dir.starts_with(CUSTOMARY_BPFFS) && host.capabilities.contains("CAP_SYS_ADMIN");
    let what = format!("{directory} is not on a bpffs");
    let finding = if mountable {
        Finding::hint(CHECK, what, "maps and programs are pinned there; mqlb will mount one")
    } else {
        Finding::error(CHECK, what, "maps and programs cannot be pinned there")
    };
    finding.mend(format!("mount -t bpf bpf {}", mount_point.display()))
}

fn open_files(config: &Config, host: &Host) -> Finding {
    const CHECK: &str = "open_files";
    let backends: usize = config.services.iter().map(|service| service.backends.len()).sum();
    let needed = FILES_AT_REST + FILES_PER_BACKEND * backends as u64;
    let limit = host.open_files;
    if limit >= needed {
        return Finding::ok(CHECK, format!("{limit} files may be open"));
    }
    Finding::warning(
        CHECK,
        format!("only {limit} files may be open"),
        format!("{backends} backends with their health checks may need {needed}"),
    )
    .mend(format!("ulimit -Hn {needed}    # or LimitNOFILE={needed} in the unit"))
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::{Severity, samples},
        *,
    };

    #[test]
    fn a_bpffs_that_mqlb_can_mount_itself_is_no_error() {
        let (mut config, mut host) = samples::well();
        host.pins = PinDirectory::Other("/sys/fs/bpf".into());
        assert_eq!(pins(&config, &host).severity, Severity::Hint);
        host.capabilities.remove("CAP_SYS_ADMIN");
        let finding = pins(&config, &host);
        assert_eq!(finding.severity, Severity::Error);
        assert_eq!(finding.mend.as_deref(), Some("mount -t bpf bpf /sys/fs/bpf"));
        host.capabilities.insert("CAP_SYS_ADMIN".into());
        config.pin_dir = "/run/bpf/mqlb".into();
        assert_eq!(pins(&config, &host).severity, Severity::Error);
    }

    #[test]
    fn each_backend_needs_open_files() {
        let (config, mut host) = samples::well();
        host.open_files = 256 + 2 * 2;
        assert_eq!(open_files(&config, &host).severity, Severity::Ok);
        host.open_files -= 1;
        assert_eq!(open_files(&config, &host).severity, Severity::Warning);
    }
}

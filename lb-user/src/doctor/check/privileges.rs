//! Is the process allowed to do what it must? docs/privileges.md says what each is for.

use super::super::{Finding, Host, PinDirectory};
use crate::{config::model::Config, privileges};

const CHECK: &str = "capabilities";

pub(super) fn check(config: &Config, host: &Host) -> Vec<Finding> {
    let needed = needed(config, host);
    let missing = |name: &&str| !host.capabilities.contains(*name);
    let lacking: Vec<&str> = needed.iter().copied().filter(missing).collect();
    if lacking.is_empty() {
        return vec![Finding::ok(CHECK, "all capabilities that mqlb needs")];
    }
    vec![
        Finding::error(
            CHECK,
            format!("{} missing", lacking.join(" and ")),
            "the kernel would refuse to load the program, to attach it or to hold the VIPs",
        )
        .mend(privileges::how_to_get(&needed)),
    ]
}

fn needed(config: &Config, host: &Host) -> Vec<&'static str> {
    let mut needed = privileges::TO_ATTACH.to_vec();
    if config.hold_vips {
        needed.push("CAP_NET_RAW");
    }
    if matches!(host.pins, PinDirectory::Other(_)) {
        needed.push("CAP_SYS_ADMIN");
    }
    needed
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::{Severity, samples},
        *,
    };

    #[test]
    fn a_missing_capability_is_named() {
        let (config, mut host) = samples::well();
        host.capabilities.remove("CAP_BPF");
        host.capabilities.remove("CAP_PERFMON");
        let findings = check(&config, &host);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].severity, Severity::Error);
        assert_eq!(findings[0].what, "CAP_BPF and CAP_PERFMON missing");
        // Those that are there already would be lost by naming only the others.
        let mend = findings[0].mend.as_deref().unwrap();
        assert!(mend.contains("setcap cap_bpf,cap_net_admin,cap_perfmon=ep "), "{mend}");
    }

    #[test]
    fn raw_sockets_are_needed_only_to_announce_vips() {
        let (mut config, mut host) = samples::well();
        host.capabilities.remove("CAP_NET_RAW");
        assert_eq!(check(&config, &host)[0].severity, Severity::Ok);
        config.hold_vips = true;
        assert_eq!(check(&config, &host)[0].severity, Severity::Error);
    }

    #[test]
    fn only_who_has_to_mount_a_bpffs_needs_to_be_an_administrator() {
        let (config, mut host) = samples::well();
        host.capabilities.remove("CAP_SYS_ADMIN");
        assert_eq!(check(&config, &host)[0].severity, Severity::Ok);
        host.pins = PinDirectory::Other("/sys/fs/bpf".into());
        assert_eq!(check(&config, &host)[0].severity, Severity::Error);
    }
}

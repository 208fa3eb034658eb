//! Is the process allowed to do what it must?

use super::super::{Finding, Host, PinDirectory};
use crate::config::model::Config;

const CHECK: &str = "capabilities";

pub(super) fn check(config: &Config, host: &Host) -> Vec<Finding> {
    let missing = |name: &str| !host.capabilities.contains(name);
    let lacking: Vec<&str> =
        needed(config, host).into_iter().filter(|name| missing(name)).collect();
    let mut findings = Vec::new();
    if !lacking.is_empty() {
        findings.push(
            Finding::error(
                CHECK,
                format!("{} missing", lacking.join(" and ")),
                "the kernel would refuse to load the program, to attach it or to hold the VIPs",
            )
            .mend("run mqlb as root, or as the unit packaging/mqlb.service does"),
        );
    }
    if missing("CAP_PERFMON") {
        findings.push(
            Finding::warning(
                CHECK,
                "CAP_PERFMON missing",
                "the verifier then guards the program against speculation, which costs time per \
                 packet, and may refuse it",
            )
            .mend("run mqlb as root, or as the unit packaging/mqlb.service does"),
        );
    }
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, "all capabilities that mqlb needs"));
    }
    findings
}

fn needed(config: &Config, host: &Host) -> Vec<&'static str> {
    let mut needed = vec!["CAP_BPF", "CAP_NET_ADMIN"];
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
        let findings = check(&config, &host);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].severity, Severity::Error);
        assert_eq!(findings[0].what, "CAP_BPF missing");
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
    fn without_perfmon_it_is_a_matter_of_speed() {
        let (config, mut host) = samples::well();
        host.capabilities.remove("CAP_PERFMON");
        assert_eq!(check(&config, &host)[0].severity, Severity::Warning);
    }
}

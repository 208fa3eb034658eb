//! Does the kernel take packets whose source is one of its own addresses?
//!
//! While a next hop has no neighbour entry, the rewritten packet goes up to the kernel, which looks
//! the neighbour up and forwards the packet. Rewritten, it comes from an address of this host
//! (towards brokers a NAT address, towards clients the VIP), on an interface other than that
//! address's: what the kernel calls a martian. IPv6 has no such check.

use super::{
    super::{Finding, Host},
    interfaces, sysctl, uses_ipv4,
};
use crate::config::model::Config;

const CHECK: &str = "reverse_path";

/// `rp_filter`: the source must be routed back out of the interface the packet came in by.
const STRICT: u8 = 1;

pub(super) fn check(config: &Config, host: &Host) -> Vec<Finding> {
    if !uses_ipv4(config) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for interface in interfaces(config, host) {
        let (name, Some(settings)) = (&interface.name, interface.ipv4) else { continue };
        if !settings.accept_local {
            findings.push(
                Finding::error(
                    CHECK,
                    format!("{name} refuses packets from addresses of this host"),
                    "packets to a next hop that is still unknown, already rewritten, are dropped: \
                     connections stall at random",
                )
                .mend(sysctl("ipv4", name, "accept_local", "1")),
            );
        }
        if settings.rp_filter == STRICT {
            findings.push(
                Finding::error(
                    CHECK,
                    format!("{name} filters by the reverse path, strictly"),
                    "packets to a next hop that is still unknown, already rewritten, are dropped: \
                     connections stall at random",
                )
                // The larger of the setting of `all` and the interface's counts: 2 wins over 1.
                .mend(sysctl("ipv4", name, "rp_filter", "2")),
            );
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, "rewritten packets can be resolved by the kernel"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::{Severity, samples},
        *,
    };

    #[test]
    fn a_strict_filter_and_a_ban_on_own_addresses_are_errors() {
        let (config, mut host) = samples::well();
        let settings = host.interfaces[1].ipv4.as_mut().unwrap();
        settings.accept_local = false;
        settings.rp_filter = 1;
        let findings = check(&config, &host);
        assert_eq!(findings.len(), 2);
        assert!(findings.iter().all(|f| f.severity == Severity::Error));
        assert_eq!(
            findings[0].mend.as_deref(),
            Some("sysctl -w net/ipv4/conf/eth1/accept_local=1")
        );
        assert_eq!(findings[1].mend.as_deref(), Some("sysctl -w net/ipv4/conf/eth1/rp_filter=2"));
    }

    #[test]
    fn a_loose_filter_is_fine() {
        let (config, mut host) = samples::well();
        host.interfaces[0].ipv4.as_mut().unwrap().rp_filter = 2;
        assert_eq!(check(&config, &host)[0].severity, Severity::Ok);
    }

    #[test]
    fn ipv6_knows_no_such_filter() {
        let (mut config, mut host) = samples::well();
        config.services.retain(|service| service.vip.is_ipv6());
        host.interfaces[0].ipv4.as_mut().unwrap().rp_filter = 1;
        assert_eq!(check(&config, &host), []);
    }
}

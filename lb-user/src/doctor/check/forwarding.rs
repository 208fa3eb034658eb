//! Does the kernel forward? Its FIB answers an XDP program only for interfaces that do.

use super::{
    super::{Finding, Host, Interface},
    interfaces, sysctl, uses_ipv4, uses_ipv6,
};
use crate::config::model::Config;

const CHECK: &str = "forwarding";
const WHY: &str = "the kernel then finds no way on for packets that arrive there: all are dropped";

pub(super) fn check(config: &Config, host: &Host) -> Vec<Finding> {
    let mut findings = Vec::new();
    for interface in interfaces(config, host) {
        if uses_ipv4(config) {
            findings.extend(ipv4(interface, host));
        }
        if uses_ipv6(config) {
            findings.extend(ipv6(interface, host));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, "the interfaces forward"));
    }
    findings
}

fn ipv4(interface: &Interface, host: &Host) -> Option<Finding> {
    let name = &interface.name;
    match interface.ipv4 {
        Some(settings) if settings.forwarding => None,
        Some(_) => Some(
            Finding::error(CHECK, format!("{name} does not forward IPv4"), WHY)
                // Where it is 1 already, setting it to 1 reaches no interface.
                .mend(if host.ipv4_forwarding == Some(true) {
                    sysctl("ipv4", name, "forwarding", "1")
                } else {
                    "sysctl -w net.ipv4.ip_forward=1".to_owned()
                }),
        ),
        None => Some(Finding::error(CHECK, format!("{name} has no IPv4"), WHY)),
    }
}

fn ipv6(interface: &Interface, host: &Host) -> Option<Finding> {
    let name = &interface.name;
    match (interface.ipv6_forwarding, host.ipv6_forwarding) {
        (Some(true), Some(true)) => None,
        // Packets to a next hop that is still unknown are forwarded by the stack, and that asks
        // for the setting of `all`.
        (Some(true), _) => Some(
            Finding::error(
                CHECK,
                "the host does not forward IPv6",
                "packets to a next hop that is still unknown would be dropped",
            )
            .mend("sysctl -w net.ipv6.conf.all.forwarding=1"),
        ),
        (Some(false), Some(true)) => {
            Some(Finding::error(CHECK, format!("{name} does not forward IPv6"), WHY).mend(sysctl(
                "ipv6",
                name,
                "forwarding",
                "1",
            )))
        }
        (Some(false), _) => Some(
            Finding::error(CHECK, format!("{name} does not forward IPv6"), WHY)
                .mend("sysctl -w net.ipv6.conf.all.forwarding=1"),
        ),
        (None, _) => Some(Finding::error(CHECK, format!("{name} has no IPv6"), WHY).mend(sysctl(
            "ipv6",
            name,
            "disable_ipv6",
            "0",
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::{Severity, samples},
        *,
    };

    #[test]
    fn each_interface_must_forward_each_family_in_use() {
        let (config, mut host) = samples::well();
        host.interfaces[1].ipv4.as_mut().unwrap().forwarding = false;
        host.interfaces[0].ipv6_forwarding = Some(false);
        let findings = check(&config, &host);
        assert_eq!(findings.len(), 2, "{findings:#?}");
        assert!(findings.iter().all(|f| f.severity == Severity::Error));
        assert_eq!(findings[0].what, "eth0 does not forward IPv6");
        assert_eq!(findings[0].mend.as_deref(), Some("sysctl -w net/ipv6/conf/eth0/forwarding=1"));
        assert_eq!(findings[1].what, "eth1 does not forward IPv4");
        assert_eq!(findings[1].mend.as_deref(), Some("sysctl -w net/ipv4/conf/eth1/forwarding=1"));
        host.ipv4_forwarding = Some(false);
        let mend = check(&config, &host)[1].mend.clone();
        assert_eq!(mend.as_deref(), Some("sysctl -w net.ipv4.ip_forward=1"));
    }

    #[test]
    fn a_family_that_no_service_uses_does_not_matter() {
        let (mut config, mut host) = samples::well();
        config.services.retain(|service| service.vip.is_ipv4());
        host.ipv6_forwarding = None;
        host.interfaces[0].ipv6_forwarding = None;
        host.interfaces[1].ipv6_forwarding = Some(false);
        assert_eq!(check(&config, &host)[0].severity, Severity::Ok);
    }
}

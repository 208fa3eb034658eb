//! Does anybody else use the source ports?

use super::super::{Finding, Host};
use crate::config::model::{Config, PortRange, overlaps};

pub(super) fn check(config: &Config, host: &Host) -> Vec<Finding> {
    let mut findings = vec![ephemeral(config, host)];
    findings.extend(reserved(config, host));
    findings.extend(conntrack(host));
    findings
}

fn ephemeral(config: &Config, host: &Host) -> Finding {
    const CHECK: &str = "ports";
    let ours = config.nat.ports;
    let Some(theirs) = host.ephemeral_ports else {
        return Finding::warning(
            CHECK,
            "the kernel does not tell its range of ports",
            format!("{ours} of nat.ports must be apart from net.ipv4.ip_local_port_range"),
        );
    };
    if !overlaps(ours, theirs) {
        return Finding::ok(CHECK, format!("{ours} is apart from the kernel's {theirs}"));
    }
    let finding = Finding::error(
        CHECK,
        format!("nat.ports {ours} overlaps the kernel's {theirs}"),
        "replies to this host's own connections would be taken for those of brokers, and broken",
    );
    match room(ours) {
        Some(free) => finding.mend(format!(
            "sysctl -w net.ipv4.ip_local_port_range='{} {}'",
            free.first(),
            free.last()
        )),
        None => finding,
    }
}

/// The larger of the ranges beside `ours`, if the kernel could live with it.
fn room(ours: PortRange) -> Option<PortRange> {
    const LEAST: u32 = 4096;
    let below = ours.first().checked_sub(1).and_then(|last| PortRange::new(1024, last));
    let above = ours.last().checked_add(1).and_then(|first| PortRange::new(first, 65_535));
    [below, above]
        .into_iter()
        .flatten()
        .filter(|range| range.count() >= LEAST)
        .max_by_key(|range| range.count())
}

/// Services of this host that bind ports of ours explicitly are not stopped by the range alone.
fn reserved(config: &Config, host: &Host) -> Option<Finding> {
    let ours = config.nat.ports;
    let covered = host
        .reserved_ports
        .iter()
        .any(|range| range.first() <= ours.first() && ours.last() <= range.last());
    if host.reserved_ports.is_empty() || covered {
        return None;
    }
    Some(
        Finding::hint(
            "reserved_ports",
            format!("{ours} is not in net.ipv4.ip_local_reserved_ports"),
            "this host reserves other ports; reserving these too keeps them free if the kernel's \
             range changes",
        )
        .mend(format!(
            "sysctl -w net.ipv4.ip_local_reserved_ports=\"$(sysctl -n \
             net.ipv4.ip_local_reserved_ports),{ours}\""
        )),
    )
}

fn conntrack(host: &Host) -> Option<Finding> {
    host.conntrack.then(|| {
        Finding::hint(
            "conntrack",
            "connection tracking is loaded",
            "it sees only the few packets that go up to the kernel: a firewall rule that drops \
             `ct state invalid`, or a FORWARD policy of drop, must spare the VIPs and the brokers",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::{Severity, samples},
        *,
    };

    fn range(first: u16, last: u16) -> PortRange {
        PortRange::new(first, last).unwrap()
    }

    #[test]
    fn ports_that_the_kernel_hands_out_are_an_error() {
        let (config, mut host) = samples::well();
        host.ephemeral_ports = Some(range(30_000, 60_999));
        let finding = &check(&config, &host)[0];
        assert_eq!(finding.severity, Severity::Error);
        let mend = finding.mend.as_deref();
        assert_eq!(mend, Some("sysctl -w net.ipv4.ip_local_port_range='30001 65535'"));
    }

    #[test]
    fn the_kernel_gets_the_larger_rest_or_no_advice() {
        assert_eq!(room(range(1024, 60_000)), Some(range(60_001, 65_535)));
        assert_eq!(room(range(40_000, 65_535)), Some(range(1024, 39_999)));
        assert_eq!(room(range(1024, 65_535)), None);
    }

    #[test]
    fn reserving_the_ports_is_only_a_hint() {
        let (config, mut host) = samples::well();
        host.reserved_ports = vec![range(5000, 5010)];
        assert_eq!(check(&config, &host)[1].severity, Severity::Hint);
        host.reserved_ports.push(range(15_000, 30_000));
        assert_eq!(check(&config, &host).len(), 1);
    }
}

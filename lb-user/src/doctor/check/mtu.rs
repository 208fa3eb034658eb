//! Do frames fit where XDP puts them, and through the next interface?

use super::{
    super::{Finding, Host},
    interfaces,
};
use crate::config::model::{Config, XdpMode};

const CHECK: &str = "mtu";

/// What a page must hold beside the IP packet when a driver runs XDP: 256 bytes before it, 320 of
/// the kernel's bookkeeping after it (x86-64), an Ethernet header and a VLAN tag.
const BESIDE_PACKET_BYTES: u32 = 256 + 320 + 14 + 4 + 4;

pub(super) fn check(config: &Config, host: &Host) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        config.interfaces.iter().filter_map(|s| page(&s.name, s.xdp, host)).collect();
    findings.extend(differing(config, host));
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, "the MTUs fit"));
    }
    findings
}

fn page(name: &str, mode: XdpMode, host: &Host) -> Option<Finding> {
    let mtu = host.interface(name)?.mtu;
    let most = host.page_bytes.saturating_sub(BESIDE_PACKET_BYTES);
    if mode == XdpMode::Generic || mtu <= most {
        return None;
    }
    let why = match mode {
        XdpMode::Native => {
            "most drivers then refuse native XDP, which the configuration insists on"
        }
        _ => "most drivers then refuse native XDP; generic XDP costs much more",
    };
    Some(
        Finding::warning(CHECK, format!("the MTU of {name} is {mtu}, above {most}"), why)
            .mend(format!("ip link set {name} mtu {most}")),
    )
}

fn differing(config: &Config, host: &Host) -> Option<Finding> {
    let small = interfaces(config, host).min_by_key(|interface| interface.mtu)?;
    let large = interfaces(config, host).max_by_key(|interface| interface.mtu)?;
    if small.mtu == large.mtu {
        return None;
    }
    Some(
        Finding::warning(
            CHECK,
            format!(
                "the MTU of {} is {}, that of {} {}",
                small.name, small.mtu, large.name, large.mtu
            ),
            "packets that are too large for the way on are not forwarded; the sender is told by \
             ICMP, and where a firewall drops that, connections hang on their first large message",
        )
        .mend(format!("ip link set {} mtu {}", large.name, small.mtu)),
    )
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::{Severity, samples},
        *,
    };

    #[test]
    fn jumbo_frames_do_not_fit_into_a_page() {
        let (mut config, mut host) = samples::well();
        for interface in &mut host.interfaces {
            interface.mtu = 3498;
        }
        assert_eq!(check(&config, &host)[0].severity, Severity::Ok);
        for interface in &mut host.interfaces {
            interface.mtu = 9000;
        }
        assert_eq!(check(&config, &host).len(), 2);
        for interface in &mut config.interfaces {
            interface.xdp = XdpMode::Generic;
        }
        assert_eq!(check(&config, &host)[0].severity, Severity::Ok);
        config.interfaces[0].xdp = XdpMode::Auto;
        host.page_bytes = 65_536;
        assert_eq!(check(&config, &host)[0].severity, Severity::Ok);
    }

    #[test]
    fn interfaces_should_have_one_mtu() {
        let (config, mut host) = samples::well();
        host.interfaces[1].mtu = 1400;
        let findings = check(&config, &host);
        assert_eq!(findings[0].severity, Severity::Warning);
        assert_eq!(findings[0].mend.as_deref(), Some("ip link set eth0 mtu 1400"));
    }
}

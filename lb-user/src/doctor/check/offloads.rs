//! Do offloads change packets before the program sees them?

use super::{
    super::{Finding, Host, Interface},
    interfaces,
};
use crate::config::model::Config;

const CHECK: &str = "offloads";

/// The kernel's name of an offload that joins segments in the device, and ethtool's.
const JOINING: [(&str, &str); 2] = [("rx-lro", "lro"), ("rx-gro-hw", "rx-gro-hw")];

pub(super) fn check(config: &Config, host: &Host) -> Vec<Finding> {
    let mut findings: Vec<Finding> = interfaces(config, host).flat_map(examine).collect();
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, "no offload is in the way"));
    }
    findings
}

fn examine(interface: &Interface) -> Vec<Finding> {
    let name = &interface.name;
    JOINING
        .iter()
        .filter(|(offload, _)| interface.offloads.contains(*offload))
        .map(|(_, option)| {
            Finding::warning(
                CHECK,
                format!("{name} joins received segments in the device ({option})"),
                "drivers refuse native XDP then, and joined segments are too large to forward",
            )
            .mend(format!("ethtool -K {name} {option} off"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::{Severity, samples},
        *,
    };

    #[test]
    fn joining_in_the_device_is_reported_per_interface() {
        let (config, mut host) = samples::well();
        host.interfaces[0].offloads.insert("rx-lro".into());
        host.interfaces[1].offloads.insert("rx-gro-hw".into());
        host.interfaces[1].offloads.insert("rx-gro".into());
        let findings = check(&config, &host);
        assert_eq!(findings.len(), 2);
        assert!(findings.iter().all(|f| f.severity == Severity::Warning));
        assert_eq!(findings[1].mend.as_deref(), Some("ethtool -K eth1 rx-gro-hw off"));
    }
}

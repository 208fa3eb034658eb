//! Are the interfaces there, and up?

use super::super::{Finding, Host};
use crate::config::model::Config;

const CHECK: &str = "interface";

pub(super) fn check(config: &Config, host: &Host) -> Vec<Finding> {
    config.interfaces.iter().map(|settings| examine(&settings.name, host)).collect()
}

fn examine(name: &str, host: &Host) -> Finding {
    let Some(interface) = host.interface(name) else {
        let others: Vec<&str> = host.interfaces.iter().map(|other| other.name.as_str()).collect();
        return Finding::error(
            CHECK,
            format!("{name} does not exist"),
            format!("it is configured; this host has {}", list(&others)),
        )
        .mend("ip -brief link");
    };
    if !interface.up {
        return Finding::error(CHECK, format!("{name} is down"), "no packet arrives there")
            .mend(format!("ip link set {name} up"));
    }
    if !interface.carrier {
        return Finding::warning(
            CHECK,
            format!("{name} has no carrier"),
            "its cable, or its peer, is not connected",
        );
    }
    Finding::ok(CHECK, format!("{name} is up"))
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "no interface".into() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::{Severity, samples},
        *,
    };

    #[test]
    fn an_interface_that_is_missing_or_down_is_an_error() {
        let (config, mut host) = samples::well();
        host.interfaces[1].carrier = false;
        assert_eq!(check(&config, &host)[1].severity, Severity::Warning);
        host.interfaces[1].up = false;
        let finding = &check(&config, &host)[1];
        assert_eq!(finding.severity, Severity::Error);
        assert_eq!(finding.mend.as_deref(), Some("ip link set eth1 up"));
        host.interfaces.remove(1);
        let finding = &check(&config, &host)[1];
        assert_eq!(finding.severity, Severity::Error);
        assert!(finding.why.contains("eth0"), "{finding:?}");
    }
}

//! Are the brokers behind interfaces that the program is on?

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::super::{Finding, Host};
use crate::config::model::Config;

const CHECK: &str = "route";

pub(super) fn check(config: &Config, host: &Host) -> Vec<Finding> {
    let brokers: BTreeSet<IpAddr> =
        config.services.iter().flat_map(|s| &s.backends).map(|backend| backend.address).collect();
    let mut findings: Vec<Finding> =
        brokers.iter().filter_map(|broker| examine(*broker, config, host)).collect();
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, "all brokers are behind configured interfaces"));
    }
    findings
}

fn examine(broker: IpAddr, config: &Config, host: &Host) -> Option<Finding> {
    let Some(Some(via)) = host.routes.get(&broker) else {
        return Some(
            Finding::error(CHECK, format!("no route to {broker}"), "packets to it are dropped")
                .mend(format!("ip route get {broker}")),
        );
    };
    if config.interfaces.iter().any(|interface| interface.name == *via) {
        return None;
    }
    Some(Finding::error(
        CHECK,
        format!("the way to {broker} is out of {via}, which is not configured"),
        format!(
            "its replies come in there, past the XDP program, and reach no client: add {via} to \
             `interfaces`"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::{Severity, samples},
        *,
    };

    #[test]
    fn a_broker_without_a_route_is_an_error() {
        let (config, mut host) = samples::well();
        let broker = config.services[0].backends[0].address;
        host.routes.insert(broker, None);
        let findings = check(&config, &host);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].severity, Severity::Error);
        assert_eq!(findings[0].what, format!("no route to {broker}"));
    }

    #[test]
    fn a_broker_behind_an_interface_without_the_program_is_an_error() {
        let (mut config, host) = samples::well();
        config.interfaces.retain(|interface| interface.name == "eth0");
        let findings = check(&config, &host);
        assert!(findings.iter().all(|f| f.severity == Severity::Error), "{findings:?}");
        assert!(findings[0].why.contains("add eth1"), "{findings:?}");
    }
}

//! The checks: what a configuration asks of a host, held against the host.

mod addresses;
mod files;
mod forwarding;
mod interfaces;
mod kernel;
mod mtu;
mod offloads;
mod ports;
mod privileges;
mod reverse_path;
mod routes;
mod tunnel;
mod xdp;

use std::net::IpAddr;

use super::{Finding, Host, Interface};
use crate::config::model::Config;

type Check = fn(&Config, &Host) -> Vec<Finding>;

const CHECKS: [Check; 13] = [
    kernel::check,
    privileges::check,
    files::check,
    interfaces::check,
    addresses::check,
    routes::check,
    forwarding::check,
    reverse_path::check,
    mtu::check,
    tunnel::check,
    offloads::check,
    xdp::check,
    ports::check,
];

/// Everything the checks find, in the order in which one would mend it.
#[must_use]
pub fn examine(config: &Config, host: &Host) -> Vec<Finding> {
    CHECKS.iter().flat_map(|check| check(config, host)).collect()
}

/// The configured interfaces that exist, each once.
fn interfaces<'a>(config: &'a Config, host: &'a Host) -> impl Iterator<Item = &'a Interface> {
    config.interfaces.iter().filter_map(|settings| host.interface(&settings.name))
}

/// Whether some packet is of IPv4: of a service, or on the way to a broker.
fn uses_ipv4(config: &Config) -> bool {
    addresses_of_packets(config).any(|address| address.is_ipv4())
}

/// Whether some packet is of IPv6: of a service, or on the way to a broker.
fn uses_ipv6(config: &Config) -> bool {
    addresses_of_packets(config).any(|address| address.is_ipv6())
}

fn addresses_of_packets(config: &Config) -> impl Iterator<Item = IpAddr> + '_ {
    config.services.iter().flat_map(|service| {
        let brokers = service.backends.iter().map(|backend| backend.address);
        brokers.chain([service.vip])
    })
}

/// The names of a setting of an interface under /proc/sys have slashes; `sysctl` takes them too,
/// which spares us the dots in names of VLAN interfaces.
fn sysctl(family: &str, interface: &str, setting: &str, value: &str) -> String {
    format!("sysctl -w net/{family}/conf/{interface}/{setting}={value}")
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Severity, any_error, samples},
        *,
    };

    #[test]
    fn a_host_that_is_set_up_well_has_no_complaint() {
        let (config, host) = samples::well();
        let findings = examine(&config, &host);
        assert!(findings.iter().all(|f| f.severity == Severity::Ok), "{findings:#?}");
        assert!(!any_error(&findings));
    }

    #[test]
    fn whatever_is_wrong_comes_with_a_reason() {
        let (config, mut host) = samples::well();
        host.interfaces.clear();
        host.kernel = None;
        host.capabilities.clear();
        host.routes.clear();
        let findings = examine(&config, &host);
        assert!(any_error(&findings));
        for finding in findings.iter().filter(|f| f.severity != Severity::Ok) {
            assert!(!finding.why.is_empty(), "{finding:#?}");
        }
    }
}

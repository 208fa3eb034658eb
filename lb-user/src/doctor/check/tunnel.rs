//! Do wrapped packets fit on the way to the brokers, and come from where nobody is?

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    super::{Finding, Host},
    interfaces,
};
use crate::config::model::{Config, Mode};

const CHECK: &str = "tunnel";

/// Bytes of the headers of TCP and of the IP packet inside, by whether that is of IPv6.
const SEGMENT_HEADERS: [u32; 2] = [20 + 20, 40 + 20];

pub(super) fn check(config: &Config, host: &Host) -> Vec<Finding> {
    let tunnelled = || config.services.iter().filter(|service| service.mode == Mode::Ipip);
    if tunnelled().next().is_none() {
        return Vec::new();
    }
    let mut findings: Vec<Finding> = sources(config, host).collect();
    let vips_of_v6 = tunnelled().any(|service| service.vip.is_ipv6());
    let brokers: BTreeSet<IpAddr> =
        tunnelled().flat_map(|service| &service.backends).map(|broker| broker.address).collect();
    findings.extend(too_large(&brokers, vips_of_v6, config, host));
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, "wrapped packets fit, and come from where nobody is"));
    }
    findings
}

/// Addresses of this host that wrapped packets could come from.
fn sources<'a>(config: &'a Config, host: &'a Host) -> impl Iterator<Item = Finding> + 'a {
    let held = host.interfaces.iter().flat_map(|interface| {
        interface.addresses.iter().map(move |network| (interface, network.address))
    });
    held.filter_map(|(interface, address)| {
        let prefix = config.tunnel.to(address).filter(|prefix| prefix.contains(address))?;
        Some(Finding::error(
            CHECK,
            format!("{} holds {address}, in {prefix} of `tunnel.sources`", interface.name),
            "wrapped packets come from there: what brokers and routers answer to them would reach \
             this host's own connections; choose a prefix that no host has an address in",
        ))
    })
}

/// The smallest way to a broker, if packets come in that do not fit when they are wrapped.
fn too_large(
    brokers: &BTreeSet<IpAddr>,
    vips_of_v6: bool,
    config: &Config,
    host: &Host,
) -> Option<Finding> {
    let way = |broker: &IpAddr| host.interface(host.routes.get(broker)?.as_deref()?);
    let room = |broker: &IpAddr| {
        Some(way(broker)?.mtu.saturating_sub(if broker.is_ipv4() { 20 } else { 40 }))
    };
    // Clients are behind the other interfaces, or behind the same if there are no others.
    let ways: BTreeSet<&str> = brokers.iter().filter_map(way).map(|i| i.name.as_str()).collect();
    let of_clients =
        interfaces(config, host).filter(|interface| !ways.contains(interface.name.as_str()));
    let mtu = of_clients.map(|interface| interface.mtu).max();
    let largest = mtu.or_else(|| brokers.iter().filter_map(way).map(|i| i.mtu).max())?;
    let room = brokers.iter().filter_map(room).min().filter(|room| *room < largest)?;
    let mss = room.saturating_sub(SEGMENT_HEADERS[usize::from(vips_of_v6)]);
    Some(Finding::hint(
        CHECK,
        format!("packets of more than {room} bytes do not fit when they are wrapped"),
        format!(
            "clients send no larger ones if the brokers tell them so: on each broker, give the route \
             to the clients `advmss {mss}` (docs/ipip.md)"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::{Severity, samples},
        *,
    };
    use crate::config::model::TunnelSettings;

    fn tunnels() -> (Config, Host) {
        let (mut config, host) = samples::well();
        let prefix = |text: &str| text.parse().ok();
        config.tunnel = TunnelSettings { v4: prefix("10.99.0.0/16"), v6: prefix("fd00:99::/64") };
        config.services.iter_mut().for_each(|service| service.mode = Mode::Ipip);
        (config, host)
    }

    #[test]
    fn a_way_without_room_for_the_outer_header_is_a_hint_for_the_brokers() {
        let (config, mut host) = tunnels();
        let finding = &check(&config, &host)[0];
        assert_eq!(finding.severity, Severity::Hint);
        assert!(finding.what.contains("more than 1460 bytes"), "{finding:?}");
        assert!(finding.why.contains("advmss 1400"), "{finding:?}");
        host.interfaces[1].mtu = 1540;
        assert_eq!(check(&config, &host)[0].severity, Severity::Ok);
    }

    #[test]
    fn clients_on_the_link_of_the_brokers_can_send_what_does_not_fit() {
        let (mut config, mut host) = tunnels();
        config.interfaces.retain(|interface| interface.name == "eth1");
        host.interfaces[1].mtu = 9000;
        let finding = &check(&config, &host)[0];
        assert!(finding.what.contains("more than 8960 bytes"), "{finding:?}");
    }

    #[test]
    fn a_source_that_this_host_holds_is_an_error() {
        let (config, mut host) = tunnels();
        samples::add_address(&mut host, "lo", "10.99.7.7", 32);
        assert_eq!(check(&config, &host)[0].severity, Severity::Error);
    }

    #[test]
    fn without_tunnels_there_is_nothing_to_say() {
        let (config, host) = samples::well();
        assert_eq!(check(&config, &host), []);
    }
}

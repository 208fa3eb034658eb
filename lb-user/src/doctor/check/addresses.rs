//! Does the host hold the VIPs and its own addresses, where neighbours ask for them?

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    super::{Finding, Host, Interface},
    interfaces,
};
use crate::config::model::Config;

pub(super) fn check(config: &Config, host: &Host) -> Vec<Finding> {
    let vips: BTreeSet<IpAddr> = config.services.iter().map(|service| service.vip).collect();
    let mut findings = Vec::new();
    findings.extend(vips.into_iter().map(|vip| examine_vip(vip, config, host)));
    findings.extend(config.nat.addresses.iter().map(|own| examine_own(*own, config, host)));
    findings
}

fn examine_vip(vip: IpAddr, config: &Config, host: &Host) -> Finding {
    const CHECK: &str = "vip";
    match holding(vip, config, host) {
        _ if config.hold_vips => Finding::ok(CHECK, format!("mqlb will hold {vip} itself")),
        Holding::Answered(on) => Finding::ok(CHECK, format!("{vip} is held by {on}")),
        Holding::Unanswered { on, link } => unanswered(CHECK, vip, on, link),
        Holding::Absent(Some(link)) => Finding::error(
            CHECK,
            format!("no interface holds {vip}"),
            format!("it is in a network of {link}: nobody answers who asks there for it"),
        )
        .mend(format!("{}    # or hold_vips: true", add(vip, link))),
        Holding::Absent(None) => Finding::warning(
            CHECK,
            format!("no interface holds {vip}"),
            "where routers send it here, forwarding works, but packets that are not for a service \
             (ping, other ports) are routed on, mostly back to where they came from",
        )
        .mend(format!("{}    # or hold_vips: true", add(vip, "lo"))),
    }
}

fn examine_own(own: IpAddr, config: &Config, host: &Host) -> Finding {
    const CHECK: &str = "nat_address";
    match holding(own, config, host) {
        Holding::Answered(on) => Finding::ok(CHECK, format!("{own} is held by {on}")),
        Holding::Unanswered { on, link } => unanswered(CHECK, own, on, link),
        Holding::Absent(link) => Finding::error(
            CHECK,
            format!("no interface holds {own}"),
            "brokers answer to it, and find nobody",
        )
        .mend(add(own, link.unwrap_or("lo"))),
    }
}

fn unanswered(check: &'static str, address: IpAddr, on: &str, link: &str) -> Finding {
    let finding = |why: &str| {
        Finding::error(
            check,
            format!("{address} is held by {on}, but asked for on {link}"),
            why.to_owned(),
        )
    };
    if address.is_ipv4() {
        finding("arp_ignore forbids to answer there for addresses of other interfaces")
            .mend(add(address, link))
    } else {
        finding("neighbour discovery is answered only by the interface that holds the address")
            .mend(add(address, link))
    }
}

fn add(address: IpAddr, interface: &str) -> String {
    let prefix = if address.is_ipv4() { "32" } else { "128" };
    let options = if address.is_ipv4() { "" } else { " nodad preferred_lft 0" };
    format!("ip addr add {address}/{prefix} dev {interface}{options}")
}

/// Where an address is, and whether its neighbours find it there.
enum Holding<'a> {
    /// On this interface, and whoever asks gets an answer.
    Answered(&'a str),
    /// On one interface, but asked for on the link of another, which stays silent.
    Unanswered { on: &'a str, link: &'a str },
    /// Nowhere; in the network of this interface, if any.
    Absent(Option<&'a str>),
}

fn holding<'a>(address: IpAddr, config: &'a Config, host: &'a Host) -> Holding<'a> {
    let asked: Vec<&Interface> = interfaces(config, host)
        .filter(|interface| interface.addresses.iter().any(|own| own.reaches(address)))
        .collect();
    let holds = |interface: &&Interface| interface.addresses.iter().any(|n| n.address == address);
    let Some(on) = asked.iter().copied().find(holds).or_else(|| host.interfaces.iter().find(holds))
    else {
        return Holding::Absent(asked.first().map(|interface| interface.name.as_str()));
    };
    let answers = |link: &&&Interface| {
        let anywhere = address.is_ipv4() && link.ipv4.is_none_or(|ipv4| ipv4.arp_ignore == 0);
        anywhere || link.name == on.name
    };
    match asked.first() {
        Some(link) if !asked.iter().any(|link| answers(&link)) => {
            Holding::Unanswered { on: &on.name, link: &link.name }
        }
        _ => Holding::Answered(&on.name),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::{Severity, samples},
        *,
    };

    fn of(check_name: &str, config: &Config, host: &Host) -> Vec<Finding> {
        check(config, host).into_iter().filter(|f| f.check == check_name).collect()
    }

    #[test]
    fn a_vip_nobody_answers_for_is_an_error() {
        let (mut config, mut host) = samples::well();
        samples::drop_address(&mut host, "192.0.2.10");
        config.services[0].vip = "10.1.0.99".parse().unwrap();
        let finding = &of("vip", &config, &host)[0];
        assert_eq!(finding.severity, Severity::Error);
        let mend = finding.mend.as_deref().unwrap();
        assert!(mend.starts_with("ip addr add 10.1.0.99/32 dev eth0"), "{mend}");
    }

    #[test]
    fn a_vip_that_is_routed_here_should_still_be_held() {
        let (config, mut host) = samples::well();
        samples::drop_address(&mut host, "192.0.2.10");
        let finding = &of("vip", &config, &host)[0];
        assert_eq!(finding.severity, Severity::Warning);
        let mend = finding.mend.as_deref().unwrap();
        assert!(mend.starts_with("ip addr add 192.0.2.10/32 dev lo"), "{mend}");
    }

    #[test]
    fn vips_that_mqlb_holds_itself_need_not_be_there() {
        let (mut config, mut host) = samples::well();
        samples::drop_address(&mut host, "192.0.2.10");
        config.hold_vips = true;
        assert!(of("vip", &config, &host).iter().all(|f| f.severity == Severity::Ok));
    }

    #[test]
    fn an_ipv6_vip_on_the_loopback_is_silent_on_its_link() {
        let (mut config, mut host) = samples::well();
        let vip: IpAddr = "fd00:1::99".parse().unwrap();
        config.services[1].vip = vip;
        samples::add_address(&mut host, "lo", "fd00:1::99", 128);
        assert_eq!(of("vip", &config, &host)[1].severity, Severity::Error);
        samples::add_address(&mut host, "eth0", "fd00:1::99", 128);
        assert_eq!(of("vip", &config, &host)[1].severity, Severity::Ok);
    }

    #[test]
    fn an_ipv4_vip_on_the_loopback_is_answered_unless_arp_ignore_forbids() {
        let (mut config, mut host) = samples::well();
        config.services[0].vip = "10.1.0.99".parse().unwrap();
        samples::add_address(&mut host, "lo", "10.1.0.99", 32);
        assert_eq!(of("vip", &config, &host)[0].severity, Severity::Ok);
        host.interfaces[0].ipv4.as_mut().unwrap().arp_ignore = 1;
        assert_eq!(of("vip", &config, &host)[0].severity, Severity::Error);
    }

    #[test]
    fn a_nat_address_the_host_does_not_hold_is_an_error() {
        let (config, mut host) = samples::well();
        samples::drop_address(&mut host, "10.2.0.2");
        let finding = &of("nat_address", &config, &host)[0];
        assert_eq!(finding.severity, Severity::Error);
    }
}

//! Rules for addresses, which can be a VIP, a backend or a source, and which fit together; and for times.
//!
//! Commands that change a running balancer ask here, too.

use std::{net::IpAddr, time::Duration};

use super::{
    fault::Fault,
    model::{Mode, TunnelSettings},
};

/// The longest of the times that TCP is told: it takes 32,767 seconds at most (`MAX_TCP_KEEPIDLE` of Linux).
pub const LONGEST_TCP_TIME: Duration = Duration::from_hours(9);

/// What an address is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The address of a service.
    Vip,
    /// The address of a broker.
    Backend,
    /// An address of the balancer towards the brokers.
    Source,
}

impl Role {
    const fn noun(self) -> &'static str {
        match self {
            Self::Vip => "a VIP",
            Self::Backend => "a backend",
            Self::Source => "a source address",
        }
    }
}

/// Whether `address` can be used as `role` at all: a unicast address that packets from another
/// machine can carry.
pub fn usable(address: IpAddr, role: Role) -> Result<(), Fault> {
    let (kind, hint) = match address {
        a if a.is_unspecified() => ("the unspecified address", "name one address"),
        a if a.is_loopback() => (
            "a loopback address",
            "packets on the wire never carry it; use an address that other machines can reach",
        ),
        a if a.is_multicast() => ("a multicast address", "TCP needs a unicast address"),
        IpAddr::V4(v4) if v4.is_broadcast() => {
            ("the broadcast address", "TCP needs a unicast address")
        }
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => {
                let problem = format!("{v6} is an IPv4-mapped address");
                return Err(Fault::new(problem, format!("write it as IPv4: {v4}")));
            }
            None if v6.is_unicast_link_local() => (
                "a link-local address",
                "it means nothing without an interface; use a global or unique local address",
            ),
            None => return Ok(()),
        },
        IpAddr::V4(_) => return Ok(()),
    };
    Err(Fault::new(format!("{address} is {kind} and cannot be {}", role.noun()), hint))
}

/// The same for a service in `mode`: what userspace accepts and connects never needs a wire.
pub fn usable_in(address: IpAddr, role: Role, mode: Option<Mode>) -> Result<(), Fault> {
    if address.is_loopback() && mode.is_some_and(Mode::is_proxied) {
        return Ok(());
    }
    usable(address, role)
}

/// What the addresses of a backend are checked against.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// The VIPs of all services.
    pub vips: &'a [IpAddr],
    /// The balancer's source addresses.
    pub sources: &'a [IpAddr],
    /// Where outer addresses come from, if that is known.
    pub tunnel: Option<TunnelSettings>,
}

/// Fails unless a backend with this port can be reached in this mode: a port that is not rewritten is
/// the service's.
pub fn port_fits(port: u16, service_port: u16, mode: Mode) -> Result<(), Fault> {
    if !mode.is_direct() || port == service_port {
        return Ok(());
    }
    Err(Fault::new(
        format!(
            "{port} is not {service_port}, the service's port, which this mode does not rewrite"
        ),
        "let the broker listen on the service's port, or use `mode: nat`",
    ))
}

/// Whether a broker at `address` can be a backend of a service at `vip` in `mode`, as far as these
/// are known.
pub fn backend_fits(
    address: IpAddr,
    vip: Option<IpAddr>,
    mode: Option<Mode>,
    around: Surroundings<'_>,
) -> Result<(), Fault> {
    usable_in(address, Role::Backend, mode)?;
    if mode.is_some_and(Mode::is_proxied) && !is_own_vip(address, vip, around) {
        return Ok(());
    }
    if around.vips.contains(&address) {
        return Err(Fault::new(
            format!("{address} is a VIP: connections would come back to the balancer"),
            "name the broker's own address",
        ));
    }
    if around.sources.contains(&address) {
        return Err(Fault::new(
            format!("{address} is an address of the balancer itself (nat.addresses)"),
            "run brokers on other machines, or in a network namespace with an own address",
        ));
    }
    match (mode, vip) {
        (Some(Mode::Ipip), _) => tunnel_leads_to(address, around),
        (Some(Mode::Nat | Mode::Dsr), Some(vip)) if vip.is_ipv4() != address.is_ipv4() => {
            Err(Fault::new(
                format!("{address} is {}, but the service's VIP {vip} is not", family(address)),
                "give the broker's address of the VIP's family; only `mode: ipip` mixes families",
            ))
        }
        _ => Ok(()),
    }
}

/// Whether connections to `address` would come back. On a loopback address services and brokers are
/// told apart by their ports.
fn is_own_vip(address: IpAddr, vip: Option<IpAddr>, around: Surroundings<'_>) -> bool {
    !address.is_loopback() && (around.vips.contains(&address) || vip == Some(address))
}

fn tunnel_leads_to(address: IpAddr, around: Surroundings<'_>) -> Result<(), Fault> {
    let Some(tunnel) = around.tunnel else { return Ok(()) };
    match tunnel.to(address) {
        None => Err(Fault::new(
            format!("{address} is {0}, but `tunnel.sources` has no {0} prefix", family(address)),
            "add one, as in `tunnel: { sources: [10.99.0.0/16, \"fd00:99::/64\"] }`; see docs/ipip.md",
        )),
        Some(prefix) if prefix.contains(address) => Err(Fault::new(
            format!("{address} lies in {prefix}, where tunnelled packets come from"),
            "choose a prefix for `tunnel.sources` that no host has an address in",
        )),
        Some(_) => Ok(()),
    }
}

/// The name of the address family.
#[must_use]
pub const fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn only_addresses_that_packets_can_carry_are_usable() {
        for good in ["10.0.0.1", "169.254.1.1", "2001:db8::1", "fd00::1"] {
            assert_eq!(usable(ip(good), Role::Vip), Ok(()), "{good}");
        }
        let bad = ["0.0.0.0", "::", "127.0.0.1", "::1", "224.0.0.1", "ff02::1", "255.255.255.255"];
        for bad in bad.into_iter().chain(["::ffff:10.0.0.1", "fe80::1"]) {
            assert!(usable(ip(bad), Role::Vip).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_backend_is_neither_the_balancer_nor_of_another_family() {
        let (vips, sources) = ([ip("192.0.2.10")], [ip("10.0.0.2")]);
        let around = Surroundings { vips: &vips, sources: &sources, tunnel: None };
        let (vip, nat) = (Some(ip("192.0.2.10")), Some(Mode::Nat));
        assert_eq!(backend_fits(ip("10.0.1.11"), vip, nat, around), Ok(()));
        for bad in ["192.0.2.10", "10.0.0.2", "2001:db8::11", "127.0.0.1"] {
            assert!(backend_fits(ip(bad), vip, nat, around).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_tunnel_leads_to_either_family_that_it_has_a_source_of() {
        let tunnel = TunnelSettings { v4: "10.99.0.0/16".parse().ok(), v6: None };
        let around = Surroundings { vips: &[], sources: &[], tunnel: Some(tunnel) };
        let fits = |address: &str, around| {
            backend_fits(ip(address), Some(ip("2001:db8::10")), Some(Mode::Ipip), around)
        };
        assert_eq!(fits("10.0.1.11", around), Ok(()));
        assert!(fits("10.99.1.11", around).is_err(), "it would be a source itself");
        assert!(fits("fd00::11", around).is_err(), "there is no source");
        let both = TunnelSettings { v6: "fd00:99::/64".parse().ok(), ..tunnel };
        assert_eq!(fits("fd00::11", Surroundings { tunnel: Some(both), ..around }), Ok(()));
    }
}

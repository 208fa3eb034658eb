//! Rules for addresses: which can be a VIP, a backend or a source, and which fit together.
//!
//! Commands that change a running balancer ask here, too.

use std::net::IpAddr;

use super::fault::Fault;

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

/// What the addresses of a backend are checked against.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// The VIPs of all services.
    pub vips: &'a [IpAddr],
    /// The balancer's source addresses.
    pub sources: &'a [IpAddr],
}

/// Whether a broker at `address` can be a backend of a service at `vip`.
pub fn backend_fits(
    address: IpAddr,
    vip: Option<IpAddr>,
    around: Surroundings<'_>,
) -> Result<(), Fault> {
    usable(address, Role::Backend)?;
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
    match vip {
        Some(vip) if vip.is_ipv4() != address.is_ipv4() => Err(Fault::new(
            format!("{address} is {}, but the service's VIP {vip} is not", family(address)),
            "NAT keeps the address family; give the broker's address of the VIP's family",
        )),
        _ => Ok(()),
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
        let around = Surroundings { vips: &[ip("192.0.2.10")], sources: &[ip("10.0.0.2")] };
        let vip = Some(ip("192.0.2.10"));
        assert_eq!(backend_fits(ip("10.0.1.11"), vip, around), Ok(()));
        for bad in ["192.0.2.10", "10.0.0.2", "2001:db8::11", "127.0.0.1"] {
            assert!(backend_fits(ip(bad), vip, around).is_err(), "{bad}");
        }
    }
}

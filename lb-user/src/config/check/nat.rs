//! The balancer's side of the connections towards the brokers.

use std::net::IpAddr;

use lb_common::backend::MAX_SOURCES;

use super::report::{At, Checked, Reported};
use crate::config::{
    defaults,
    fault::Fault,
    model::{Mode, NatSettings, PortRange},
    raw,
    rules::{self, Role},
    value,
};

pub fn nat(at: &At, raw: raw::Nat, services: &[raw::Service]) -> Checked<NatSettings> {
    let needed = services.is_empty() || services.iter().any(is_nat);
    let addresses = addresses(&at.key("addresses"), &raw.addresses.unwrap_or_default(), needed);
    let ports = at.defaulted("ports", raw.ports.as_ref(), defaults::NAT_PORTS, value::port_range);
    if let Ok(addresses) = &addresses {
        every_family_has_a_source(&at.key("addresses"), addresses, services);
        if let Ok(ports) = ports {
            clear_of_services(&at.key("ports"), ports, addresses, services);
        }
    }
    Ok(NatSettings { addresses: addresses?, ports: ports? })
}

/// Fails if an address could not be read: then nothing can be said about what is missing.
fn addresses(at: &At, raw: &[raw::Text], needed: bool) -> Checked<Vec<IpAddr>> {
    if raw.is_empty() && needed {
        return Err(at.reject(Fault::new(
            "there is no source address",
            "list the balancer's own addresses towards the brokers, as in [10.0.0.2]",
        )));
    }
    if raw.len() > MAX_SOURCES as usize {
        at.reject(Fault::new(
            format!("{} source addresses are more than {MAX_SOURCES}", raw.len()),
            "keep fewer: each one gives as many connections per broker as nat.ports has ports",
        ));
    }
    let mut addresses = Vec::new();
    for (i, text) in raw.iter().enumerate() {
        let at = at.index(i);
        let Ok(address) = at.accept(value::address(&text.0)) else { continue };
        let _ = at.accept(rules::usable(address, Role::Source));
        if addresses.contains(&address) {
            at.reject(Fault::new(format!("{address} is listed twice"), "remove one of the two"));
        }
        addresses.push(address);
    }
    if addresses.len() == raw.len() { Ok(addresses) } else { Err(Reported) }
}

fn every_family_has_a_source(at: &At, addresses: &[IpAddr], services: &[raw::Service]) {
    let mut reported = Vec::new();
    for service in services {
        let Some(vip) = vip(service).filter(|_| is_nat(service)) else { continue };
        let family = rules::family(vip);
        let served = addresses.iter().any(|address| address.is_ipv4() == vip.is_ipv4());
        if served || reported.contains(&family) {
            continue;
        }
        reported.push(family);
        at.reject(Fault::new(
            format!("no {family} address, but {vip} is the VIP of a service"),
            format!("add an {family} address of the balancer that the brokers can answer to"),
        ));
    }
}

/// A reply to a source port and a segment to a service are told apart by the port alone where the
/// address is both.
fn clear_of_services(at: &At, ports: PortRange, addresses: &[IpAddr], services: &[raw::Service]) {
    for service in services {
        let Some(vip) = vip(service).filter(|vip| addresses.contains(vip)) else { continue };
        let port = service.port.as_ref().and_then(|text| value::port(&text.0).ok());
        if let Some(port) = port.filter(|port| ports.contains(*port)) {
            at.reject(Fault::new(
                format!(
                    "{ports} contains {port}, a service's port at {vip}, also a source address"
                ),
                "choose a range without that port, or another source address",
            ));
        }
    }
}

/// Whether the replies of a service pass here: anything but a mode that says otherwise.
fn is_nat(service: &raw::Service) -> bool {
    let mode = service.mode.as_ref().and_then(|mode| value::forwarding_mode(&mode.0).ok());
    mode.is_none_or(|mode| mode == Mode::Nat)
}

fn vip(service: &raw::Service) -> Option<IpAddr> {
    let vip = value::address(&service.vip.as_ref()?.0).ok()?;
    rules::usable(vip, Role::Vip).is_ok().then_some(vip)
}

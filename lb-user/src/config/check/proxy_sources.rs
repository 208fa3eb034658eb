//! The mode `mqtt`: the balancer's own addresses towards the brokers.

use std::net::IpAddr;

use lb_common::backend::MAX_SOURCES;

use super::report::{At, Checked, Reported};
use crate::config::{
    fault::Fault,
    model::{Backend, Mode},
    raw,
    rules::{self, Role},
    value,
};

/// None leaves the choice to the kernel.
pub fn addresses(at: &At, raw: Option<&[raw::Text]>) -> Checked<Vec<IpAddr>> {
    let Some(raw) = raw else { return Ok(Vec::new()) };
    if raw.is_empty() {
        let hint = "list addresses of this host, as in [10.0.0.2], or remove the key: then the kernel \
                    chooses";
        return Err(at.reject(Fault::new("there is no source address", hint)));
    }
    if raw.len() > MAX_SOURCES as usize {
        return Err(at.reject(Fault::new(
            format!("{} source addresses are more than {MAX_SOURCES}", raw.len()),
            "keep fewer: each one gives about 28,000 connections to each broker",
        )));
    }
    let mut addresses = Vec::new();
    for (i, text) in raw.iter().enumerate() {
        let at = at.index(i);
        let Ok(address) = at.accept(value::address(&text.0)) else { continue };
        if at.accept(rules::usable_in(address, Role::Source, Some(Mode::Mqtt))).is_err() {
            continue;
        }
        if addresses.contains(&address) {
            at.reject(Fault::new(format!("{address} is listed twice"), "remove one of the two"));
            continue;
        }
        addresses.push(address);
    }
    if addresses.len() == raw.len() { Ok(addresses) } else { Err(Reported) }
}

/// Rejects addresses that a backend cannot be reached from.
pub fn reach(at: &At, addresses: &[IpAddr], backends: &[Backend]) {
    let from = |backend: &&Backend| {
        addresses.iter().any(|address| address.is_ipv4() == backend.address.is_ipv4())
    };
    if addresses.is_empty() {
        return;
    }
    if let Some(backend) = backends.iter().find(|backend| !from(backend)) {
        let family = rules::family(backend.address);
        at.reject(Fault::new(
            format!("no {family} address, but {} is a backend", backend.address),
            format!("add an {family} address of this host that the broker can answer to"),
        ));
    }
    let outside = backends.iter().find(|backend| !backend.address.is_loopback());
    let inside = addresses.iter().position(IpAddr::is_loopback);
    if let (Some(i), Some(backend)) = (inside, outside) {
        at.index(i).reject(Fault::new(
            format!("{} is a loopback address, but {} is a backend", addresses[i], backend.address),
            "name an address that the broker can answer to",
        ));
    }
}

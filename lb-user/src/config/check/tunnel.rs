//! Where the outer addresses of tunnelled packets come from.

use std::net::IpAddr;

use super::report::{At, Checked, Reported};
use crate::config::{
    fault::Fault,
    model::{Prefix, TunnelSettings},
    raw,
    rules::{self, Role},
    value,
};

/// `taken` are the VIPs and the balancer's own addresses.
pub fn tunnel(at: &At, raw: &raw::Tunnel, taken: &[IpAddr]) -> Checked<TunnelSettings> {
    let at = at.key("sources");
    let mut tunnel = TunnelSettings::default();
    let mut complete = true;
    for (i, text) in raw.sources.iter().flatten().enumerate() {
        let at = at.index(i);
        let Ok(prefix) = at.accept(source(&text.0, taken)) else {
            complete = false;
            continue;
        };
        let family = if prefix.address().is_ipv4() { &mut tunnel.v4 } else { &mut tunnel.v6 };
        if let Some(other) = family.replace(prefix) {
            at.reject(Fault::new(
                format!("{other} is another {} prefix", rules::family(prefix.address())),
                "keep one for each family; a shorter prefix has more addresses",
            ));
        }
    }
    if complete { Ok(tunnel) } else { Err(Reported) }
}

fn source(text: &str, taken: &[IpAddr]) -> Result<Prefix, Fault> {
    let prefix = value::prefix(text)?;
    if prefix.bits() == 0 {
        let hint = "choose a prefix that no host has an address in, such as 10.99.0.0/16";
        return Err(Fault::new(format!("{prefix} are all addresses there are"), hint));
    }
    rules::usable(prefix.address(), Role::Source)?;
    match taken.iter().find(|address| prefix.contains(**address)) {
        Some(address) => Err(Fault::new(
            format!("{prefix} contains {address}, a VIP or an address of the balancer"),
            "choose a prefix that no host has an address in; docs/ipip.md says why",
        )),
        None => Ok(prefix),
    }
}

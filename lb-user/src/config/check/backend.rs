//! Backends of a service.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
};

use super::{
    admission,
    report::{At, Checked},
};
use crate::config::{
    defaults,
    fault::Fault,
    model::{Backend, Mode, Name, Weight},
    raw,
    rules::{self, Surroundings},
    value,
};

/// What is known about the service that the backends belong to.
#[derive(Clone, Copy)]
pub struct Service<'a> {
    pub vip: Option<IpAddr>,
    pub port: Checked<u16>,
    pub mode: Checked<Mode>,
    pub around: Surroundings<'a>,
}

pub fn backends(at: &At, raw: &[raw::Backend], service: Service<'_>) -> Vec<Backend> {
    if raw.is_empty() {
        at.reject(Fault::new(
            "there is no backend",
            "list at least one broker with `name` and `address`",
        ));
    }
    let mut names = HashSet::new();
    let mut sockets: HashMap<SocketAddr, Name> = HashMap::new();
    let mut backends = Vec::new();
    for (i, raw) in raw.iter().enumerate() {
        let at = at.index(i);
        let Ok(backend) = backend(&at, raw, service) else { continue };
        if !names.insert(backend.name.clone()) {
            at.key("name").reject(Fault::new(
                format!("another backend of this service is called {:?}", backend.name.as_str()),
                "give each backend of a service a name of its own",
            ));
        }
        if let Some(other) = sockets.insert(backend.socket(), backend.name.clone()) {
            at.key("address").reject(Fault::new(
                format!("{} is the address and port of `{other}`, too", backend.socket()),
                "remove one of the two; for a larger share raise its weight",
            ));
        }
        backends.push(backend);
    }
    backends
}

fn backend(at: &At, raw: &raw::Backend, service: Service<'_>) -> Checked<Backend> {
    let name_hint = "give the backend a name, as in `name: broker-1`; commands and metrics use it";
    let name = at.required("name", raw.name.as_ref(), name_hint, value::name);
    let address_hint = "give the broker's address, as in `address: 10.0.1.11`";
    let address = at.required("address", raw.address.as_ref(), address_hint, |text| {
        let address = value::address(text)?;
        rules::backend_fits(address, service.vip, service.mode.ok(), service.around)
            .map(|()| address)
    });
    // Without a port of the service, the missing one has been reported there.
    let port = match raw.port.as_ref() {
        Some(text) => at.key("port").accept(backend_port(&text.0, service)),
        None => service.port,
    };
    let weight = at.defaulted("weight", raw.weight.as_ref(), defaults::WEIGHT, weight);
    let [new, connections] = [raw.max_new_per_second.as_ref(), raw.max_connections.as_ref()];
    let limits = admission::load_limits(at, new, connections, service.mode);
    Ok(Backend { name: name?, address: address?, port: port?, weight: weight?, limits: limits? })
}

fn backend_port(text: &str, service: Service<'_>) -> Result<u16, Fault> {
    let port = value::port(text)?;
    if let (Ok(own), Ok(mode)) = (service.port, service.mode) {
        rules::port_fits(port, own, mode)?;
    }
    Ok(port)
}

fn weight(text: &str) -> Result<Weight, Fault> {
    let hint = if text == "0" {
        "to send no new connections there, use `mqlb backend drain`"
    } else {
        "weights are relative: 100 and 200 share like 1 and 2"
    };
    let range = u32::from(Weight::MIN)..=u32::from(Weight::MAX);
    let value = value::number(text, range, hint)?;
    let weight = u16::try_from(value).ok().and_then(Weight::new);
    weight.ok_or_else(|| Fault::new(format!("{value} is not a weight"), hint))
}

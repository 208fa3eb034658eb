//! Services.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
};

use super::{
    admission, backend, ejection, health, passthrough, proxy, proxy_sources,
    report::{At, Checked},
    settings::TICK,
};
use crate::config::{
    defaults,
    fault::Fault,
    model::{
        Affinity, AllDown, Backend, Guard, HealthCheck, LoadLimits, Mode, Name, Prefix, Refusal,
        Service,
    },
    raw,
    rules::{self, Role, Surroundings},
    value,
};

/// What must not occur twice.
#[derive(Default)]
pub struct Seen {
    names: HashSet<Name>,
    addresses: HashMap<SocketAddr, Option<Name>>,
}

pub fn service(
    at: &At,
    raw: raw::Service,
    around: Surroundings<'_>,
    denied: &[Prefix],
    seen: &mut Seen,
) -> Checked<Service> {
    let name_hint = "give the service a name, as in `name: mqtt`; commands and metrics use it";
    let name = at.required("name", raw.name.as_ref(), name_hint, value::name);
    let vip_hint = "give the address that clients connect to, as in `vip: 192.0.2.10`";
    let port_hint = "give the port that clients connect to: 1883 for MQTT, 8883 for MQTT over TLS";
    let port = at.required("port", raw.port.as_ref(), port_hint, value::port);
    let mode = at.defaulted("mode", raw.mode.as_ref(), defaults::MODE, value::forwarding_mode);
    let vip = at.required("vip", raw.vip.as_ref(), vip_hint, |text| usable_vip(text, mode.ok()));
    if mode.is_ok_and(Mode::is_proxied) {
        proxy::without_meaning(at, &raw);
    }
    let affinity = at.defaulted("affinity", raw.affinity.as_ref(), defaults::AFFINITY, |text| {
        affinity(text, vip.ok())
    });
    let idle =
        at.defaulted("idle_timeout", raw.idle_timeout.as_ref(), defaults::IDLE_TIMEOUT, |text| {
            value::duration(text, TICK)
        });
    let no_backend =
        at.defaulted("no_backend", raw.no_backend.as_ref(), defaults::REFUSAL, refusal);
    let unknown_flow =
        at.defaulted("unknown_flow", raw.unknown_flow.as_ref(), defaults::REFUSAL, refusal);
    let guard = at.defaulted("guard", raw.guard.as_ref(), defaults::GUARD, |text| {
        let known = [("off", Guard::Off), ("mqtt", Guard::Mqtt), ("tls", Guard::Tls)];
        let guard = value::choice(text, &known)?;
        if guard != Guard::Off && mode.is_ok_and(Mode::is_direct) {
            return Err(Fault::new(
                format!("`{text}` needs `mode: nat`: only there every connection is known"),
                "remove the guard, or use `mode: nat`",
            ));
        }
        Ok(guard)
    });
    let all_down = at.defaulted("all_down", raw.all_down.as_ref(), defaults::ALL_DOWN, |text| {
        let known = [("last_known_good", AllDown::LastKnownGood), ("refuse", AllDown::Refuse)];
        value::choice(text, &known)
    });
    let dead_after =
        at.defaulted("dead_after", raw.dead_after.as_ref(), defaults::DEAD_AFTER, |text| {
            if text == "never" { Ok(None) } else { value::duration(text, TICK).map(Some) }
        });
    let rebase_after =
        at.defaulted("rebase_after", raw.rebase_after.as_ref(), defaults::REBASE_AFTER, |text| {
            value::duration(text, TICK)
        });
    let sources =
        admission::sources(&at.key("sources"), &raw.sources.unwrap_or_default(), vip.ok(), denied);
    let syn_rates =
        admission::syn_rates(&at.key("syn_rates"), &raw.syn_rates.unwrap_or_default(), vip.ok());
    let [new, connections] = [raw.max_new_per_second.as_ref(), raw.max_connections.as_ref()];
    let limits = admission::load_limits(at, new, connections, mode);
    let slow_start =
        at.optional("slow_start", raw.slow_start.as_ref(), |text| value::duration(text, TICK));
    let health = health::health(&at.key("health"), raw.health.unwrap_or_default());
    let ejection =
        ejection::ejection(&at.key("ejection"), raw.ejection.as_ref(), mode.as_ref().ok().copied());
    let mqtt = proxy::proxy(&at.key("mqtt"), raw.mqtt, mode);
    let own = backend::Service { vip: vip.ok(), port, mode, around };
    let listed = raw.backends.unwrap_or_default();
    let backends = backend::backends(&at.key("backends"), &listed, own);
    if let Ok(Some(mqtt)) = &mqtt {
        let routes = &mqtt.tls_passthrough;
        // With a mistake in a backend, nobody knows its name.
        if backends.len() == listed.len() {
            passthrough::lead_to(&at.key("mqtt").key("tls_passthrough"), routes, &backends);
        }
        proxy_sources::reach(&at.key("mqtt").key("addresses"), &mqtt.addresses, &backends);
        passthrough::without_ejection(&at.key("ejection"), routes, raw.ejection.as_ref());
    }
    if let (Ok(Some(_)), Ok(limits), Ok(health)) = (slow_start, limits, &health) {
        can_start_slowly(&at.key("slow_start"), limits, health.as_ref(), &backends);
    }
    occurs_once(at, name.as_ref().ok(), vip.ok(), port.ok(), seen);
    Ok(Service {
        name: name?,
        vip: vip?,
        port: port?,
        mode: mode?,
        affinity: affinity?,
        idle_timeout: idle?,
        no_backend: no_backend?,
        unknown_flow: unknown_flow?,
        guard: guard?,
        sources: sources?,
        syn_rates: syn_rates?,
        limits: limits?,
        slow_start: slow_start?,
        all_down: all_down?,
        dead_after: dead_after?,
        rebase_after: rebase_after?,
        health: health?,
        ejection: ejection?,
        mqtt: mqtt?,
        backends,
    })
}

fn usable_vip(text: &str, mode: Option<Mode>) -> Result<IpAddr, Fault> {
    let vip = value::address(text)?;
    rules::usable_in(vip, Role::Vip, mode).map(|()| vip)
}

/// The prefix is one of clients' addresses, which are of the VIP's family.
fn affinity(text: &str, vip: Option<IpAddr>) -> Result<Affinity, Fault> {
    let Some(bits) = text.strip_prefix("client/") else {
        let known = [("connection", Affinity::Connection), ("client", Affinity::Client)];
        return value::choice(text, &known);
    };
    let longest = if vip.is_some_and(|vip| vip.is_ipv4()) { 32 } else { 128 };
    match bits.parse() {
        Ok(bits) if (1..=longest).contains(&bits) => Ok(Affinity::Prefix(bits)),
        _ => Err(Fault::new(
            format!("{bits:?} is not the length of a prefix of the clients' addresses"),
            format!("write a number from 1 to {longest}, as in client/24"),
        )),
    }
}

/// A slow start is one with less than a rate, after the checks have found a backend up.
fn can_start_slowly(
    at: &At,
    limits: LoadLimits,
    health: Option<&HealthCheck>,
    backends: &[Backend],
) {
    if health.is_none() {
        let problem = "without health checks nobody sees a backend come up";
        at.reject(Fault::new(problem, "remove it, or check the backends"));
    }
    let unlimited = |backend: &&Backend| backend.limits.or(limits).max_new_per_second.is_none();
    if let Some(backend) = backends.iter().find(unlimited) {
        at.reject(Fault::new(
            format!("backend {} has no rate that it could begin below", backend.name),
            "give the service `max_new_per_second`",
        ));
    }
}

fn refusal(text: &str) -> Result<Refusal, Fault> {
    value::choice(text, &[("reset", Refusal::Reset), ("drop", Refusal::Drop)])
}

fn occurs_once(
    at: &At,
    name: Option<&Name>,
    vip: Option<IpAddr>,
    port: Option<u16>,
    seen: &mut Seen,
) {
    if let Some(name) = name
        && !seen.names.insert(name.clone())
    {
        at.key("name").reject(Fault::new(
            format!("another service is called {:?}, too", name.as_str()),
            "give each service a name of its own",
        ));
    }
    let (Some(vip), Some(port)) = (vip, port) else { return };
    if let Some(other) = seen.addresses.insert(SocketAddr::new(vip, port), name.cloned()) {
        let other = other.map_or_else(|| "another service".into(), |name| format!("`{name}`"));
        at.key("vip").reject(Fault::new(
            format!("{} is the address of {other}, too", SocketAddr::new(vip, port)),
            "give one of the two another VIP or port, or merge their backends",
        ));
    }
}

//! The mode `mqtt` where TLS is passed through: routes by the name that clients ask for.

use std::{collections::HashSet, net::IpAddr};

use super::{
    report::{At, Checked, Reported},
    tls::server_name,
};
use crate::config::{
    fault::Fault,
    model::{Backend, HashKey, Name, Policy, TlsRoute},
    raw, value,
};

/// No routes if TLS is not passed through.
pub fn routes(at: &At, raw: Option<&[raw::TlsRoute]>) -> Checked<Vec<TlsRoute>> {
    let Some(raw) = raw else { return Ok(Vec::new()) };
    if raw.is_empty() {
        let hint = "write `tls_passthrough: [{}]` to pass all names through to all backends";
        return Err(at.reject(Fault::new("there is no route", hint)));
    }
    let (mut seen, mut others) = (HashSet::new(), false);
    // All of them, so that every mistake is found.
    let each = raw.iter().enumerate();
    let all: Vec<_> =
        each.map(|(i, raw)| route(&at.index(i), raw, &mut seen, &mut others)).collect();
    all.into_iter().collect()
}

fn route(
    at: &At,
    raw: &raw::TlsRoute,
    seen: &mut HashSet<String>,
    others: &mut bool,
) -> Checked<TlsRoute> {
    let hint = "list at least one name, or remove the key: then it is for all other names";
    let server_names = list(&at.key("server_names"), raw.server_names.as_deref(), hint, |text| {
        let name = pattern(text)?;
        let hint = "name it once: the route of a name must be clear";
        let twice = || Fault::new(format!("{text:?} stands in these routes twice"), hint);
        seen.insert(name.clone()).then_some(name).ok_or_else(twice)
    });
    if raw.server_names.is_none() && std::mem::replace(others, true) {
        return Err(at.reject(Fault::new(
            "another route is for all other names, too",
            "give one of the two `server_names`, or merge them",
        )));
    }
    let mut named = HashSet::new();
    let hint = "list at least one, or remove the key: then all backends of the service are meant";
    let backends = list(&at.key("backends"), raw.backends.as_deref(), hint, |text| {
        let name = value::name(text)?;
        let twice = || Fault::new(format!("{text:?} is named twice"), "name it once");
        named.insert(name.clone()).then_some(name).ok_or_else(twice)
    });
    Ok(TlsRoute { server_names: server_names?, backends: backends? })
}

/// A DNS name, whose first label may be `*`; in lower case, without the dot of the root.
fn pattern(text: &str) -> Result<String, Fault> {
    let name = text.strip_prefix("*.").unwrap_or(text);
    // Clients never ask for an address (RFC 6066, section 3).
    if name.parse::<IpAddr>().is_ok() || server_name(name).is_err() {
        return Err(Fault::new(
            format!("{text:?} is not a name that clients can ask for"),
            "write a DNS name, as in broker.example.com, or *.example.com for one more label",
        ));
    }
    Ok(text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase())
}

/// The items of a list that may be missing, but not be empty.
fn list<T>(
    at: &At,
    raw: Option<&[raw::Text]>,
    hint: &str,
    mut parse: impl FnMut(&str) -> Result<T, Fault>,
) -> Checked<Vec<T>> {
    let Some(raw) = raw else { return Ok(Vec::new()) };
    if raw.is_empty() {
        return Err(at.reject(Fault::new("the list is empty", hint)));
    }
    let mut good = Vec::new();
    for (i, text) in raw.iter().enumerate() {
        good.extend(at.index(i).accept(parse(&text.0)));
    }
    if good.len() == raw.len() { Ok(good) } else { Err(Reported) }
}

/// Rejects what needs the CONNECT, which is not read where TLS is passed through.
pub fn without_connect(at: &At, raw: &raw::Mqtt) {
    if raw.tls_passthrough.is_none() {
        return;
    }
    let given = [
        ("tls", raw.tls.is_some()),
        ("broker_tls", raw.broker_tls.is_some()),
        ("takeover", raw.takeover.is_some()),
        ("sticky", raw.sticky.is_some()),
        ("max_connect", raw.max_connect.is_some()),
    ];
    for (key, _) in given.into_iter().filter(|(_, given)| *given) {
        at.key(key).reject(Fault::new(
            "TLS is passed through, and nothing behind it is read or changed",
            "remove it, or remove `tls_passthrough` and let TLS end here by `tls`",
        ));
    }
}

/// Rejects a hash of what is not known.
pub fn hash_fits(at: &At, raw: &raw::Mqtt, policy: Policy, key: HashKey) {
    let passes = raw.tls_passthrough.is_some();
    let problem = match key {
        _ if policy != Policy::Hash => return,
        HashKey::ServerName if raw.tls.is_none() && !passes => {
            ("clients come without TLS, and ask for no name", "choose another key")
        }
        HashKey::ServerName => return,
        _ if passes => (
            "TLS is passed through, and the CONNECT is not read",
            "write `hash_key: server_name`, or `policy: source`",
        ),
        _ => return,
    };
    at.key("hash_key").reject(Fault::new(problem.0, problem.1));
}

/// Rejects routes to backends that the service has not, and backends that no route leads to.
pub fn lead_to(at: &At, routes: &[TlsRoute], backends: &[Backend]) {
    let known = |name: &Name| backends.iter().any(|backend| backend.name == *name);
    for (i, route) in routes.iter().enumerate() {
        let at = at.index(i).key("backends");
        let unknown = route.backends.iter().enumerate().filter(|(_, name)| !known(name));
        for (i, name) in unknown {
            at.index(i).reject(Fault::new(
                format!("the service has no backend {:?}", name.as_str()),
                "name backends as they are called under `backends`",
            ));
        }
    }
    let led_to = |name: &Name| {
        routes.iter().any(|route| route.backends.is_empty() || route.backends.contains(name))
    };
    if routes.is_empty() {
        return;
    }
    if let Some(backend) = backends.iter().find(|backend| !led_to(&backend.name)) {
        at.reject(Fault::new(
            format!("no route leads to backend {:?}", backend.name.as_str()),
            "add it to a route, or remove it",
        ));
    }
}

/// Rejects an ejection, which counts CONNACKs.
pub fn without_ejection(at: &At, routes: &[TlsRoute], raw: Option<&raw::Ejection>) {
    if !routes.is_empty() && raw.is_some() {
        at.reject(Fault::new(
            "TLS is passed through, and what brokers answer to a CONNECT is not seen",
            "remove it: health checks still see a broker that is down",
        ));
    }
}

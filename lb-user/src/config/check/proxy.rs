//! The mode `mqtt`: its settings, and which others have no meaning in it.

use std::time::Duration;

use super::{
    load, passthrough, proxy_sources, proxy_tls,
    report::{At, Checked},
};
use crate::{
    config::{
        defaults,
        fault::Fault,
        model::{
            HashKey, Mode, MqttSettings, Pacing, Policy, Prefix, SendProxyProtocol, StickySettings,
            WhenAway,
        },
        raw, rules, value,
    },
    proxy::choose::{
        LoadBound,
        key::{Field, KeyRule},
    },
};

/// Waiting shorter than this is a mistake, not a wish.
const SHORTEST: Duration = Duration::from_millis(10);

/// TCP counts these times in seconds.
const SECOND: Duration = Duration::from_secs(1);

/// `None` in every other mode.
pub fn proxy(
    at: &At,
    raw: Option<raw::Mqtt>,
    mode: Checked<Mode>,
) -> Checked<Option<MqttSettings>> {
    if mode?.is_proxied() {
        let mut raw = raw.unwrap_or_default();
        let load = raw.load.take();
        return settings(at, &raw, load).map(Some);
    }
    match raw {
        None => Ok(None),
        Some(_) => Err(at.reject(Fault::new(
            "these settings are for services in the mode mqtt",
            "remove them, or write `mode: mqtt`",
        ))),
    }
}

/// Rejects what a service in the mode `mqtt` cannot have.
pub fn without_meaning(at: &At, raw: &raw::Service) {
    let packets = "it is about packets of the data plane, which this mode does not use";
    let answers = "clients are answered by a CONNACK that says so";
    let given = [
        ("affinity", raw.affinity.is_some(), "choose with `mqtt: { policy: hash }` instead"),
        ("no_backend", raw.no_backend.is_some(), answers),
        ("unknown_flow", raw.unknown_flow.is_some(), packets),
        ("guard", raw.guard.is_some(), "nothing but MQTT is let through anyway"),
        ("syn_rates", raw.syn_rates.is_some(), packets),
        ("rebase_after", raw.rebase_after.is_some(), packets),
        ("slow_start", raw.slow_start.is_some(), packets),
    ];
    for (key, _, why) in given.into_iter().filter(|(_, given, _)| *given) {
        at.key(key).reject(Fault::new(
            "this setting has no meaning in the mode mqtt",
            format!("remove it: {why}"),
        ));
    }
}

fn settings(at: &At, raw: &raw::Mqtt, load: Option<raw::Load>) -> Checked<MqttSettings> {
    let default = defaults::MQTT;
    let choosing = choosing(at, raw, load);
    let sizes = sizes(at, raw);
    let count = |key, text: Option<&raw::Text>, default, most| {
        let hint = format!("choose 1 to {most}");
        at.defaulted(key, text, default, |text| value::number(text, 1..=most, &hint))
    };
    let max_waiting =
        count("max_waiting", raw.max_waiting.as_ref(), default.max_waiting, 10_000_000);
    let attempts = count("attempts", raw.attempts.as_ref(), default.attempts, 100);
    let time = |key, text: Option<&raw::Text>, default, least| {
        at.defaulted(key, text, default, |text| value::duration(text, least))
    };
    let connect_within =
        time("connect_within", raw.connect_within.as_ref(), default.connect_within, SHORTEST);
    let broker = raw.broker_connect_within.as_ref();
    let broker = time("broker_connect_within", broker, default.broker_connect_within, SHORTEST);
    let connack =
        time("connack_within", raw.connack_within.as_ref(), default.connack_within, SHORTEST);
    let tcp = |key, text: Option<&raw::Text>, default| at.defaulted(key, text, default, tcp_time);
    let keepalive = tcp("tcp_keepalive", raw.tcp_keepalive.as_ref(), default.tcp_keepalive);
    let user_timeout = raw.tcp_user_timeout.as_ref();
    let user_timeout = tcp("tcp_user_timeout", user_timeout, default.tcp_user_timeout);
    let takeover =
        at.defaulted("takeover", raw.takeover.as_ref(), default.takeover, value::boolean);
    let log = at.optional("connection_log", raw.connection_log.as_ref(), value::absolute_path);
    let tls = proxy_tls::server(&at.key("tls"), raw.tls.as_ref());
    let broker_tls = proxy_tls::broker(&at.key("broker_tls"), raw.broker_tls.as_ref());
    passthrough::without_connect(at, raw);
    let routes = passthrough::routes(&at.key("tls_passthrough"), raw.tls_passthrough.as_deref());
    let addresses = proxy_sources::addresses(&at.key("addresses"), raw.addresses.as_deref());
    let from = prefixes(&at.key("proxy_protocol_from"), raw.proxy_protocol_from.as_deref());
    let known = [
        ("off", SendProxyProtocol::Off),
        ("v1", SendProxyProtocol::V1),
        ("v2", SendProxyProtocol::V2),
    ];
    let send = raw.send_proxy_protocol.as_ref();
    let send = at.defaulted("send_proxy_protocol", send, default.send_proxy_protocol, |text| {
        value::choice(text, &known)
    });
    let empty = raw::Pacing::default();
    let pacing = pacing(&at.key("pacing"), raw.pacing.as_ref().unwrap_or(&empty));
    let sticky = raw.sticky.as_ref().map(|raw| sticky(&at.key("sticky"), raw)).transpose();
    let (max_connect_bytes, connect_memory_bytes) = sizes?;
    Ok(MqttSettings {
        max_connect_bytes,
        connect_memory_bytes,
        connect_within: connect_within?,
        max_waiting: max_waiting?,
        broker_connect_within: broker?,
        connack_within: connack?,
        attempts: attempts?,
        tcp_keepalive: keepalive?,
        tcp_user_timeout: user_timeout?,
        takeover: takeover?,
        addresses: addresses?,
        proxy_protocol_from: from?,
        send_proxy_protocol: send?,
        pacing: pacing?,
        sticky: sticky?,
        connection_log: log?,
        tls: tls?,
        broker_tls: broker_tls?,
        tls_passthrough: routes?,
        ..choosing?
    })
}

fn tcp_time(text: &str) -> Result<Duration, Fault> {
    let time = value::duration(text, SECOND)?;
    if time > rules::LONGEST_TCP_TIME {
        return Err(Fault::new(
            format!("{text:?} is longer than TCP can wait"),
            format!("choose at most {}", humantime::format_duration(rules::LONGEST_TCP_TIME)),
        ));
    }
    Ok(time)
}

fn prefixes(at: &At, raw: Option<&[raw::Text]>) -> Checked<Vec<Prefix>> {
    let each = raw.unwrap_or_default().iter().enumerate();
    // All of them, so that every mistake is found.
    let all: Vec<_> = each.map(|(i, text)| at.index(i).accept(trusted(&text.0))).collect();
    all.into_iter().collect()
}

fn trusted(text: &str) -> Result<Prefix, Fault> {
    if text.contains('/') {
        return value::prefix(text);
    }
    let address = value::address(text)?;
    Ok(Prefix::new(address, if address.is_ipv4() { 32 } else { 128 }))
}

fn pacing(at: &At, raw: &raw::Pacing) -> Checked<Pacing> {
    let rate = |key, text: Option<&raw::Text>| {
        let hint = "choose CONNECTs per second, 1 to 1000000; to let in none, deny the sources";
        at.optional(key, text, |text| value::number(text, 1..=1_000_000, hint))
    };
    let source = rate("source", raw.source.as_ref());
    let service = rate("service", raw.service.as_ref());
    let backend = rate("backend", raw.backend.as_ref());
    let default = defaults::MQTT.pacing.max_wait;
    let max_wait = at.defaulted("max_wait", raw.max_wait.as_ref(), default, |text| {
        value::duration(text, SHORTEST)
    });
    Ok(Pacing { source: source?, service: service?, backend: backend?, max_wait: max_wait? })
}

fn sticky(at: &At, raw: &raw::Sticky) -> Checked<StickySettings> {
    let default = defaults::STICKY;
    let hint = "choose how many clients are remembered, about 100 bytes each";
    let entries = at.defaulted("entries", raw.entries.as_ref(), default.entries, |text| {
        value::number(text, 1..=100_000_000, hint)
    });
    let known = [("come_back", WhenAway::ComeBack), ("stay", WhenAway::Stay)];
    let away = at.defaulted("when_away", raw.when_away.as_ref(), default.when_away, |text| {
        value::choice(text, &known)
    });
    Ok(StickySettings { entries: entries?, when_away: away? })
}

/// The settings of the choice; the others are defaults.
fn choosing(at: &At, raw: &raw::Mqtt, load: Option<raw::Load>) -> Checked<MqttSettings> {
    let default = defaults::MQTT;
    let policies = [
        ("round_robin", Policy::RoundRobin),
        ("random_of_two", Policy::RandomOfTwo),
        ("least_connections", Policy::LeastConnections),
        ("least_load", Policy::LeastLoad),
        ("source", Policy::Source),
        ("hash", Policy::Hash),
        ("fill_first", Policy::FillFirst),
    ];
    let policy = at.defaulted("policy", raw.policy.as_ref(), default.policy, |text| {
        value::choice(text, &policies)
    });
    let only = |needed: &[Policy], names: &str| match policy {
        Ok(policy) if !needed.contains(&policy) => Err(Fault::new(
            format!("this setting is for `policy: {names}`"),
            "remove it, or choose that policy",
        )),
        _ => Ok(()),
    };
    let keys = [
        ("client_id", HashKey::ClientId),
        ("username", HashKey::Username),
        ("certificate_cn", HashKey::CertificateCn),
        ("certificate_san", HashKey::CertificateSan),
        ("server_name", HashKey::ServerName),
    ];
    let hash_key = at.defaulted("hash_key", raw.hash_key.as_ref(), default.hash_key, |text| {
        only(&[Policy::Hash], "hash")?;
        let key = value::choice(text, &keys)?;
        let asked = raw.tls.as_ref().and_then(|tls| tls.client_certificates.as_ref());
        let shown = asked.is_some_and(|asked| asked.0 != "none");
        if matches!(key, HashKey::CertificateCn | HashKey::CertificateSan) && !shown {
            return Err(Fault::new(
                "clients are not asked for certificates",
                "write `tls: { client_certificates: required, ... }`, or choose another key",
            ));
        }
        Ok(key)
    });
    if let (Ok(policy), Ok(key)) = (policy, hash_key) {
        passthrough::hash_fits(at, raw, policy, key);
    }
    let capture = at.optional("hash_capture", raw.hash_capture.as_ref(), |text| {
        only(&[Policy::Hash], "hash")?;
        expression(text)
    });
    let bounded = at.optional("bounded_load", raw.bounded_load.as_ref(), |text| {
        only(&[Policy::Hash, Policy::Source], "hash or source")?;
        factor(text)
    });
    let hint = "choose how many connections a backend gets before the next one gets any";
    let fill = at.optional("fill_connections", raw.fill_connections.as_ref(), |text| {
        only(&[Policy::FillFirst], "fill_first")?;
        value::number(text, 1..=100_000_000, hint)
    });
    if policy == Ok(Policy::FillFirst) && fill == Ok(None) {
        at.key("fill_connections").reject(Fault::new("missing", hint));
    }
    let load = load::load(&at.key("load"), load, policy);
    Ok(MqttSettings {
        policy: policy?,
        hash_key: hash_key?,
        hash_capture: capture?,
        bounded_load: bounded?,
        fill_connections: fill?,
        load: load?,
        ..default
    })
}

fn expression(text: &str) -> Result<String, Fault> {
    match KeyRule::capture(Field::ClientId, text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(Fault::new(
            format!("{text:?} is no regular expression, or too large a one"),
            "write one as in \"^([^/]+)/\": its first group is what is hashed",
        )),
    }
}

fn factor(text: &str) -> Result<f64, Fault> {
    let factor = text.parse().ok().filter(|factor| LoadBound::new(*factor).is_some());
    factor.ok_or_else(|| {
        Fault::new(
            format!("{text:?} is not a number from 1 to 1000"),
            "write how many times its share a backend may have, as in 1.25",
        )
    })
}

/// The longest CONNECT, and what all of them may hold.
fn sizes(at: &At, raw: &raw::Mqtt) -> Checked<(u32, u32)> {
    let default = defaults::MQTT;
    let size = |key, text: Option<&raw::Text>, default, least, most| {
        let hint = format!("choose how many bytes, {least} to {most}");
        at.defaulted(key, text, default, |text| value::number(text, least..=most, &hint))
    };
    let longest =
        size("max_connect", raw.max_connect.as_ref(), default.max_connect_bytes, 1024, 1 << 28);
    let all = raw.connect_memory.as_ref();
    let all = size("connect_memory", all, default.connect_memory_bytes, 1 << 16, u32::MAX);
    let (longest, all) = (longest?, all?);
    if longest > all {
        at.key("max_connect").reject(Fault::new(
            format!("{longest} bytes do not fit into connect_memory, {all} bytes for all of them"),
            "choose less, or raise `connect_memory`",
        ));
    }
    Ok((longest, all))
}

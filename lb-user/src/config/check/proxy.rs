//! The mode `mqtt`: its settings, and which others have no meaning in it.

use super::report::{At, Checked};
use crate::config::{
    defaults,
    fault::Fault,
    model::{HashKey, Mode, MqttSettings, Policy},
    raw, value,
};
use std::time::Duration;

/// Waiting shorter than this is a mistake, not a wish.
const SHORTEST: Duration = Duration::from_millis(10);

/// TCP counts these times in seconds.
const SECOND: Duration = Duration::from_secs(1);

/// `None` in every other mode.
pub fn proxy(at: &At, raw: Option<raw::Mqtt>, mode: Checked<Mode>) -> Checked<Option<MqttSettings>> {
    if mode?.is_proxied() {
        return settings(at, &raw.unwrap_or_default()).map(Some);
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

fn settings(at: &At, raw: &raw::Mqtt) -> Checked<MqttSettings> {
    let default = defaults::MQTT;
    let policies = [("round_robin", Policy::RoundRobin), ("hash", Policy::Hash)];
    let policy = at.defaulted("policy", raw.policy.as_ref(), default.policy, |text| {
        value::choice(text, &policies)
    });
    let keys = [("client_id", HashKey::ClientId), ("username", HashKey::Username)];
    let hash_key = at.defaulted("hash_key", raw.hash_key.as_ref(), default.hash_key, |text| {
        if policy.is_ok_and(|policy| policy != Policy::Hash) {
            let problem = "only the policy hash has a key";
            return Err(Fault::new(problem, "remove it, or write `policy: hash`"));
        }
        value::choice(text, &keys)
    });
    let size = |key, text: Option<&raw::Text>, default, least, most| {
        let hint = format!("choose how many bytes, {least} to {most}");
        at.defaulted(key, text, default, |text| value::number(text, least..=most, &hint))
    };
    let max_connect =
        size("max_connect", raw.max_connect.as_ref(), default.max_connect_bytes, 1024, 1 << 28);
    let memory = raw.connect_memory.as_ref();
    let memory = size("connect_memory", memory, default.connect_memory_bytes, 1 << 16, u32::MAX);
    if let (Ok(max), Ok(all)) = (max_connect, memory)
        && max > all
    {
        at.key("max_connect").reject(Fault::new(
            format!("{max} bytes do not fit into connect_memory, {all} bytes for all of them"),
            "choose less, or raise `connect_memory`",
        ));
    }
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
    let keepalive =
        time("tcp_keepalive", raw.tcp_keepalive.as_ref(), default.tcp_keepalive, SECOND);
    let user_timeout =
        time("tcp_user_timeout", raw.tcp_user_timeout.as_ref(), default.tcp_user_timeout, SECOND);
    let takeover =
        at.defaulted("takeover", raw.takeover.as_ref(), default.takeover, value::boolean);
    let log = at.optional("connection_log", raw.connection_log.as_ref(), value::absolute_path);
    Ok(MqttSettings {
        policy: policy?,
        hash_key: hash_key?,
        max_connect_bytes: max_connect?,
        connect_memory_bytes: memory?,
        connect_within: connect_within?,
        max_waiting: max_waiting?,
        broker_connect_within: broker?,
        connack_within: connack?,
        attempts: attempts?,
        tcp_keepalive: keepalive?,
        tcp_user_timeout: user_timeout?,
        takeover: takeover?,
        connection_log: log?,
    })
}

//! Where brokers tell their own load.

use std::time::Duration;

use super::{
    http, mqtt,
    report::{At, Checked},
};
use crate::{
    config::{
        defaults,
        fault::Fault,
        model::{BasicAuth, HttpCheck, LoadSettings, LoadSource, LoadValue, MqttVersion, Policy},
        raw, value,
    },
    load::{
        json::{Pointer, PointerError},
        prometheus::{Selector, SelectorError},
    },
};

/// Reading more often would be a load of its own.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(10);

/// How a source is written that can be.
const EXAMPLE: &str = "as in `load: { type: sys, topic: $SYS/broker/load/messages/received/1min }`";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Http,
    Sys,
}

/// `None` with every other policy than `least_load`, which needs it.
pub fn load(
    at: &At,
    raw: Option<raw::Load>,
    policy: Checked<Policy>,
) -> Checked<Option<LoadSettings>> {
    match (raw, policy?) {
        (None, Policy::LeastLoad) => Err(at.reject(Fault::new(
            "missing",
            format!("say where brokers tell their load, {EXAMPLE}, or choose `least_connections`"),
        ))),
        (None, _) => Ok(None),
        (Some(raw), Policy::LeastLoad) => settings(at, raw).map(Some),
        (Some(_), _) => Err(at.reject(Fault::new(
            "this setting is for `policy: least_load`",
            "remove it, or choose that policy",
        ))),
    }
}

fn settings(at: &At, raw: raw::Load) -> Checked<LoadSettings> {
    let kinds = [("http", Kind::Http), ("sys", Kind::Sys)];
    let hint = "choose `http`, an endpoint of the broker, or `sys`, a topic that it publishes";
    let kind = at.required("type", raw.kind.as_ref(), hint, |text| value::choice(text, &kinds))?;
    foreign_keys(at, &raw, kind);
    let times = times(at, &raw);
    let port = http::port(at, kind == Kind::Http, raw.port.as_ref());
    let source = match kind {
        Kind::Http => by_http(at, raw),
        Kind::Sys => by_topic(at, raw),
    };
    let (interval, timeout, max_age) = times?;
    Ok(LoadSettings { source: source?, port: port?, interval, timeout, max_age })
}

/// Reports the keys that mean nothing for this type of source.
fn foreign_keys(at: &At, raw: &raw::Load, kind: Kind) {
    let keys = [
        ("path", raw.path.is_some(), Kind::Http),
        ("host", raw.host.is_some(), Kind::Http),
        ("json_pointer", raw.json_pointer.is_some(), Kind::Http),
        ("metric", raw.metric.is_some(), Kind::Http),
        ("topic", raw.topic.is_some(), Kind::Sys),
        ("version", raw.version.is_some(), Kind::Sys),
        ("client_id", raw.client_id.is_some(), Kind::Sys),
    ];
    let name = |kind| if kind == Kind::Http { "http" } else { "sys" };
    for (key, _, of) in keys.into_iter().filter(|(_, given, of)| *given && *of != kind) {
        at.key(key).reject(Fault::new(
            format!("a load of type {} has no such key", name(kind)),
            format!("remove it, or choose `type: {}`", name(of)),
        ));
    }
}

/// Interval, timeout and age.
fn times(at: &At, raw: &raw::Load) -> Checked<(Duration, Duration, Duration)> {
    let spelled = humantime::format_duration;
    let time = |key, text: Option<&raw::Text>, default, least| {
        at.defaulted(key, text, default, |text| value::duration(text, least))
    };
    let interval =
        time("interval", raw.interval.as_ref(), defaults::LOAD_INTERVAL, SHORTEST_INTERVAL);
    let default = interval.map_or(defaults::LOAD_TIMEOUT, |one| one.min(defaults::LOAD_TIMEOUT));
    let timeout = time("timeout", raw.timeout.as_ref(), default, SHORTEST_TIMEOUT);
    let default = interval.unwrap_or(defaults::LOAD_INTERVAL) * defaults::LOAD_MAX_AGE_INTERVALS;
    let max_age = time("max_age", raw.max_age.as_ref(), default, SHORTEST_TIMEOUT);
    let (interval, timeout, max_age) = (interval?, timeout?, max_age?);
    if timeout > interval {
        at.key("timeout").reject(Fault::new(
            format!("{} is longer than the interval, {}", spelled(timeout), spelled(interval)),
            "a reading must end before the next one begins: shorten it or lengthen the interval",
        ));
    }
    if max_age < interval + timeout {
        let (interval, timeout) = (spelled(interval), spelled(timeout));
        at.key("max_age").reject(Fault::new(
            format!(
                "{} is shorter than interval and timeout, {interval} and {timeout}",
                spelled(max_age)
            ),
            "a load must be believed until the next one is there: lengthen it",
        ));
    }
    Ok((interval, timeout, max_age))
}

fn by_http(at: &At, raw: raw::Load) -> Checked<LoadSource> {
    let value = match (&raw.json_pointer, &raw.metric) {
        (Some(text), None) => {
            at.key("json_pointer").accept(pointer(&text.0)).map(LoadValue::JsonPointer)
        }
        (None, Some(text)) => at.key("metric").accept(selector(&text.0)).map(LoadValue::Metric),
        (None, None) => Err(at.reject(Fault::new(
            "neither `json_pointer` nor `metric` is given",
            "say what of the answer is the load, as in `metric: emqx_vm_cpu_use`",
        ))),
        (Some(_), Some(_)) => Err(at.key("metric").reject(Fault::new(
            "both `json_pointer` and `metric` are given",
            "keep the one that fits the answer",
        ))),
    };
    if raw.path.is_none() {
        let hint = "write what is asked for, as in /api/v5/prometheus/stats";
        at.key("path").reject(Fault::new("missing", hint));
    }
    let raw::Load { path: whole, host, username, password, password_file, tls, .. } = raw;
    let raw = raw::Health { username, password, password_file, ..raw::Health::default() };
    let credentials = credentials(at, &raw);
    // A name has only characters that a path may have.
    let path = whole.as_ref().map(|text| raw::Text(text.0.replace("{backend}", "backend")));
    let request = http::http(at, raw::Health { path, host, tls, ..raw::Health::default() });
    let path = whole.map(|text| text.0).unwrap_or_default();
    let request = request.map(|request| HttpCheck { path, ..request });
    Ok(LoadSource::Http { request: request?, credentials: credentials?, value: value? })
}

fn credentials(at: &At, raw: &raw::Health) -> Checked<Option<BasicAuth>> {
    let username = at.optional("username", raw.username.as_ref(), |text| {
        mqtt::utf8_string(text, mqtt::MAX_FIELD)?;
        if text.contains(':') {
            return Err(Fault::new(
                format!("the user name {text:?} contains a colon"),
                "Basic authentication takes what follows a colon for the password: remove it",
            ));
        }
        Ok(text.to_owned())
    });
    // No version: whatever comes with it is said here.
    let password = mqtt::password(at, raw, Ok(MqttVersion::V5));
    match (username?, password?) {
        (Some(username), Some(password)) => Ok(Some(BasicAuth { username, password })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(at
            .key("username")
            .reject(Fault::new("there is a user name without a password", "add `password_file`"))),
        (None, Some(_)) => {
            Err(at.reject(Fault::new("there is a password without a user name", "add `username`")))
        }
    }
}

fn by_topic(at: &At, raw: raw::Load) -> Checked<LoadSource> {
    let hint = "write the topic with the load, as in $SYS/broker/load/messages/received/1min";
    let topic = at.required("topic", raw.topic.as_ref(), hint, topic);
    let raw::Load { version, client_id, username, password, password_file, tls, .. } = raw;
    let default = || raw::Text(defaults::LOAD_CLIENT_ID.to_owned());
    let client_id = Some(client_id.unwrap_or_else(default));
    let none = raw::Health::default();
    let client = raw::Health { version, client_id, username, password, password_file, tls, ..none };
    let client = mqtt::mqtt(at, client);
    Ok(LoadSource::Sys { client: client?, topic: topic? })
}

fn topic(text: &str) -> Result<String, Fault> {
    mqtt::utf8_string(text, mqtt::MAX_FIELD)?;
    if !crate::mqtt::is_topic_name(text) {
        return Err(Fault::new(
            format!("{text:?} is not the name of one topic"),
            "write it whole, without `+` and `#`",
        ));
    }
    Ok(text.to_owned())
}

fn pointer(text: &str) -> Result<Pointer, Fault> {
    Pointer::parse(text).map_err(|error| {
        let (why, hint) = match error {
            PointerError::NoSlash => (
                "it does not begin with a slash",
                "write a slash before each name and index, as in /nodes/0/load1",
            ),
            PointerError::Tilde => (
                "a tilde is followed by neither 0 nor 1",
                "write ~0 for a tilde in a name, and ~1 for a slash",
            ),
        };
        Fault::new(format!("{text:?} is not a JSON pointer: {why}"), hint)
    })
}

fn selector(text: &str) -> Result<Selector, Fault> {
    Selector::parse(text).map_err(|error| {
        let problem = match error {
            SelectorError::Name => format!("{text:?} does not begin with the name of a metric"),
            SelectorError::Labels => {
                format!("what follows the name of the metric in {text:?} are no labels")
            }
        };
        Fault::new(problem, "write it as in queue_messages, or queue_messages{queue=\"mqtt\"}")
    })
}

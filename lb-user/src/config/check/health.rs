//! Health checks: which keys belong to which type, and when checks run.

use std::time::Duration;

use super::{
    http, mqtt,
    report::{At, Checked},
};
use crate::config::{
    defaults,
    fault::Fault,
    model::{HealthCheck, Probe, Timing},
    raw, value,
};

/// Checks more often than this would be a load of their own.
const SHORTEST: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tcp,
    Mqtt,
    Http,
    None,
}

/// `None` if the backends are not to be checked.
pub fn health(at: &At, raw: raw::Health) -> Checked<Option<HealthCheck>> {
    let kinds =
        [("tcp", Kind::Tcp), ("mqtt", Kind::Mqtt), ("http", Kind::Http), ("none", Kind::None)];
    let kind =
        at.defaulted("type", raw.kind.as_ref(), Kind::Tcp, |text| value::choice(text, &kinds))?;
    foreign_keys(at, &raw, kind);
    if kind == Kind::None {
        return Ok(None);
    }
    let timing = timing(at, &raw);
    let port = http::port(at, kind == Kind::Http, raw.port.as_ref());
    let probe = match kind {
        Kind::Mqtt => mqtt::mqtt(at, raw).map(Probe::Mqtt),
        Kind::Http => http::http(at, raw).map(Probe::Http),
        Kind::Tcp | Kind::None => Ok(Probe::Tcp),
    };
    Ok(Some(HealthCheck { probe: probe?, timing: timing?, port: port? }))
}

/// Reports the keys that mean nothing for this type of check.
fn foreign_keys(at: &At, raw: &raw::Health, kind: Kind) {
    let checks = [Kind::Tcp, Kind::Mqtt, Kind::Http].as_slice();
    let keys = [
        ("interval", raw.interval.is_some(), checks),
        ("timeout", raw.timeout.is_some(), checks),
        ("rise", raw.rise.is_some(), checks),
        ("fall", raw.fall.is_some(), checks),
        ("jitter", raw.jitter.is_some(), checks),
        ("port", raw.port.is_some(), checks),
        ("version", raw.version.is_some(), &[Kind::Mqtt]),
        ("client_id", raw.client_id.is_some(), &[Kind::Mqtt]),
        ("username", raw.username.is_some(), &[Kind::Mqtt]),
        ("password", raw.password.is_some(), &[Kind::Mqtt]),
        ("password_file", raw.password_file.is_some(), &[Kind::Mqtt]),
        ("ping", raw.ping.is_some(), &[Kind::Mqtt]),
        ("path", raw.path.is_some(), &[Kind::Http]),
        ("host", raw.host.is_some(), &[Kind::Http]),
        ("status", raw.status.is_some(), &[Kind::Http]),
        ("tls", raw.tls.is_some(), &[Kind::Mqtt, Kind::Http]),
    ];
    for (key, given, kinds) in keys {
        if given && !kinds.contains(&kind) {
            let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
            at.key(key).reject(Fault::new(
                format!("a check of type {} has no such key", kind.name()),
                format!("remove it, or choose `type: {}`", names.join("` or `type: ")),
            ));
        }
    }
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Mqtt => "mqtt",
            Self::Http => "http",
            Self::None => "none",
        }
    }
}

fn timing(at: &At, raw: &raw::Health) -> Checked<Timing> {
    let time = |text: &str| value::duration(text, SHORTEST);
    let interval = at.defaulted("interval", raw.interval.as_ref(), defaults::INTERVAL, time);
    let default_timeout = interval.map_or(defaults::TIMEOUT, |i| i.min(defaults::TIMEOUT));
    let timeout = at.defaulted("timeout", raw.timeout.as_ref(), default_timeout, time);
    let count = |key, text: Option<&raw::Text>, default| {
        let hint = "choose how many results in a row change the state of a backend, 1 to 1000";
        at.defaulted(key, text, default, |text| value::number(text, 1..=1000, hint))
    };
    let rise = count("rise", raw.rise.as_ref(), defaults::RISE);
    let fall = count("fall", raw.fall.as_ref(), defaults::FALL);
    let jitter =
        at.defaulted("jitter", raw.jitter.as_ref(), defaults::JITTER_PERCENT, value::percentage);
    let (interval, timeout) = (interval?, timeout?);
    if timeout > interval {
        let spelled = humantime::format_duration;
        at.key("timeout").reject(Fault::new(
            format!("{} is longer than the interval, {}", spelled(timeout), spelled(interval)),
            "a check must end before the next one begins: shorten it or lengthen the interval",
        ));
    }
    Ok(Timing { interval, timeout, rise: rise?, fall: fall?, jitter_percent: jitter? })
}

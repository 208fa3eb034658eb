//! What distinguishes two configurations, for people and for programs.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::overlay::Overlay;
use crate::config::model::Config;

/// One difference between two configurations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Where, such as `services.mqtt.backends.broker-1.weight`: services, backends and interfaces
    /// by their names.
    pub path: String,
    /// What was there; `None` if nothing.
    pub before: Option<Value>,
    /// What is there; `None` if nothing.
    pub after: Option<Value>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, before, after } = self;
        match (before, after) {
            (None, Some(new)) => write!(f, "+ {path}: {}", Plain(new)),
            (Some(old), None) => write!(f, "- {path}: {}", Plain(old)),
            (Some(old), Some(new)) => write!(f, "~ {path}: {} -> {}", Plain(old), Plain(new)),
            (None, None) => write!(f, "~ {path}"),
        }
    }
}

/// A value in one line, without the punctuation of JSON where it says nothing.
struct Plain<'a>(&'a Value);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::String(text) => f.write_str(text),
            Value::Null => f.write_str("none"),
            Value::Object(fields) => {
                let fields = fields.iter().filter(|(name, _)| *name != "name");
                for (index, (name, value)) in fields.enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{name} {}", Plain(value))?;
                }
                Ok(())
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{}", Plain(item))?;
                }
                Ok(())
            }
            other => write!(f, "{other}"),
        }
    }
}

/// `config` with the backends as the changes made by command have them.
#[must_use]
pub fn effective(config: &Config, overlay: &Overlay) -> Config {
    let mut effective = config.clone();
    for service in &mut effective.services {
        service.backends = overlay.backends(service);
    }
    effective
}

/// What distinguishes `after` from `before`.
#[must_use]
pub fn differences(before: &Config, after: &Config) -> Vec<Difference> {
    // A model that cannot be shown (there is none) would merely show no difference.
    let [old, new] = [before, after].map(|config| serde_json::to_value(config).unwrap_or_default());
    let mut found = Vec::new();
    compare("", &old, &new, &mut found);
    if found.is_empty() && before != after {
        found.push(Difference { path: "a secret".into(), before: None, after: None });
    }
    found
}

/// Compares objects field by field, lists of named objects name by name, and all else as a whole.
fn compare(path: &str, old: &Value, new: &Value, found: &mut Vec<Difference>) {
    let join =
        |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let both = old.keys().chain(new.keys().filter(|name| !old.contains_key(*name)));
            for name in both {
                let [old, new] = [old, new].map(|fields| fields.get(name).unwrap_or(&Value::Null));
                compare(&join(name), old, new, found);
            }
        }
        (Value::Array(old), Value::Array(new)) if is_named(old) && is_named(new) => {
            for item in old {
                let path = join(name_of(item).unwrap_or_default());
                match new.iter().find(|other| name_of(other) == name_of(item)) {
                    Some(other) => compare(&path, item, other, found),
                    None => {
                        found.push(Difference { path, before: Some(item.clone()), after: None });
                    }
                }
            }
            for item in new.iter().filter(|item| !old.iter().any(|o| name_of(o) == name_of(item))) {
                let path = join(name_of(item).unwrap_or_default());
                found.push(Difference { path, before: None, after: Some(item.clone()) });
            }
        }
        (old, new) if old != new => {
            let present = |value: &Value| (!value.is_null()).then(|| value.clone());
            found.push(Difference {
                path: path.to_owned(),
                before: present(old),
                after: present(new),
            });
        }
        _ => {}
    }
}

fn is_named(items: &[Value]) -> bool {
    items.iter().all(|item| name_of(item).is_some())
}

fn name_of(item: &Value) -> Option<&str> {
    item.get("name").and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::samples;

    fn lines(before: &Config, after: &Config) -> Vec<String> {
        differences(before, after).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn equal_configurations_do_not_differ() {
        assert!(differences(&samples::config(), &samples::config()).is_empty());
    }

    #[test]
    fn every_change_is_named_by_where_it_is() {
        let before = samples::config();
        let mut after = before.clone();
        after.services[0].backends.remove(0);
        after.services[0].backends[0].weight = crate::config::model::Weight::new(7).unwrap();
        after.services[0].backends.push(samples::backend(9));
        after.services[0].idle_timeout = std::time::Duration::from_mins(1);
        after.api.metrics = None;
        after.interfaces[0].xdp = crate::config::model::XdpMode::Generic;
        assert_eq!(
            lines(&before, &after),
            [
                "- api.metrics: 127.0.0.1:9090",
                "~ interfaces.eth0.xdp: auto -> generic",
                "- services.mqtt.backends.b1: address 10.0.1.1, port 1883, weight 100",
                "~ services.mqtt.backends.b2.weight: 100 -> 7",
                "+ services.mqtt.backends.b9: address 10.0.1.9, port 1883, weight 100",
                "~ services.mqtt.idle_timeout: 1day 4h -> 1m",
            ]
        );
    }

    #[test]
    fn a_new_secret_is_a_difference_that_is_not_shown() {
        let before = samples::config();
        let mut after = before.clone();
        after.seed = Some(crate::config::model::Secret::new(lb_common::hash::Seed(1, 2)));
        assert_eq!(lines(&before, &after), ["~ a secret"]);
    }
}

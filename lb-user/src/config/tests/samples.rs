//! The samples in configs/.

use std::collections::BTreeSet;

use serde_yaml::Value;

use super::{keys::all_keys, text_of, workspace};
use crate::config::{
    load,
    model::{Config, Mode},
    parse,
};

/// The full sample with the settings that are commented out (no space after the `#`) put in.
fn uncommented() -> String {
    let text = text_of("configs/mqlb.yaml");
    let lines = text.lines().map(|line| match line.trim_start().strip_prefix('#') {
        Some(setting) if setting.starts_with(|c: char| c.is_ascii_lowercase()) => {
            line.replacen('#', "", 1)
        }
        _ => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn keys_of(value: &Value, path: &str, keys: &mut BTreeSet<String>) {
    match value {
        Value::Mapping(mapping) => {
            for (key, value) in mapping {
                let dot = if path.is_empty() { "" } else { "." };
                let path = format!("{path}{dot}{}", key.as_str().unwrap());
                keys_of(value, &path, keys);
                keys.insert(path);
            }
        }
        Value::Sequence(items) => {
            for item in items {
                keys_of(item, &format!("{path}[]"), keys);
            }
        }
        _ => {}
    }
}

fn loaded(path: &str) -> Config {
    load(&workspace(path)).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_minimal_sample_is_valid() {
    let config = loaded("configs/minimal.yaml");
    assert_eq!(config.services.len(), 1);
    assert_eq!(config.services[0].backends[0].port, 1883);
}

#[test]
fn the_full_sample_shows_every_key() {
    let mut shown = BTreeSet::new();
    keys_of(&serde_yaml::from_str(&uncommented()).unwrap(), "", &mut shown);
    let missing: Vec<_> = all_keys().difference(&shown).cloned().collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn settings_commented_out_in_the_full_sample_are_the_defaults() {
    let sample = loaded("configs/mqlb.yaml");
    let mut with_defaults = parse(&uncommented()).unwrap_or_else(|error| panic!("{error}"));
    // The only ones of them without a default.
    assert!(with_defaults.seed.take().is_some());
    assert_ne!(std::mem::take(&mut with_defaults.tunnel), sample.tunnel);
    assert_eq!(with_defaults, sample);
}

#[test]
fn the_sample_of_tunnels_is_valid() {
    let config = loaded("configs/ipip.yaml");
    assert!(config.nat.addresses.is_empty());
    assert!(config.services.iter().all(|service| service.mode == Mode::Ipip));
}

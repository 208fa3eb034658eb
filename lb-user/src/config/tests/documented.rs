//! docs/configuration.md describes every key, no other one, and the defaults that hold.

use std::collections::BTreeMap;

use serde_yaml::{Mapping, Value};

use super::{keys::all_keys, text_of};
use crate::config::parse;

/// Key and default of each row that begins with a key.
fn rows() -> BTreeMap<String, String> {
    let text = text_of("docs/configuration.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    rows.map(|(key, rest)| (key.to_owned(), rest.split(" |").next().unwrap().to_owned())).collect()
}

/// Minimal configurations, one for each type of health check that has keys of its own, one for
/// ejection, and some in the mode `mqtt`, the last with a load.
fn bases() -> Vec<Value> {
    let checks = ["{}", "{ type: mqtt }", "{ type: http, port: 18083 }", "{ type: mqtt, tls: {} }"];
    let with_check = |check: &str| {
        let mut base = serde_yaml::from_str(&text_of("configs/minimal.yaml")).unwrap();
        set(&mut base, "services[].health", serde_yaml::from_str(check).unwrap());
        base
    };
    let mut bases: Vec<Value> = checks.into_iter().map(with_check).collect();
    let mut with_ejection = with_check("{}");
    set(&mut with_ejection, "services[].ejection", Mapping::new().into());
    bases.push(with_ejection);
    for policy in ["round_robin", "hash"] {
        let mut proxied = with_check("{}");
        set(&mut proxied, "services[].mode", "mqtt".into());
        set(&mut proxied, "services[].mqtt.policy", policy.into());
        set(&mut proxied, "services[].mqtt.sticky", Mapping::new().into());
        let tls = "certificates: [{ certificate_file: /server.pem, key_file: /server.key }]";
        set(&mut proxied, "services[].mqtt.tls", serde_yaml::from_str(tls).unwrap());
        bases.push(proxied);
    }
    let mut with_load = with_check("{}");
    set(&mut with_load, "services[].mode", "mqtt".into());
    set(&mut with_load, "services[].mqtt.policy", "least_load".into());
    let load = serde_yaml::from_str("{ type: sys, topic: $SYS/load, tls: {} }").unwrap();
    set(&mut with_load, "services[].mqtt.load", load);
    bases.push(with_load);
    bases
}

/// Sets the value at `path`; in a list, that of the first item.
fn set(document: &mut Value, path: &str, value: Value) {
    let mut at = document;
    for step in path.split('.') {
        let key = step.trim_end_matches("[]");
        if at.is_null() {
            *at = Value::Mapping(Mapping::new());
        }
        at = at.as_mapping_mut().unwrap().entry(key.into()).or_insert(Value::Null);
        if step.ends_with("[]") {
            at = &mut at[0];
        }
    }
    *at = value;
}

#[test]
fn every_key_is_documented_and_every_documented_key_exists() {
    let documented: Vec<_> = rows().into_keys().collect();
    assert_eq!(documented, Vec::from_iter(all_keys()));
}

#[test]
fn a_documented_default_changes_nothing_when_it_is_written_out() {
    let bases = bases();
    let mut checked = 0;
    for (key, default) in rows() {
        let Some(value) = default.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')) else {
            continue;
        };
        let same = bases.iter().any(|base| {
            let mut written_out = base.clone();
            set(
                &mut written_out,
                &key,
                serde_yaml::from_str(value).unwrap_or_else(|_| value.into()),
            );
            let plain = parse(&serde_yaml::to_string(base).unwrap()).unwrap();
            parse(&serde_yaml::to_string(&written_out).unwrap()).is_ok_and(|it| it == plain)
        });
        assert!(same, "{key} is not {value} by default");
        checked += 1;
    }
    assert!(checked > 25, "only {checked} defaults found");
}

#[test]
fn a_required_key_cannot_be_left_out() {
    for (key, default) in rows() {
        if default != "**required**" {
            continue;
        }
        let mut without = bases().remove(0);
        set(&mut without, &key, Value::Null);
        let error = parse(&serde_yaml::to_string(&without).unwrap()).unwrap_err();
        let path = key.replace("[]", "[0]");
        assert!(error.to_string().contains(&path), "{key}: {error}");
    }
}

//! What is documented is what is rendered, and the example alerts ask for nothing else.

use std::collections::BTreeSet;

use lb_common::verdict::Verdict;

use super::{all, metric::Metric, packets, process};

const DOCS: &str = include_str!("../../../docs/metrics.md");
const ALERTS: &str = include_str!("../../../packaging/prometheus/alerts.yaml");

/// The row of a table in the documentation, up to the explanation.
fn row(metric: &Metric) -> String {
    let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
    let labels = if labels.is_empty() { "–".to_owned() } else { labels.join(", ") };
    format!("| `{}` | {} | {labels} | ", metric.name, metric.kind.name())
}

fn rows() -> impl Iterator<Item = &'static str> {
    DOCS.lines().filter(|line| line.starts_with("| `mqlb_") || line.starts_with("| `process_"))
}

#[test]
fn every_metric_is_documented_with_its_type_and_labels() {
    for metric in all() {
        let row = row(metric);
        assert_eq!(rows().filter(|line| line.starts_with(&row)).count(), 1, "missing: {row}");
    }
}

#[test]
fn every_documented_metric_exists() {
    for line in rows() {
        assert!(all().any(|metric| line.starts_with(&row(metric))), "no such metric: {line}");
    }
    assert_eq!(rows().count(), all().count());
}

#[test]
fn every_verdict_is_documented_with_its_action() {
    let rows = DOCS.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
    let documented: BTreeSet<(&str, &str)> = rows
        .filter_map(|(verdict, rest)| Some((verdict, rest.split_once(" | ")?.0)))
        .filter(|(_, action)| ["forward", "pass", "drop", "reply"].contains(action))
        .collect();
    let verdicts = Verdict::ALL.iter();
    let all = verdicts.map(|verdict| (verdict.name(), packets::name(verdict.action()))).collect();
    assert_eq!(documented, all);
}

#[test]
fn names_follow_the_conventions() {
    let mut names = BTreeSet::new();
    for metric in all() {
        let Metric { name, help, .. } = metric;
        assert!(names.insert(name), "{name} twice");
        let ours = !process::METRICS.iter().any(|process| process.name == *name);
        assert!(name.starts_with(if ours { "mqlb_" } else { "process_" }), "{name}");
        assert_eq!(metric.kind.name() == "counter", name.ends_with("_total"), "{name}");
        assert!(help.ends_with('.') && !help.contains("  "), "{name}: {help}");
        for word in name.split('_') {
            let scaled = ["us", "ms", "ns", "minutes", "percent", "kilobytes"].contains(&word);
            assert!(!scaled, "{name} is not in a base unit");
        }
    }
}

#[test]
fn alerts_ask_only_for_metrics_that_exist() {
    let words = ALERTS.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let asked: BTreeSet<&str> =
        words.filter(|word| word.starts_with("mqlb_") || word.starts_with("process_")).collect();
    assert!(asked.len() > 8, "{asked:?}");
    for name in asked {
        assert!(all().any(|metric| metric.name == name), "no such metric: {name}");
    }
}

#[test]
fn alerts_are_complete() {
    let rules: serde_yaml::Value = serde_yaml::from_str(ALERTS).unwrap();
    let rules = rules["groups"][0]["rules"].as_sequence().unwrap();
    assert!(!rules.is_empty());
    for rule in rules {
        let name = rule["alert"].as_str().unwrap();
        assert!(rule["expr"].as_str().is_some_and(|expr| !expr.is_empty()), "{name}");
        assert!(rule["labels"]["severity"].as_str().is_some(), "{name}");
        for text in ["summary", "description"] {
            assert!(rule["annotations"][text].as_str().is_some(), "{name}: {text}");
        }
    }
}

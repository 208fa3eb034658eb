//! The five rules about who may import whom. They keep the pure parts testable without a kernel,
//! a network or a clock, and the walls where the architecture put them.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

mod paths;
mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use sources::{Crate, Names, is_below};

/// Names that are no part of a crate's own code.
const STANDARD: [&str; 3] = ["core", "alloc", "std"];

/// The parts of the controller that decide, and do nothing else.
const PURE: [&str; 29] = [
    "config",
    "control::datapath",
    "control::desired",
    "control::layout",
    "control::members",
    "control::overlay",
    "control::plan",
    "control::record",
    "control::tables",
    "health::ejection",
    "health::state",
    "load::gauge",
    "load::json",
    "load::number",
    "load::prometheus",
    "mqtt",
    "pcapng",
    "proxy::boundary",
    "proxy::choose",
    "proxy::end",
    "proxy::pacing",
    "proxy::proxy_protocol",
    "proxy::policy",
    "proxy::rebalance",
    "proxy::spec",
    "proxy::sticky",
    "proxy::takeover",
    "proxy::tls::hello",
    "ring",
];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(root: &str) -> Crate {
    Crate::read(&workspace().join(root))
}

/// The crates that the manifest of `package` names, as code spells them.
fn dependencies(package: &str) -> Vec<String> {
    let manifest = workspace().join(package).join("Cargo.toml");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = std::process::Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1", "--manifest-path"])
        .arg(&manifest)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let found = packages.iter().find(|candidate| candidate["name"] == package).unwrap();
    let dependencies = found["dependencies"].as_array().unwrap().iter();
    dependencies.map(|one| one["name"].as_str().unwrap().replace('-', "_")).collect()
}

/// The modules that name a crate other than those `allowed`, as `module: path`.
fn foreign(
    modules: &BTreeMap<&str, &BTreeSet<Names>>,
    dependencies: &[String],
    allowed: &[&str],
) -> Vec<String> {
    offences(modules.iter().map(|(module, named)| (*module, *named)), |path| {
        let first = path[0].as_str();
        let external = STANDARD.contains(&first) || dependencies.iter().any(|name| name == first);
        external && !allowed.contains(&first)
    })
}

fn offences<'a>(
    modules: impl Iterator<Item = (&'a str, &'a BTreeSet<Names>)>,
    offends: impl Fn(&Names) -> bool,
) -> Vec<String> {
    let found = modules.flat_map(|(module, named)| {
        let bad = named.iter().filter(|path| offends(path));
        bad.map(move |path| format!("{module}: {}", path.join("::")))
    });
    found.collect()
}

fn names_aya(path: &Names) -> bool {
    path[0] == "aya" || path[0].starts_with("aya_")
}

/// tokio, aya, a clock, or a part of this crate that uses them.
fn is_impure(path: &Names) -> bool {
    let clock = path
        .windows(2)
        .any(|pair| ["Instant", "SystemTime"].contains(&pair[0].as_str()) && pair[1] == "now");
    let effects = [
        "api",
        "cli",
        "datapath",
        "health::probe",
        "health::checker",
        "load::readers",
        "load::source",
    ];
    let own = path[0] == "crate" && effects.iter().any(|one| is_below(&path[1..].join("::"), one));
    path[0] == "tokio" || path[0].starts_with("tokio_") || names_aya(path) || clock || own
}

fn imports_cli(path: &Names) -> bool {
    ["crate", "lb_user"].contains(&path[0].as_str()) && path.get(1).is_some_and(|one| one == "cli")
}

fn assert_none(offences: &[String]) {
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

#[test]
fn the_shared_types_import_only_core() {
    let sources = read("lb-common/src/lib.rs");
    // `Pod`, under the feature `user`, promises aya that a type is plain bytes.
    let all = sources.below(&[""]).collect();
    assert_none(&foreign(&all, &dependencies("lb-common"), &["core", "aya"]));
    let named = sources.below(&[""]).flat_map(|(_, named)| named);
    let aya: Vec<&Names> = named.filter(|path| names_aya(path)).collect();
    assert!(aya.iter().all(|path| path.join("::") == "aya::Pod"), "{aya:?}");
}

#[test]
fn the_packet_pipeline_imports_only_the_shared_types() {
    let sources = read("lb-ebpf/src/lib.rs");
    // `host` is the tables and packets of tests on the host; the BPF build has no such feature.
    let packets = sources.outside(&["host"]).collect();
    assert_none(&foreign(&packets, &dependencies("lb-ebpf"), &["core", "lb_common"]));
}

#[test]
fn the_pure_parts_of_the_controller_name_neither_tokio_nor_aya_nor_a_clock() {
    let sources = read("lb-user/src/lib.rs");
    for part in PURE {
        assert!(sources.0.contains_key(part), "{part} has moved: the rule must follow it");
    }
    assert_none(&offences(sources.below(&PURE), is_impure));
}

#[test]
fn only_the_datapath_of_the_controller_names_aya() {
    let sources = read("lb-user/src/lib.rs");
    assert_none(&offences(sources.outside(&["datapath"]), names_aya));
    assert_none(&offences(read("lb-user/src/main.rs").below(&[""]), names_aya));
}

#[test]
fn nothing_imports_the_cli() {
    let sources = read("lb-user/src/lib.rs");
    assert_none(&offences(sources.outside(&["cli"]), imports_cli));
    for root in ["xtask/src/main.rs", "tests/src/lib.rs"] {
        assert_none(&offences(read(root).below(&[""]), imports_cli));
    }
}

#[test]
fn the_check_sees_imports_paths_groups_and_macros() {
    let sources = Crate::parse(
        "use std::{io, net::{self, IpAddr}};
         mod inner {
             use super::super::cli;
             fn f() -> aya::Ebpf { vec![tokio::spawn(x)]; let t: u8 = Instant::now(); }
         }
         #[cfg(test)] mod tests { use proptest::prelude::*; }",
    );
    let named = |module: &str| -> Vec<String> {
        sources.0[module].iter().map(|path| path.join("::")).collect()
    };
    assert_eq!(named(""), ["std::io", "std::net::IpAddr", "std::net::self"]);
    let expected = ["Instant::now", "aya::Ebpf", "crate::cli", "tokio::spawn"];
    assert_eq!(named("inner"), expected);
    assert_eq!(sources.0.len(), 2, "the tests are left out");
    assert_eq!(offences(sources.below(&[""]), is_impure).len(), 4);
    assert_eq!(offences(sources.below(&[""]), imports_cli), ["inner: crate::cli"]);
    let all = sources.below(&[""]).collect();
    assert_eq!(foreign(&all, &["tokio".into()], &["std"]), ["inner: tokio::spawn"]);
}

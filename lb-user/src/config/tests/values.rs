//! What the values of a file mean in the model.

use std::time::Duration;

use super::text_of;
use crate::config::{
    ConfigError, check_files,
    model::{Affinity, Config, Password, Probe, StatusRange},
    parse, render_error,
};

/// The minimal sample with `lines` in its service.
fn with_service_lines(lines: &str) -> Result<Config, ConfigError> {
    let text = text_of("configs/minimal.yaml");
    parse(&text.replace("    port: 1883\n", &format!("    port: 1883\n{lines}\n")))
}

fn with_health(health: &str) -> Config {
    with_service_lines(&format!("    health: {health}")).unwrap_or_else(|error| panic!("{error}"))
}

fn probe(config: &Config) -> &Probe {
    &config.services[0].health.as_ref().unwrap().probe
}

#[test]
fn all_mistakes_are_reported_in_the_order_of_the_file() {
    let text = text_of("configs/minimal.yaml")
        .replace("eth0", "much-too-long-a-name")
        .replace("10.0.0.2", "10.0.0")
        .replace("1883", "0")
        .replace("address: 10.0.1.12", "address: 127.0.0.1, weight: 0");
    let error = parse(&text).unwrap_err();
    let ConfigError::Invalid { issues, .. } = &error else { panic!("{error}") };
    let paths: Vec<_> = issues.iter().map(|issue| issue.path.to_string()).collect();
    let backend = "services[0].backends[1]";
    let (address, weight) = (format!("{backend}.address"), format!("{backend}.weight"));
    assert_eq!(
        paths,
        ["interfaces[0].name", "nat.addresses[0]", "services[0].port", &address, &weight]
    );
}

#[test]
fn a_document_without_keys_lacks_interfaces_addresses_and_services() {
    for text in ["", "# nothing\n", "---\n", "{}"] {
        let ConfigError::Invalid { issues, .. } = parse(text).unwrap_err() else { panic!() };
        let paths: Vec<_> = issues.iter().map(|issue| issue.path.to_string()).collect();
        assert_eq!(paths, ["interfaces", "nat.addresses", "services"], "{text:?}");
    }
}

#[test]
fn a_short_interval_shortens_the_default_timeout() {
    let config = with_health("{ interval: 200ms }");
    let timing = config.services[0].health.as_ref().unwrap().timing;
    assert_eq!(timing.timeout, Duration::from_millis(200));
}

#[test]
fn no_check_is_another_thing_than_no_settings_for_it() {
    assert_eq!(with_health("{ type: none }").services[0].health, None);
    assert_eq!(*probe(&with_health("{}")), Probe::Tcp);
    assert_eq!(*probe(&with_service_lines("").unwrap()), Probe::Tcp);
}

#[test]
fn statuses_are_one_or_more_numbers_and_ranges() {
    let statuses = |text: &str| {
        let config = with_health(&format!("{{ type: http, port: 80, status: {text} }}"));
        let Probe::Http(check) = probe(&config) else { panic!() };
        check.status.clone()
    };
    let range = |first, last| StatusRange { first, last };
    assert_eq!(statuses("204"), [range(204, 204)]);
    assert_eq!(statuses("200-299"), [range(200, 299)]);
    assert_eq!(statuses("[200, \"300-399\"]"), [range(200, 200), range(300, 399)]);
}

#[test]
fn an_mqtt_5_check_needs_no_user_name_for_its_password_and_no_client_identifier() {
    let config = with_health("{ type: mqtt, version: 5, client_id: \"\", password: token }");
    let Probe::Mqtt(check) = probe(&config) else { panic!() };
    assert_eq!(check.client_id, "");
    let Some(Password::Inline(password)) = &check.password else { panic!() };
    assert_eq!(password.expose(), "token");
}

#[test]
fn a_client_identifier_must_fit_with_the_longest_names_filled_in() {
    let with_client_id = |id: &str| {
        with_service_lines(&format!("    health: {{ type: mqtt, client_id: \"{id}\" }}"))
    };
    assert!(with_client_id(&"x".repeat(65_535)).is_ok());
    let error = with_client_id(&"x".repeat(65_536)).unwrap_err();
    assert!(error.to_string().contains("65536 bytes"), "{error}");
    let names = "{host}{service}{backend}";
    assert!(with_client_id(&format!("{names}{}", "x".repeat(65_278))).is_ok());
    let error = with_client_id(&format!("{names}{}", "x".repeat(65_279))).unwrap_err();
    assert!(error.to_string().contains("may have 65536 bytes"), "{error}");
}

#[test]
fn secrets_are_shown_neither_in_the_model_nor_in_errors() {
    let health = "{ type: mqtt, username: u, password: swordfish }";
    let seed = "seed: \"5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e\"\n";
    let text = text_of("configs/minimal.yaml")
        .replace("    port: 1883\n", &format!("    port: 1883\n    health: {health}\n"));
    let config = parse(&format!("{seed}{text}")).unwrap();
    let shown = format!("{config:?}{}", serde_json::to_string(&config).unwrap());
    assert!(!shown.contains("swordfish") && !shown.contains("5e5e"), "{shown}");

    let mistakes = [
        text.replace("username: u, ", ""),
        text.replace("password: swordfish", "password: swordfish, password_file: /p"),
        text.replace(health, "\n      type mqtt\n      password swordfish"),
        text.replace("swordfish", "[swordfish]"),
        format!("{}{text}", seed.replace("5e\"", "5g\"")),
    ];
    for text in mistakes {
        let shown = render_error(&parse(&text).unwrap_err());
        assert!(!shown.contains("swordfish") && !shown.contains("5e5e"), "{shown}");
    }
}

#[test]
fn files_that_cannot_be_read_are_found_before_they_are_needed() {
    let directory = std::env::temp_dir();
    let config = with_health(&format!(
        "{{ type: mqtt, username: u, password_file: /nonexistent/password, \
         tls: {{ ca_file: {} }} }}",
        directory.display()
    ));
    let ConfigError::Invalid { issues, .. } = check_files(&config).unwrap_err() else { panic!() };
    let paths: Vec<_> = issues.iter().map(|issue| issue.path.to_string()).collect();
    assert_eq!(paths, ["services[0].health.tls.ca_file", "services[0].health.password_file"]);

    let exists = env!("CARGO_MANIFEST_DIR").to_owned() + "/Cargo.toml";
    let config = with_health(&format!("{{ type: http, port: 80, tls: {{ ca_file: {exists} }} }}"));
    assert!(check_files(&config).is_ok());
}

#[test]
fn affinity_is_to_a_connection_a_client_or_a_prefix_of_the_vips_family() {
    let affinity = |text: &str| {
        let config = with_service_lines(&format!("    affinity: {text}"));
        config.map(|config| config.services[0].affinity)
    };
    assert_eq!(affinity("connection").unwrap(), Affinity::Connection);
    assert_eq!(affinity("client").unwrap(), Affinity::Client);
    assert_eq!(affinity("client/24").unwrap(), Affinity::Prefix(24));
    for wrong in ["client/33", "client/0", "client/", "client/x", "port"] {
        assert!(affinity(wrong).is_err(), "{wrong}");
    }
    let text = text_of("configs/minimal.yaml");
    let v6 = text.replace("10.0.0.2", "fd00::2").replace("192.0.2.10", "\"2001:db8::1\"");
    let v6 = v6
        .replace("10.0.1.", "fd01::")
        .replace("    port: 1883\n", "    port: 1883\n    affinity: client/56\n");
    assert_eq!(parse(&v6).unwrap().services[0].affinity, Affinity::Prefix(56));
}

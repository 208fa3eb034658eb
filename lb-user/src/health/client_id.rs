//! The Client Identifier a probe connects with.
//!
//! It says who connects, to whoever reads a broker's log. It is another one for every balancer,
//! service and broker: brokers of one cluster end the older of two connections with the same
//! identifier, so that shared ones would make probes fail each other.

use crate::mqtt::Version;

/// The longest identifier that every broker of MQTT 3.1.1 has to take (section 3.1.3.1).
const SAFE_BYTES: usize = 23;

/// What takes the place of names that are too long, before a hash of them.
const SHORT_PREFIX: &str = "mqlb-health-";

/// The same where the template begins so: that of whoever reads the load.
const SHORT_LOAD_PREFIX: &str = "mqlb-load-";

/// The places a probe goes from and to, by name.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    pub host: &'a str,
    pub service: &'a str,
    pub backend: &'a str,
}

/// Fills `{host}`, `{service}` and `{backend}` into `template`.
///
/// `{backend}` without `{service}` stands for both: names of backends are unique within a service
/// only. With MQTT 3.1.1 a filled template longer than 23 bytes becomes `mqlb-health-` (or `mqlb-load-`) and a hash;
/// one without placeholders is left as it is, whoever wrote it knows their broker.
#[must_use]
pub fn client_id(template: &str, version: Version, names: Names) -> String {
    let Names { host, service, backend } = names;
    let full = if template.contains("{service}") {
        template.replace("{backend}", &plain(backend))
    } else {
        template.replace("{backend}", &format!("{}-{}", plain(service), plain(backend)))
    };
    let full = full.replace("{service}", &plain(service)).replace("{host}", &plain(host));
    if version == Version::V5 || full == template || full.len() <= SAFE_BYTES {
        return full;
    }
    let hash = fnv1a(&[template, host, service, backend].join("\0"));
    let load = template.starts_with(SHORT_LOAD_PREFIX);
    let prefix = if load { SHORT_LOAD_PREFIX } else { SHORT_PREFIX };
    let digits = SAFE_BYTES - prefix.len();
    format!("{prefix}{:0digits$x}", hash >> (64 - 4 * digits))
}

/// The name with `-` for what a topic pattern or a log could take amiss.
fn plain(name: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    name.chars().map(|c| if safe(c) { c } else { '-' }).collect()
}

/// FNV-1a with 64 bits: the identifier must stay the same across restarts and upgrades.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const TEMPLATE: &str = "mqlb-health-{host}-{backend}";

    fn filled(template: &str, version: Version, backend: &str) -> String {
        client_id(template, version, Names { host: "lb1", service: "mqtt", backend })
    }

    #[test]
    fn the_identifier_says_who_connects_and_to_which_broker() {
        assert_eq!(filled(TEMPLATE, Version::V5, "broker-1"), "mqlb-health-lb1-mqtt-broker-1");
        assert_eq!(filled(TEMPLATE, Version::V311, "b1"), "mqlb-health-lb1-mqtt-b1");
        assert_eq!(filled("{service}/{backend}", Version::V5, "b1"), "mqtt/b1");
    }

    #[test]
    fn brokers_of_mqtt_3_1_1_get_23_bytes_at_most() {
        let short = filled(TEMPLATE, Version::V311, "broker-1");
        assert_eq!(short.len(), 23, "{short}");
        assert!(short.starts_with("mqlb-health-"));
        assert_eq!(short, filled(TEMPLATE, Version::V311, "broker-1"), "always the same");
        let all: HashSet<_> =
            (0..10_000).map(|n| filled(TEMPLATE, Version::V311, &format!("broker-{n}"))).collect();
        assert_eq!(all.len(), 10_000);
    }

    #[test]
    fn a_fixed_identifier_is_used_as_written() {
        let fixed = "the-identifier-this-broker-was-told-to-expect";
        assert_eq!(filled(fixed, Version::V311, "broker-1"), fixed);
    }

    #[test]
    fn a_strange_host_name_does_no_harm() {
        let names = Names { host: "a b/#+", service: "s", backend: "b" };
        assert_eq!(client_id("{host}", Version::V5, names), "a-b---");
    }
}

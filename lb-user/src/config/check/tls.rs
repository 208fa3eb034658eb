//! TLS of health checks.

use std::net::IpAddr;

use super::report::{At, Checked};
use crate::config::{defaults, fault::Fault, model::Tls, raw, value};

/// The longest name that DNS permits.
const MAX_SERVER_NAME: usize = 253;

/// `None` if there is no `tls` key.
pub fn tls(at: &At, raw: Option<raw::Tls>) -> Checked<Option<Tls>> {
    let Some(raw) = raw else { return Ok(None) };
    let ca_file = at.optional("ca_file", raw.ca_file.as_ref(), value::absolute_path);
    let server_name = at.optional("server_name", raw.server_name.as_ref(), server_name);
    let insecure =
        at.defaulted("insecure", raw.insecure.as_ref(), defaults::TLS_INSECURE, value::boolean)?;
    if insecure && raw.ca_file.is_some() {
        at.key("insecure").reject(Fault::new(
            "`insecure` takes any certificate, so `ca_file` would have no effect",
            "remove `insecure`, or remove `ca_file`",
        ));
    }
    Ok(Some(Tls { ca_file: ca_file?, server_name: server_name?, insecure }))
}

pub fn server_name(text: &str) -> Result<String, Fault> {
    if text.parse::<IpAddr>().is_err() && !is_dns_name(text) {
        return Err(Fault::new(
            format!("{text:?} is not a name of a server"),
            "write the name in the broker's certificate, as in broker.example.com",
        ));
    }
    Ok(text.to_owned())
}

/// Labels of 1 to 63 letters, digits, `_` and, inside, `-`; the last one not all digits, because
/// that would be a wrong IPv4 address.
fn is_dns_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let labels = || text.strip_suffix('.').unwrap_or(text).split('.');
    text.len() <= MAX_SERVER_NAME
        && labels().all(is_label)
        && !labels().next_back().is_some_and(|last| last.chars().all(|c| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_name_is_a_dns_name_or_an_address() {
        for good in ["broker.example.com", "broker", "b_1.x-y.", "10.0.1.11", "2001:db8::11"] {
            assert!(server_name(good).is_ok(), "{good}");
        }
        let long = "a".repeat(64);
        for bad in ["", ".", "a..b", "-a", "a-", "a b", "10.0.1", "https://a", "a:8883", &long] {
            assert!(server_name(bad).is_err(), "{bad}");
        }
    }
}

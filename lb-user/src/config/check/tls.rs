//! TLS of health checks.

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

fn server_name(text: &str) -> Result<String, Fault> {
    let permitted = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if text.is_empty() || text.len() > MAX_SERVER_NAME || !text.chars().all(permitted) {
        return Err(Fault::new(
            format!("{text:?} is not a name of a server"),
            "write the name in the broker's certificate, as in broker.example.com",
        ));
    }
    Ok(text.to_owned())
}

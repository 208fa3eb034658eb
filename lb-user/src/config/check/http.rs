//! Health checks by HTTP.

use super::{
    report::{At, Checked},
    tls,
};
use crate::config::{
    defaults,
    fault::Fault,
    model::{HttpCheck, StatusRange},
    raw, value,
};

pub fn http(at: &At, raw: raw::Health) -> Checked<HttpCheck> {
    let path =
        at.defaulted("path", raw.path.as_ref(), defaults::HTTP_PATH.to_owned(), request_target);
    let host = at.optional("host", raw.host.as_ref(), host);
    let status = statuses(&at.key("status"), raw.status);
    let tls = tls::tls(&at.key("tls"), raw.tls);
    Ok(HttpCheck { path: path?, host: host?, status: status?, tls: tls? })
}

/// The port of the broker that is asked; where that is by HTTP, it must be given.
pub fn port(at: &At, by_http: bool, text: Option<&raw::Text>) -> Checked<Option<u16>> {
    if by_http && text.is_none() {
        let hint = "give the port of the broker's HTTP endpoint, as in 18083 for EMQX; \
                    the backend's own port speaks MQTT";
        return at.required("port", None, hint, value::port).map(Some);
    }
    at.optional("port", text, value::port)
}

fn request_target(text: &str) -> Result<String, Fault> {
    if !text.starts_with('/') {
        let problem = format!("{text:?} does not begin with a slash");
        return Err(Fault::new(problem, "write the path alone, as in /status"));
    }
    permitted(text, "-._~%!$&'()*+,;=:@/?", "percent-encode it, as in %20 for a space")
}

fn host(text: &str) -> Result<String, Fault> {
    if text.is_empty() {
        return Err(Fault::new("the host is empty", "write a name, or leave the key out"));
    }
    permitted(text, "-._:[]", "write a name or an address, with a port if need be")
}

/// `text` if it has only letters, digits and the characters in `others` (RFC 3986, section 3).
fn permitted(text: &str, others: &str, hint: &str) -> Result<String, Fault> {
    match text.chars().find(|c| !c.is_ascii_alphanumeric() && !others.contains(*c)) {
        Some(c) => {
            let problem = format!("{text:?} contains {c:?}, which HTTP does not permit here");
            Err(Fault::new(problem, hint))
        }
        None => Ok(text.to_owned()),
    }
}

fn statuses(at: &At, raw: Option<raw::OneOrMore>) -> Checked<Vec<StatusRange>> {
    let Some(raw::OneOrMore(texts)) = raw else { return Ok(vec![defaults::HTTP_STATUS]) };
    if texts.is_empty() {
        return Err(at.reject(Fault::new("no status is expected", "write at least one, as in 200")));
    }
    if let [only] = &texts[..] {
        return at.accept(value::status(&only.0)).map(|range| vec![range]);
    }
    let each = texts.iter().enumerate();
    let ranges: Vec<_> = each.map(|(i, text)| at.index(i).accept(value::status(&text.0))).collect();
    ranges.into_iter().collect()
}

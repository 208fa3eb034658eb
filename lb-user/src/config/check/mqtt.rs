//! Health checks by MQTT: what CONNECT may carry (MQTT 3.1.1 and 5.0, sections 1.5 and 3.1).

use super::{
    report::{At, Checked},
    tls,
};
use crate::config::{
    defaults,
    fault::Fault,
    model::{MqttCheck, MqttVersion, Password, Secret},
    raw, value,
};

/// Strings and binary data carry their length in two bytes.
pub(super) const MAX_FIELD: usize = 65_535;

/// The placeholders of a Client Identifier, and the longest texts that may take their places: a
/// backend alone stands for the names of its service and its own.
const PLACEHOLDERS: [(&str, usize); 3] = [("{host}", 64), ("{service}", 64), ("{backend}", 129)];

pub fn mqtt(at: &At, raw: raw::Health) -> Checked<MqttCheck> {
    let versions = [("3.1.1", MqttVersion::V311), ("5", MqttVersion::V5), ("5.0", MqttVersion::V5)];
    let version = at.defaulted("version", raw.version.as_ref(), defaults::MQTT_VERSION, |text| {
        value::choice(text, &versions)
    });
    let client_id =
        at.defaulted("client_id", raw.client_id.as_ref(), defaults::CLIENT_ID.to_owned(), |text| {
            client_id(text, version)
        });
    let username = at.optional("username", raw.username.as_ref(), |text| {
        utf8_string(text, MAX_FIELD).map(|()| text.to_owned())
    });
    let password = password(at, &raw, version);
    let ping = at.defaulted("ping", raw.ping.as_ref(), defaults::PING, value::boolean);
    let tls = tls::tls(&at.key("tls"), raw.tls);
    Ok(MqttCheck {
        version: version?,
        client_id: client_id?,
        username: username?,
        password: password?,
        ping: ping?,
        tls: tls?,
    })
}

fn client_id(text: &str, version: Checked<MqttVersion>) -> Result<String, Fault> {
    utf8_string(text, MAX_FIELD)?;
    if text.is_empty() && version == Ok(MqttVersion::V311) {
        return Err(Fault::new(
            "the Client Identifier is empty, which an MQTT 3.1.1 broker may refuse",
            format!("write one, or leave the key out: the default is {}", defaults::CLIENT_ID),
        ));
    }
    let (mut literal, mut filled) = (text.to_owned(), 0);
    for (placeholder, longest) in PLACEHOLDERS {
        filled += text.matches(placeholder).count() * longest;
        literal = literal.replace(placeholder, "");
    }
    if literal.contains(['{', '}']) {
        return Err(Fault::new(
            format!("{text:?} has a placeholder that is not known"),
            "the placeholders are {host}, {service} and {backend}",
        ));
    }
    filled += literal.len();
    if filled > MAX_FIELD {
        return Err(Fault::new(
            format!("with names filled in, the Client Identifier may have {filled} bytes"),
            format!("shorten it: MQTT carries at most {MAX_FIELD}"),
        ));
    }
    Ok(text.to_owned())
}

/// The rules for UTF-8 encoded strings: no U+0000, and no control characters, because a broker may
/// close the connection over them.
pub(super) fn utf8_string(text: &str, longest: usize) -> Result<(), Fault> {
    if text.len() > longest {
        let problem = format!("the text has {} bytes, more than {longest}", text.len());
        return Err(Fault::new(problem, "MQTT carries no longer one; shorten it"));
    }
    match text.chars().find(|c| c.is_control()) {
        Some(c) => Err(Fault::new(
            format!("{text:?} contains the control character U+{:04X}", u32::from(c)),
            "remove it: a broker may close the connection over it",
        )),
        None => Ok(()),
    }
}

pub(super) fn password(
    at: &At,
    raw: &raw::Health,
    version: Checked<MqttVersion>,
) -> Checked<Option<Password>> {
    let (key, password) = match (&raw.password, &raw.password_file) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(at.key("password").reject(Fault::new(
                "both `password` and `password_file` are given",
                "keep `password_file`: the configuration can then be read by others",
            )));
        }
        (Some(text), None) => ("password", at.key("password").accept(inline(&text.0))),
        (None, Some(text)) => {
            let path = at.key("password_file").accept(value::absolute_path(&text.0));
            ("password_file", path.map(Password::File))
        }
    };
    if version == Ok(MqttVersion::V311) && raw.username.is_none() {
        at.key(key).reject(Fault::new(
            "MQTT 3.1.1 has no password without a user name",
            "add `username`, or choose `version: \"5\"`",
        ));
    }
    password.map(Some)
}

/// The value must not appear in the message.
fn inline(text: &str) -> Result<Password, Fault> {
    if text.len() > MAX_FIELD {
        let problem = format!("the password has {} bytes, more than {MAX_FIELD}", text.len());
        return Err(Fault::new(problem, "MQTT carries no longer one"));
    }
    Ok(Password::Inline(Secret::new(text.to_owned())))
}

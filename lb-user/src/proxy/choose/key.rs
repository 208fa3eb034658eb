//! What a hash is taken of: a field of the client's identity, or a capture of it.

use regex::{Regex, RegexBuilder};

use super::NoKey;

/// Memory that a compiled expression may take, in bytes.
const MAX_EXPRESSION_BYTES: usize = 1 << 20;

/// A field of the client's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The Client Identifier of CONNECT.
    ClientId,
    /// The User Name of CONNECT.
    Username,
    /// The Common Name of the client's certificate.
    CommonName,
    /// The first Subject Alternative Name of the client's certificate.
    SubjectAltName,
    /// The server's name that it asks for by TLS (SNI).
    ServerName,
}

/// Whom a client says, or proves, to be. A field that is empty counts as missing: all clients
/// without a Client Identifier would hash alike.
#[derive(Clone, Copy, Debug, Default)]
pub struct Identity<'a> {
    /// The Client Identifier.
    pub client_id: &'a str,
    /// The User Name.
    pub username: Option<&'a str>,
    /// The Common Name of the certificate that was verified.
    pub common_name: Option<&'a str>,
    /// The first Subject Alternative Name of the certificate that was verified.
    pub subject_alt_name: Option<&'a str>,
    /// The server's name that it asks for by TLS (SNI), lower case.
    pub server_name: Option<&'a str>,
}

/// Where a key comes from.
#[derive(Clone, Debug)]
pub struct KeyRule {
    field: Field,
    capture: Option<Regex>,
}

impl KeyRule {
    /// The whole of `field`.
    #[must_use]
    pub const fn whole(field: Field) -> Self {
        Self { field, capture: None }
    }

    /// What `expression` captures of `field`: its first group, or the whole match if it has none.
    /// It may match anywhere; `^` and `$` bind it to the ends. Matching takes time in proportion to
    /// the length of the field, whatever the client writes.
    ///
    /// # Errors
    ///
    /// If it is no regular expression of the crate `regex`, or too large.
    pub fn capture(field: Field, expression: &str) -> Result<Self, regex::Error> {
        let capture = RegexBuilder::new(expression).size_limit(MAX_EXPRESSION_BYTES).build()?;
        Ok(Self { field, capture: Some(capture) })
    }

    fn key<'a>(&self, identity: &Identity<'a>) -> Result<&'a str, NoKey> {
        let field = self.field;
        let text = field.of(identity).filter(|text| !text.is_empty());
        let text = text.ok_or(NoKey::Missing(field))?;
        let Some(expression) = &self.capture else { return Ok(text) };
        let captures = expression.captures(text).ok_or(NoKey::NoMatch(field))?;
        let group = usize::from(captures.len() > 1);
        let found = captures.get(group).map(|found| found.as_str());
        found.filter(|key| !key.is_empty()).ok_or(NoKey::NoMatch(field))
    }
}

impl Field {
    fn of<'a>(self, identity: &Identity<'a>) -> Option<&'a str> {
        match self {
            Self::ClientId => Some(identity.client_id),
            Self::Username => identity.username,
            Self::CommonName => identity.common_name,
            Self::SubjectAltName => identity.subject_alt_name,
            Self::ServerName => identity.server_name,
        }
    }

    /// Its name in the standards.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClientId => "Client Identifier",
            Self::Username => "User Name",
            Self::CommonName => "Common Name of the certificate",
            Self::SubjectAltName => "Subject Alternative Name of the certificate",
            Self::ServerName => "name asked for by TLS",
        }
    }
}

/// The key that the first fitting rule finds, and its field; else what the first one misses.
pub(super) fn find<'a>(
    rules: &[KeyRule],
    identity: &Identity<'a>,
) -> Result<(Field, &'a str), NoKey> {
    let mut missing = NoKey::NoRule;
    for rule in rules {
        match rule.key(identity) {
            Ok(key) => return Ok((rule.field, key)),
            Err(found) if missing == NoKey::NoRule => missing = found,
            Err(_) => {}
        }
    }
    Err(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity<'static> {
        Identity {
            client_id: "acme/sensor-17",
            username: Some("acme@devices"),
            common_name: None,
            subject_alt_name: Some(""),
            server_name: None,
        }
    }

    fn captured(field: Field, expression: &str) -> Result<&'static str, NoKey> {
        KeyRule::capture(field, expression).unwrap().key(&identity())
    }

    #[test]
    fn a_tenant_is_the_first_group_or_else_the_whole_match() {
        assert_eq!(captured(Field::ClientId, "^([^/]+)/(.*)$"), Ok("acme"));
        assert_eq!(captured(Field::Username, "^[a-z]+"), Ok("acme"));
        assert_eq!(captured(Field::Username, "@(.+)$"), Ok("devices"));
    }

    #[test]
    fn a_field_that_is_missing_or_empty_or_does_not_match_gives_no_key() {
        let whole = |field| KeyRule::whole(field).key(&identity());
        assert_eq!(whole(Field::ClientId), Ok("acme/sensor-17"));
        assert_eq!(whole(Field::CommonName), Err(NoKey::Missing(Field::CommonName)));
        assert_eq!(whole(Field::SubjectAltName), Err(NoKey::Missing(Field::SubjectAltName)));
        assert_eq!(captured(Field::Username, "^x"), Err(NoKey::NoMatch(Field::Username)));
        let optional = captured(Field::Username, "^acme(x)?");
        assert_eq!(optional, Err(NoKey::NoMatch(Field::Username)), "the group took no part");
    }

    #[test]
    fn the_first_rule_with_a_key_counts_and_the_first_without_is_named() {
        let rules = [KeyRule::whole(Field::CommonName), KeyRule::whole(Field::Username)];
        assert_eq!(find(&rules, &identity()), Ok((Field::Username, "acme@devices")));
        let none = Identity::default();
        assert_eq!(find(&rules, &none), Err(NoKey::Missing(Field::CommonName)));
        assert_eq!(find(&[], &none), Err(NoKey::NoRule));
    }

    #[test]
    fn an_expression_that_would_take_too_much_memory_is_an_error() {
        assert!(KeyRule::capture(Field::ClientId, "((((a{100}){100}){100}){100})").is_err());
        assert!(KeyRule::capture(Field::ClientId, "(").is_err());
    }
}

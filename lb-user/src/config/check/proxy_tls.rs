//! The mode `mqtt`: TLS towards clients, and towards brokers.

use std::path::PathBuf;

use super::{
    report::{At, Checked, Reported},
    tls::server_name,
};
use crate::config::{
    defaults,
    fault::Fault,
    model::{
        BrokerTls, CertificateFiles, CertificateName, ClientCertificates, ServerTls, TlsVersion,
    },
    raw, value,
};

/// The longest name of a protocol (RFC 7301, section 3.1).
const MAX_ALPN: usize = 255;

/// `None` if clients come without TLS.
pub fn server(at: &At, raw: Option<&raw::ServerTls>) -> Checked<Option<ServerTls>> {
    let Some(raw) = raw else { return Ok(None) };
    let certificates = certificates(at, raw.certificates.as_deref());
    let alpn = match raw.alpn.as_deref() {
        None => Ok(vec![defaults::TLS_ALPN.to_owned()]),
        some => list(&at.key("alpn"), some, |text| {
            let good = (1..=MAX_ALPN).contains(&text.len());
            let hint = "write the name of a protocol, as in mqtt";
            let fault = || Fault::new(format!("{text:?} is not the name of a protocol"), hint);
            good.then(|| text.to_owned()).ok_or_else(fault)
        }),
    };
    let versions = [("1.2", TlsVersion::V12), ("1.3", TlsVersion::V13)];
    let min_version =
        at.defaulted("min_version", raw.min_version.as_ref(), defaults::TLS_MIN_VERSION, |text| {
            value::choice(text, &versions)
        });
    let asked = [
        ("none", ClientCertificates::None),
        ("optional", ClientCertificates::Optional),
        ("required", ClientCertificates::Required),
    ];
    let client_certificates = at.defaulted(
        "client_certificates",
        raw.client_certificates.as_ref(),
        ClientCertificates::None,
        |text| value::choice(text, &asked),
    );
    let ca_file = at.optional("ca_file", raw.ca_file.as_ref(), value::absolute_path);
    let crl_files = list(&at.key("crl_files"), raw.crl_files.as_deref(), value::absolute_path);
    let names = [
        ("common_name", CertificateName::CommonName),
        ("subject_alt_name", CertificateName::SubjectAltName),
    ];
    let name =
        |key, text: Option<&raw::Text>| at.optional(key, text, |text| value::choice(text, &names));
    let username_from = name("username_from", raw.username_from.as_ref());
    let client_id_from = name("client_id_from", raw.client_id_from.as_ref());
    let (client_certificates, ca_file, crl_files) = (client_certificates?, ca_file?, crl_files?);
    let (username_from, client_id_from) = (username_from?, client_id_from?);
    let given = [
        ("ca_file", ca_file.is_some()),
        ("crl_files", !crl_files.is_empty()),
        ("username_from", username_from.is_some()),
        ("client_id_from", client_id_from.is_some()),
    ];
    authorities(at, client_certificates, &given)?;
    Ok(Some(ServerTls {
        certificates: certificates?,
        alpn: alpn?,
        min_version: min_version?,
        client_certificates,
        ca_file,
        crl_files,
        username_from,
        client_id_from,
    }))
}

/// The authorities are there if and only if clients show certificates.
fn authorities(
    at: &At,
    clients: ClientCertificates,
    given: &[(&'static str, bool)],
) -> Checked<()> {
    let mut keys = given.iter().filter(|(_, given)| *given).map(|(key, _)| *key);
    if clients == ClientCertificates::None {
        let Some(key) = keys.next() else { return Ok(()) };
        return Err(at.key(key).reject(Fault::new(
            "clients are not asked for certificates",
            "remove it, or write `client_certificates: required`",
        )));
    }
    if keys.any(|key| key == "ca_file") {
        return Ok(());
    }
    Err(at.key("ca_file").reject(Fault::new(
        "missing",
        "name the file with the certificates of the authorities that clients' must lead to",
    )))
}

fn certificates(at: &At, raw: Option<&[raw::CertificateFiles]>) -> Checked<Vec<CertificateFiles>> {
    let at = at.key("certificates");
    let raw = raw.unwrap_or_default();
    if raw.is_empty() {
        return Err(at.reject(Fault::new(
            "missing",
            "list at least one, as in `- { certificate_file: /etc/mqlb/server.pem, key_file: \
             /etc/mqlb/server.key }`",
        )));
    }
    let read = raw.iter().enumerate().map(|(i, one)| {
        let at = at.index(i);
        files(&at, one.certificate_file.as_ref(), one.key_file.as_ref())
    });
    let read: Vec<_> = read.collect();
    read.into_iter().collect()
}

fn files(
    at: &At,
    certificate: Option<&raw::Text>,
    key: Option<&raw::Text>,
) -> Checked<CertificateFiles> {
    let path = |key, text, hint| at.required(key, text, hint, value::absolute_path);
    let hint = "name the file with the certificate, and behind it those that lead to its authority";
    let certificate_file: Checked<PathBuf> = path("certificate_file", certificate, hint);
    let key_file = path("key_file", key, "name the file with the private key of the certificate");
    Ok(CertificateFiles { certificate_file: certificate_file?, key_file: key_file? })
}

/// `None` if brokers are reached without TLS.
pub fn broker(at: &At, raw: Option<&raw::BrokerTls>) -> Checked<Option<BrokerTls>> {
    let Some(raw) = raw else { return Ok(None) };
    let ca_file = at.optional("ca_file", raw.ca_file.as_ref(), value::absolute_path);
    let name = at.optional("server_name", raw.server_name.as_ref(), server_name);
    let certificate = match (&raw.certificate_file, &raw.key_file) {
        (None, None) => Ok(None),
        (certificate, key) => files(at, certificate.as_ref(), key.as_ref()).map(Some),
    };
    Ok(Some(BrokerTls { ca_file: ca_file?, server_name: name?, certificate: certificate? }))
}

/// Every item of a list that may be missing; all mistakes in it are reported.
fn list<T>(
    at: &At,
    raw: Option<&[raw::Text]>,
    parse: impl Fn(&str) -> Result<T, Fault>,
) -> Checked<Vec<T>> {
    let raw = raw.unwrap_or_default();
    let read = raw.iter().enumerate();
    let good: Vec<T> =
        read.filter_map(|(i, text)| at.index(i).accept(parse(&text.0)).ok()).collect();
    if good.len() == raw.len() { Ok(good) } else { Err(Reported) }
}

//! Certificates that are shown to clients.

use std::fs;

use super::super::*;
use super::pki::{Authority, BEFORE, Subject, der, settings, shake};

fn named<'a>(names: &'a [&'a str]) -> Subject<'a> {
    Subject { names, ..Subject::default() }
}

#[tokio::test]
async fn each_name_has_its_certificate_and_other_names_the_default() {
    let authority = Authority::new();
    let default = authority.issue("default", &named(&["default.example", "127.0.0.1"]));
    let one = authority.issue("one", &named(&["one.example"]));
    let wild = authority.issue("wild", &named(&["*.wild.example", "exact.one.example"]));
    let server = Server::load(&settings(vec![default.clone(), one.clone(), wild.clone()])).unwrap();
    let client = authority.client().config();
    for (name, want) in [
        ("default.example", &default),
        ("one.example", &one),
        ("ONE.example", &one),
        ("a.wild.example", &wild),
        ("exact.one.example", &wild),
        ("127.0.0.1", &default),
    ] {
        let shaken = shake(&server, &client, name).await.unwrap();
        assert_eq!(shaken.shown, der(want), "{name}");
    }
    for unknown in ["other.example", "a.b.wild.example", "wild.example"] {
        let error = shake(&server, &client, unknown).await.unwrap_err();
        assert!(error.to_string().contains("alert"), "the default is not for {unknown}: {error}");
    }
}

#[tokio::test]
async fn what_is_agreed_to_is_told() {
    let authority = Authority::new();
    let files = authority.issue("server", &named(&["broker.example"]));
    let server = Server::load(&settings(vec![files])).unwrap();
    for (version, name) in [(Version::V12, "TLSv1.2"), (Version::V13, "TLSv1.3")] {
        let client = super::pki::Client {
            alpn: vec![b"http/1.1".to_vec(), b"mqtt".to_vec()],
            version: Some(version),
            ..authority.client()
        };
        let shaken = shake(&server, &client.config(), "broker.example").await.unwrap();
        let want = ClientTls {
            version: name,
            server_name: Some("broker.example".into()),
            alpn: Some(b"mqtt".to_vec()),
            resumed: false,
            certificate: None,
        };
        assert_eq!(shaken.client, want);
        let tlvs = shaken.client.tlvs();
        assert_eq!((tlvs.alpn, tlvs.authority), (want.alpn, want.server_name));
        let ssl = tlvs.ssl.unwrap();
        assert_eq!((ssl.version.as_deref(), ssl.certificate), (Some(name), false));
        assert!(!ssl.verified, "no certificate was verified");
    }
}

#[tokio::test]
async fn a_client_that_offers_only_other_protocols_or_older_versions_is_refused() {
    let authority = Authority::new();
    let files = authority.issue("server", &named(&["broker.example"]));
    let strict = ServerSettings { min_version: Version::V13, ..settings(vec![files]) };
    let server = Server::load(&strict).unwrap();
    let other = super::pki::Client { alpn: vec![b"h2".to_vec()], ..authority.client() };
    assert!(shake(&server, &other.config(), "broker.example").await.is_err());
    let old = super::pki::Client { version: Some(Version::V12), ..authority.client() };
    assert!(shake(&server, &old.config(), "broker.example").await.is_err());
    let silent = authority.client().config();
    let shaken = shake(&server, &silent, "broker.example").await.unwrap();
    assert_eq!(shaken.client.alpn, None);
}

#[tokio::test]
async fn a_session_is_resumed_also_after_certificates_were_replaced() {
    let authority = Authority::new();
    let files = authority.issue("server", &named(&["broker.example"]));
    let server = Server::load(&settings(vec![files.clone()])).unwrap();
    for version in [Version::V12, Version::V13] {
        let client = super::pki::Client { version: Some(version), ..authority.client() };
        let client = client.config();
        let first = shake(&server, &client, "broker.example").await.unwrap();
        let second = shake(&server, &client, "broker.example").await.unwrap();
        let successor = server.successor(&settings(vec![files.clone()])).unwrap();
        let third = shake(&successor, &client, "broker.example").await.unwrap();
        let resumed = [&first, &second, &third].map(|one| one.client.resumed);
        assert_eq!(resumed, [false, true, true], "{version:?}");
    }
}

#[tokio::test]
async fn a_replaced_certificate_is_shown_by_the_successor_and_a_broken_one_makes_none() {
    let authority = Authority::new();
    let files = authority.issue("server", &named(&["broker.example"]));
    let old = der(&files);
    let all = settings(vec![files.clone()]);
    let server = Server::load(&all).unwrap();
    assert!(server.has(&all) && !server.has(&settings(Vec::new())));
    authority.issue("server", &named(&["broker.example"]));
    let new = der(&files);
    assert_ne!(old, new);
    let shown = async |server: &Server| {
        shake(server, &authority.client().config(), "broker.example").await.unwrap().shown
    };
    let successor = server.successor(&all).unwrap();
    assert_eq!([shown(&server).await, shown(&successor).await], [old, new]);
    fs::write(&files.key, "no key").unwrap();
    assert!(matches!(server.successor(&all), Err(TlsError::NoKey(path)) if path == files.key));
}

#[test]
fn the_expiry_of_every_file_is_known() {
    let authority = Authority::new();
    let first = authority.issue("first", &named(&["one.example"]));
    let second =
        authority.issue("second", &Subject { not_after: BEFORE, ..named(&["two.example"]) });
    let crl = authority.crl("crl.pem", &[], (2031, 5, 6));
    let client = ClientAuth::Required(authority.authorities(std::slice::from_ref(&crl)));
    let all = ServerSettings { client, ..settings(vec![first.clone(), second.clone()]) };
    let server = Server::load(&all).unwrap();
    let want = [
        (first.certificate, 3_786_912_000),
        (second.certificate, 978_307_200),
        (crl, 1_935_792_000),
    ]
    .map(|(path, at)| Expiry { path, at });
    assert_eq!(server.expiries(), want);
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_what_to_do() {
    let authority = Authority::new();
    let good = authority.issue("good", &named(&["broker.example"]));
    let other = authority.issue("other", &named(&["broker.example"]));
    let error = |certificate: &CertificateFiles, client: ClientAuth| {
        let all = ServerSettings { client, ..settings(vec![certificate.clone()]) };
        let error = Server::load(&all).unwrap_err();
        (error.to_string(), error.hint())
    };
    let missing = authority.path("missing");
    let empty = authority.path("empty");
    fs::write(&empty, "").unwrap();
    let garbage = authority.path("garbage");
    fs::write(&garbage, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let certificate = |path: &std::path::Path| CertificateFiles {
        certificate: path.to_owned(),
        key: good.key.clone(),
    };
    let key = |path: &std::path::Path| CertificateFiles { key: path.to_owned(), ..good.clone() };
    let crl = |ca_file: &std::path::Path, crl: &std::path::Path| {
        let (ca_file, crl_files) = (ca_file.to_owned(), vec![crl.to_owned()]);
        ClientAuth::Required(ClientAuthorities { ca_file, crl_files })
    };
    let ca = authority.path("ca.pem");
    for (files, client, message, hint) in [
        (certificate(&missing), ClientAuth::None, "cannot read MISSING", "check the path"),
        (certificate(&empty), ClientAuth::None, "no certificate in EMPTY", "BEGIN CERTIFICATE"),
        (certificate(&garbage), ClientAuth::None, "the certificate in GARBAGE", "openssl x509"),
        (key(&empty), ClientAuth::None, "no private key in EMPTY", "not encrypted"),
        (key(&other.key), ClientAuth::None, "does not belong to", "-pubout"),
        (good.clone(), crl(&ca, &empty), "no list of revoked certificates in EMPTY", "X509 CRL"),
        (good.clone(), crl(&empty, &empty), "no certificate in EMPTY", "authorities"),
    ] {
        let (said, hinted) = error(&files, client);
        let said = said
            .replace(&missing.display().to_string(), "MISSING")
            .replace(&empty.display().to_string(), "EMPTY")
            .replace(&garbage.display().to_string(), "GARBAGE");
        assert!(said.contains(message), "{said}");
        assert!(hinted.contains(hint), "{said}: {hinted}");
    }
    assert!(matches!(Server::load(&settings(Vec::new())), Err(TlsError::Empty)));
}

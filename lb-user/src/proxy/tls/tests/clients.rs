//! Certificates of clients.

use super::super::*;
use super::pki::{Authority, BEFORE, LATER, Subject, settings, shake};

struct Scene {
    authority: Authority,
    server: CertificateFiles,
}

impl Scene {
    fn new() -> Self {
        let authority = Authority::new();
        let names = &["broker.example"];
        let server = authority.issue("server", &Subject { names, ..Subject::default() });
        Self { authority, server }
    }

    fn settings(&self, client: ClientAuth) -> ServerSettings {
        ServerSettings { client, ..settings(vec![self.server.clone()]) }
    }

    async fn client(
        &self,
        server: &Server,
        certificate: Option<&CertificateFiles>,
    ) -> Result<Option<ClientCertificate>, String> {
        let plain = self.authority.client();
        let client = certificate.map_or_else(|| plain.clone(), |files| plain.with(files));
        let shaken = shake(server, &client.config(), "broker.example").await;
        shaken.map(|shaken| shaken.client.certificate).map_err(|error| error.to_string())
    }
}

#[tokio::test]
async fn a_required_certificate_must_be_there_and_valid() {
    let scene = Scene::new();
    let authorities = scene.authority.authorities(&[]);
    let server = Server::load(&scene.settings(ClientAuth::Required(authorities))).unwrap();
    let good =
        scene.authority.issue("good", &Subject { common_name: "dev-1", ..Subject::default() });
    let found = scene.client(&server, Some(&good)).await.unwrap().unwrap();
    assert_eq!(found.common_name.as_deref(), Some("dev-1"));
    let error = scene.client(&server, None).await.unwrap_err();
    assert!(error.contains("no certificates"), "{error}");
    let expired =
        scene.authority.issue("expired", &Subject { not_after: BEFORE, ..Subject::default() });
    let error = scene.client(&server, Some(&expired)).await.unwrap_err();
    assert!(error.contains("expired"), "{error}");
    let other = Authority::new();
    let stranger = other.issue("stranger", &Subject::default());
    let error = scene.client(&server, Some(&stranger)).await.unwrap_err();
    assert!(error.contains("UnknownIssuer") || error.contains("BadSignature"), "{error}");
}

#[tokio::test]
async fn an_optional_certificate_may_be_missing_but_not_wrong() {
    let scene = Scene::new();
    let authorities = scene.authority.authorities(&[]);
    let server = Server::load(&scene.settings(ClientAuth::Optional(authorities))).unwrap();
    assert_eq!(scene.client(&server, None).await.unwrap(), None);
    let good = scene.authority.issue("good", &Subject::default());
    assert!(scene.client(&server, Some(&good)).await.unwrap().is_some());
    let expired =
        scene.authority.issue("expired", &Subject { not_after: BEFORE, ..Subject::default() });
    assert!(scene.client(&server, Some(&expired)).await.is_err());
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_and_an_expired_list_refuses_all() {
    let scene = Scene::new();
    let [kept, revoked] = [("kept", 11), ("revoked", 12)].map(|(name, serial)| {
        scene.authority.issue(name, &Subject { serial, ..Subject::default() })
    });
    let crl = scene.authority.crl("crl.pem", &[12], LATER);
    let required = ClientAuth::Required(scene.authority.authorities(&[crl]));
    let server = Server::load(&scene.settings(required)).unwrap();
    assert!(scene.client(&server, Some(&kept)).await.is_ok());
    let error = scene.client(&server, Some(&revoked)).await.unwrap_err();
    assert!(error.contains("Revoked"), "{error}");
    let old = scene.authority.crl("old.pem", &[12], BEFORE);
    let required = ClientAuth::Required(scene.authority.authorities(&[old]));
    let server = server.successor(&scene.settings(required)).unwrap();
    let error = scene.client(&server, Some(&kept)).await.unwrap_err();
    assert!(error.contains("xpired") && error.contains("revocation"), "{error}");
}

#[tokio::test]
async fn who_was_revoked_since_does_not_come_in_by_an_old_session() {
    let scene = Scene::new();
    let files = scene.authority.issue("client", &Subject { serial: 7, ..Subject::default() });
    let crl = scene.authority.crl("crl.pem", &[], LATER);
    let all = scene.settings(ClientAuth::Required(scene.authority.authorities(&[crl])));
    let mut server = Server::load(&all).unwrap();
    for version in [Version::V12, Version::V13] {
        scene.authority.crl("crl.pem", &[], LATER);
        server = server.successor(&all).unwrap();
        let client =
            super::pki::Client { version: Some(version), ..scene.authority.client().with(&files) };
        let client = client.config();
        let first = shake(&server, &client, "broker.example").await.unwrap();
        let second = shake(&server, &client, "broker.example").await.unwrap();
        assert_eq!([first.client.resumed, second.client.resumed], [false, true]);
        assert!(second.client.certificate.is_some(), "a resumed session knows its client");
        scene.authority.crl("crl.pem", &[7], LATER);
        server = server.successor(&all).unwrap();
        let error = shake(&server, &client, "broker.example").await.unwrap_err();
        assert!(error.to_string().contains("Revoked"), "{error}");
    }
}

#[tokio::test]
async fn names_of_every_kind_are_taken_from_the_certificate() {
    let scene = Scene::new();
    let authorities = scene.authority.authorities(&[]);
    let server = Server::load(&scene.settings(ClientAuth::Required(authorities))).unwrap();
    let names = &["device.example", "192.0.2.7", "2001:db8::7"];
    let subject = Subject { names, common_name: "Gerät 7", ..Subject::default() };
    let files = scene.authority.issue("client", &subject);
    let found = scene.client(&server, Some(&files)).await.unwrap().unwrap();
    assert_eq!(found.common_name.as_deref(), Some("Gerät 7"));
    assert_eq!(found.subject_alt_names, names);
}

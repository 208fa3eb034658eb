//! A certificate of an authority that clients trust because they are told to.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// Files in PEM.
pub struct Files {
    pub ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// A new authority, and a certificate of it for this name or address; `name` is that of the files.
pub fn issue(directory: &Path, name: &str, subject: &str) -> Files {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, format!("authority of {name}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new([subject.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    let write = |part: &str, pem: String| {
        let file = directory.join(format!("{name}-{part}.pem"));
        fs::write(&file, pem).unwrap();
        file
    };
    Files {
        ca: write("ca", authority.pem()),
        certificate: write("certificate", certificate.pem()),
        key: write("key", key.serialize_pem()),
    }
}

//! The files that a configuration names.

use std::{fs::File, io, path::Path};

use super::{
    check::report::{At, Report},
    error::ConfigError,
    fault::Fault,
    model::{Config, MqttSettings, Password, Probe},
};

/// Checks that the files that `config` names exist and can be read by this process.
pub fn check_files(config: &Config) -> Result<(), ConfigError> {
    let report = Report::default();
    for (i, service) in config.services.iter().enumerate() {
        if let Some(mqtt) = &service.mqtt {
            tls_files(&report.root().key("services").index(i).key("mqtt"), mqtt);
        }
        let at = report.root().key("services").index(i).key("health");
        let Some(health) = &service.health else { continue };
        if let Some(ca_file) = health.probe.tls().and_then(|tls| tls.ca_file.as_deref()) {
            readable(&at.key("tls").key("ca_file"), ca_file);
        }
        if let Probe::Mqtt(check) = &health.probe
            && let Some(Password::File(path)) = &check.password
        {
            readable(&at.key("password_file"), path);
        }
    }
    let issues = report.into_issues();
    if issues.is_empty() { Ok(()) } else { Err(ConfigError::invalid(issues)) }
}

fn tls_files(at: &At, mqtt: &MqttSettings) {
    if let Some(tls) = &mqtt.tls {
        let at = at.key("tls");
        for (i, files) in tls.certificates.iter().enumerate() {
            let at = at.key("certificates").index(i);
            readable(&at.key("certificate_file"), &files.certificate_file);
            readable(&at.key("key_file"), &files.key_file);
        }
        tls.ca_file.iter().for_each(|path| readable(&at.key("ca_file"), path));
        for (i, path) in tls.crl_files.iter().enumerate() {
            readable(&at.key("crl_files").index(i), path);
        }
    }
    if let Some(tls) = &mqtt.broker_tls {
        let at = at.key("broker_tls");
        tls.ca_file.iter().for_each(|path| readable(&at.key("ca_file"), path));
        if let Some(files) = &tls.certificate {
            readable(&at.key("certificate_file"), &files.certificate_file);
            readable(&at.key("key_file"), &files.key_file);
        }
    }
}

fn readable(at: &At, path: &Path) {
    let opened = File::open(path).and_then(|file| {
        let is_directory = file.metadata()?.is_dir();
        if is_directory { Err(io::ErrorKind::IsADirectory.into()) } else { Ok(()) }
    });
    if let Err(error) = opened {
        at.reject(Fault::new(
            format!("{} cannot be read: {error}", path.display()),
            "check the path, and that the user who runs mqlb may read the file",
        ));
    }
}

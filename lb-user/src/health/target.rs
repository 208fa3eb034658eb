//! What a probe needs, made ready once: files read, packets encoded, names checked.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use hyper::Uri;
use hyper::header::HeaderValue;
use thiserror::Error;

use super::client_id::{Names, client_id};
use super::probe::tls::{self, TlsError};
use super::schedule::Schedule;
use super::state::Thresholds;
use crate::config::model::{
    self, HealthCheck, MqttVersion, Password, Probe, Secret, SendProxyProtocol,
};
use crate::mqtt::{Connect, EncodeError, Version};

/// The Keep Alive of a probe's connection, in seconds: longer than any probe takes, and a value
/// that brokers with a lower limit for it do not complain about.
const KEEP_ALIVE_S: u16 = 60;

/// One broker to be probed, and how.
#[derive(Clone, Debug)]
pub struct Target {
    pub address: SocketAddr,
    pub check: Check,
    /// The header of the PROXY protocol that a check by MQTT begins with, for brokers that want one.
    pub proxy_header: SendProxyProtocol,
    /// The time a whole probe has.
    pub timeout: Duration,
    pub schedule: Schedule,
    pub thresholds: Thresholds,
}

/// What is asked of a broker.
#[derive(Clone, Debug)]
pub enum Check {
    Tcp,
    Mqtt(MqttCheck),
    Http(HttpCheck),
}

/// A check by MQTT.
#[derive(Clone)]
pub struct MqttCheck {
    pub version: Version,
    /// The CONNECT packet, which may hold a password.
    pub connect: Vec<u8>,
    pub client_id: String,
    pub ping: bool,
    pub tls: Option<tls::Client>,
}

/// A check by HTTP, or whatever else is asked by it.
#[derive(Clone, Debug)]
pub struct HttpCheck {
    pub path: Uri,
    pub host: HeaderValue,
    /// Who asks, if the endpoint wants to know.
    pub authorization: Option<HeaderValue>,
    /// The media type that is asked for, if the answer is read.
    pub accept: Option<HeaderValue>,
    pub status: Vec<model::StatusRange>,
    pub tls: Option<tls::Client>,
}

/// A check that cannot be carried out as configured.
#[derive(Debug, Error)]
pub enum TargetError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("cannot read the password in {path}: {error}")]
    PasswordFile { path: PathBuf, error: std::io::Error },
    #[error("MQTT cannot carry this CONNECT: {0}")]
    Connect(#[from] EncodeError),
    #[error("{0:?} is no path of a URL")]
    Path(String),
    #[error("{0:?} is no host name")]
    Host(String),
}

/// The check of one service, with its files read.
#[derive(Debug)]
pub struct ServiceCheck {
    check: HealthCheck,
    host: String,
    service: String,
    tls: Option<tls::Settings>,
    password: Option<Secret<Vec<u8>>>,
}

impl ServiceCheck {
    /// Makes ready the check that `service` is configured with, on the balancer called `host`.
    ///
    /// Blocks on the disk: certificates and passwords are read here, and only here.
    pub fn load(check: &HealthCheck, host: &str, service: &str) -> Result<Self, TargetError> {
        let tls = match check.probe.tls() {
            None => None,
            Some(settings) => {
                if settings.insecure {
                    tracing::warn!(service, "health checks take any TLS certificate (`insecure`)");
                }
                Some(tls::Settings::load(settings)?)
            }
        };
        let password = match &check.probe {
            Probe::Mqtt(mqtt) => mqtt.password.as_ref().map(read_password).transpose()?,
            Probe::Tcp | Probe::Http(_) => None,
        };
        Ok(Self {
            check: check.clone(),
            host: host.to_owned(),
            service: service.to_owned(),
            tls,
            password,
        })
    }

    /// The target for one backend of the service, by its name and the address it serves at.
    pub fn target(&self, backend: &str, address: SocketAddr) -> Result<Target, TargetError> {
        let address = SocketAddr::new(address.ip(), self.check.port.unwrap_or(address.port()));
        let tls = self.tls.as_ref().map(|settings| settings.client(address.ip()));
        let check = match &self.check.probe {
            Probe::Tcp => Check::Tcp,
            Probe::Mqtt(check) => {
                let names = Names { host: &self.host, service: &self.service, backend };
                Check::Mqtt(mqtt(check, names, self.password.as_ref(), tls)?)
            }
            Probe::Http(check) => Check::Http(http(check, address, tls)?),
        };
        let timing = &self.check.timing;
        let at_least_one = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        Ok(Target {
            address,
            check,
            proxy_header: SendProxyProtocol::Off,
            timeout: timing.timeout,
            schedule: Schedule::new(timing.interval, timing.jitter_percent),
            thresholds: Thresholds {
                rise: at_least_one(timing.rise),
                fall: at_least_one(timing.fall),
            },
        })
    }
}

/// What a check by MQTT needs, of the client with these names.
pub fn mqtt(
    check: &model::MqttCheck,
    names: Names<'_>,
    password: Option<&Secret<Vec<u8>>>,
    tls: Option<tls::Client>,
) -> Result<MqttCheck, TargetError> {
    let version = match check.version {
        MqttVersion::V311 => Version::V311,
        MqttVersion::V5 => Version::V5,
    };
    let client_id = client_id(&check.client_id, version, names);
    let connect = Connect {
        version,
        client_id: &client_id,
        keep_alive_s: KEEP_ALIVE_S,
        username: check.username.as_deref(),
        password: password.map(|password| password.expose().as_slice()),
    }
    .encode()?;
    Ok(MqttCheck { version, connect, client_id, ping: check.ping, tls })
}

/// What a request by HTTP to `address` needs.
pub fn http(
    check: &model::HttpCheck,
    address: SocketAddr,
    tls: Option<tls::Client>,
) -> Result<HttpCheck, TargetError> {
    let path: Uri = check.path.parse().map_err(|_| TargetError::Path(check.path.clone()))?;
    if path.authority().is_some() || !path.path().starts_with('/') {
        return Err(TargetError::Path(check.path.clone()));
    }
    let host = check.host.clone().unwrap_or_else(|| address.to_string());
    let host = HeaderValue::from_str(&host).map_err(|_| TargetError::Host(host))?;
    let status = check.status.clone();
    Ok(HttpCheck { path, host, authorization: None, accept: None, status, tls })
}

/// The password, read from its file if it is in one. Blocks on the disk.
pub fn read_password(password: &Password) -> Result<Secret<Vec<u8>>, TargetError> {
    let path = match password {
        Password::Inline(secret) => {
            return Ok(Secret::new(secret.expose().as_bytes().to_vec()));
        }
        Password::File(path) => path,
    };
    let mut bytes = std::fs::read(path)
        .map_err(|error| TargetError::PasswordFile { path: path.clone(), error })?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    Ok(Secret::new(bytes))
}

/// The name of this host, as the kernel knows it; for [`ServiceCheck::load`].
#[must_use]
pub fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
}

impl Check {
    /// The name of its kind, as in the configuration.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Mqtt(_) => "mqtt",
            Self::Http(_) => "http",
        }
    }
}

impl HttpCheck {
    /// Whether a response with this status counts as success.
    #[must_use]
    pub fn expects(&self, status: u16) -> bool {
        self.status.iter().any(|range| (range.first..=range.last).contains(&status))
    }
}

impl fmt::Debug for MqttCheck {
    /// Without the packet, because of the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MqttCheck")
            .field("version", &self.version)
            .field("client_id", &self.client_id)
            .field("ping", &self.ping)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

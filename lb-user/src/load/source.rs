//! What a reading of a broker's load needs, made ready once: files read, packets encoded.

use std::{net::SocketAddr, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hyper::header::{HeaderValue, InvalidHeaderValue};
use thiserror::Error;

use crate::{
    config::model::{
        self, BasicAuth, LoadSettings, LoadSource, LoadValue, Secret, SendProxyProtocol,
    },
    health::{
        client_id::Names,
        probe::{
            mqtt::SUBSCRIPTION,
            tls::{self, TlsError},
        },
        target::{self, HttpCheck, MqttCheck, TargetError, host_name, read_password},
    },
    mqtt::Subscribe,
};

/// Where a service reads the load of its brokers, with its files read.
#[derive(Debug)]
pub struct Source {
    settings: LoadSettings,
    host: String,
    service: String,
    /// What brokers want at their own port before all else.
    proxy_header: SendProxyProtocol,
    tls: Option<tls::Settings>,
    secret: Option<Credentials>,
}

#[derive(Debug)]
enum Credentials {
    /// A header.
    Http(HeaderValue),
    /// The Password of a CONNECT.
    Mqtt(Secret<Vec<u8>>),
}

/// One broker to be read, and how.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where it is asked.
    pub address: SocketAddr,
    /// What it is asked.
    pub question: Question,
    /// The time that a whole reading has.
    pub timeout: Duration,
}

/// What a broker is asked.
#[derive(Clone, Debug)]
pub enum Question {
    /// An HTTP endpoint.
    Http {
        /// The request, and which status is expected.
        request: HttpCheck,
        /// What of the answer is the load.
        value: LoadValue,
    },
    /// A topic.
    Topic {
        /// Who asks.
        client: MqttCheck,
        /// What is sent before all else.
        proxy_header: SendProxyProtocol,
        /// The SUBSCRIBE packet.
        subscribe: Vec<u8>,
        /// The topic whose message is the load.
        topic: String,
    },
}

/// A source that cannot be used as configured.
#[derive(Debug, Error)]
pub enum SourceError {
    /// What it has in common with health checks.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// No SUBSCRIBE can hold the topic.
    #[error("the topic is longer than 65535 bytes")]
    Topic,
    /// No header can hold the credentials.
    #[error("HTTP cannot carry these credentials: {0}")]
    Credentials(#[from] InvalidHeaderValue),
}

impl Source {
    /// Makes ready the source that `service` is configured with; `proxy_header` is what its
    /// brokers want at their own port before all else.
    ///
    /// Blocks on the disk: certificates and passwords are read here, and only here.
    pub fn load(
        settings: &LoadSettings,
        service: &str,
        proxy_header: SendProxyProtocol,
    ) -> Result<Self, SourceError> {
        let (tls, secret) = match &settings.source {
            LoadSource::Http { request, credentials, .. } => {
                let header = credentials.as_ref().map(authorization).transpose()?;
                (request.tls.as_ref(), header.map(Credentials::Http))
            }
            LoadSource::Sys { client, .. } => {
                let password = client.password.as_ref().map(read_password).transpose()?;
                (client.tls.as_ref(), password.map(Credentials::Mqtt))
            }
        };
        if tls.is_some_and(|tls| tls.insecure) {
            tracing::warn!(service, "readings of the load take any TLS certificate (`insecure`)");
        }
        let source = Self {
            settings: settings.clone(),
            host: host_name(),
            service: service.to_owned(),
            proxy_header,
            tls: tls.map(tls::Settings::load).transpose().map_err(unusable)?,
            secret,
        };
        // What fails for one backend fails for all, and here it can still be said.
        source.target("backend", SocketAddr::from(([127, 0, 0, 1], 0)))?;
        Ok(source)
    }

    /// What it was made of.
    #[must_use]
    pub const fn settings(&self) -> &LoadSettings {
        &self.settings
    }

    /// Whether it was made of these.
    #[must_use]
    pub fn is_of(
        &self,
        settings: &LoadSettings,
        service: &str,
        proxy_header: SendProxyProtocol,
    ) -> bool {
        self.settings == *settings && self.service == service && self.proxy_header == proxy_header
    }

    /// The target for one backend of the service, by its name and the address it serves at.
    pub fn target(&self, backend: &str, serves: SocketAddr) -> Result<Target, SourceError> {
        let address = SocketAddr::new(serves.ip(), self.settings.port.unwrap_or(serves.port()));
        let tls = self.tls.as_ref().map(|settings| settings.client(address.ip()));
        let question = match &self.settings.source {
            LoadSource::Http { request, value, .. } => {
                let accept = match value {
                    LoadValue::JsonPointer(_) => "application/json",
                    LoadValue::Metric(_) => "text/plain",
                };
                let authorization = match &self.secret {
                    Some(Credentials::Http(header)) => Some(header.clone()),
                    _ => None,
                };
                let accept = Some(HeaderValue::from_static(accept));
                let path = request.path.replace("{backend}", backend);
                let request = model::HttpCheck { path, ..request.clone() };
                let request = target::http(&request, address, tls)?;
                let request = HttpCheck { authorization, accept, ..request };
                Question::Http { request, value: value.clone() }
            }
            LoadSource::Sys { client, topic } => {
                let names = Names { host: &self.host, service: &self.service, backend };
                let password = match &self.secret {
                    Some(Credentials::Mqtt(password)) => Some(password),
                    _ => None,
                };
                let client = target::mqtt(client, names, password, tls)?;
                let (version, packet_identifier) = (client.version, SUBSCRIPTION);
                let subscribe = Subscribe { version, packet_identifier, topic_filter: topic };
                let subscribe = subscribe.encode().ok_or(SourceError::Topic)?;
                // Another port has another listener, which may not want it.
                let own = address == serves;
                let proxy_header = if own { self.proxy_header } else { SendProxyProtocol::Off };
                Question::Topic { client, proxy_header, subscribe, topic: topic.clone() }
            }
        };
        Ok(Target { address, question, timeout: self.settings.timeout })
    }
}

fn unusable(error: TlsError) -> SourceError {
    SourceError::Target(error.into())
}

/// The header of the scheme Basic (RFC 7617, section 2).
fn authorization(credentials: &BasicAuth) -> Result<HeaderValue, SourceError> {
    let BasicAuth { username, password } = credentials;
    let mut pair = format!("{username}:").into_bytes();
    pair.extend(read_password(password)?.expose());
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair)))?;
    value.set_sensitive(true);
    Ok(value)
}

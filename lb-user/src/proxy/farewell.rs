//! Clients that are not let in, and connections that have ended: counted, logged, told.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{
    io::AsyncWriteExt as _,
    time::{Instant, timeout},
};

use super::{
    end::{End, Refused},
    log::{ConnectPart, LedPart, Line},
    registry::Entry,
    relay::drain,
    service::{Service, Settings},
    stream::Stream,
};
use crate::mqtt::{
    Connack, Version,
    decode::{self, Connect},
};

/// How long a client that is refused may take to hear it.
const GOODBYE: Duration = Duration::from_secs(2);

/// Why a client is not let in, and what it is told.
#[derive(Debug)]
pub struct No {
    /// In metrics and logs.
    pub reason: &'static str,
    /// More about that, for the log.
    pub error: Option<String>,
    /// What it is sent.
    pub answer: Option<Vec<u8>>,
}

impl From<decode::Refusal> for No {
    fn from(refusal: decode::Refusal) -> Self {
        Self { reason: refusal.malformed.name(), error: None, answer: refusal.connack() }
    }
}

impl No {
    /// To a client that would understand nothing.
    #[must_use]
    pub const fn without_answer(refused: Refused) -> Self {
        Self { reason: refused.name(), error: None, answer: None }
    }

    /// To a client that speaks this version of MQTT.
    #[must_use]
    pub fn to(version: Version, refused: Refused) -> Self {
        let code = refused.reason_code();
        let answer = code.and_then(|code| Connack::refusal(version, code));
        Self { reason: refused.name(), error: None, answer }
    }

    /// To a client that speaks TLS, which is not ended here.
    #[must_use]
    pub fn by_alert(refused: Refused, alert: Option<u8>) -> Self {
        // A record of two bytes: fatal, and which one (RFC 8446, section 6). In the clear: there are
        // no keys yet.
        let answer = alert.map(|alert| vec![21, 3, 3, 0, 2, 2, alert]);
        Self { reason: refused.name(), error: None, answer }
    }
}

/// A client that is refused, as far as it is known.
#[derive(Debug)]
pub struct Refusing<'a> {
    /// Its address.
    pub client: SocketAddr,
    /// When it came.
    pub began: Instant,
    /// The server that it asked for by TLS.
    pub server_name: Option<&'a str>,
    /// Its CONNECT.
    pub connect: Option<&'a Connect>,
    /// The way to tell it.
    pub stream: Option<Stream>,
}

/// The connection has ended.
pub fn ended(service: &Service, entry: &Entry, end: &End) {
    let one = &entry.connection;
    service.closed(one);
    tracing::debug!(client = %one.client, client_id = %one.client_id, %end, "connection ended");
    let Settings { spec, log: Some(log), .. } = service.settings() else { return };
    let (bytes_to_backend, bytes_to_client) = one.bytes();
    let error = match end {
        End::ClientFailed(error) | End::BrokerFailed(error) => Some(error.to_string()),
        _ => None,
    };
    log.put(&Line {
        time: unix_time(),
        service: spec.name.as_str(),
        client: one.client,
        duration_ms: one.since.elapsed().as_millis() as u64,
        end: end.name(),
        error,
        server_name: one.server_name.as_deref(),
        connect: one.version.map(|version| ConnectPart {
            client_id: &one.client_id,
            username: one.username.as_deref(),
            version: version.to_string(),
        }),
        led: Some(LedPart {
            backend: one.backend.name.as_str(),
            broker: one.backend.address,
            source: one.source,
            why: &one.why.to_string(),
            bytes_to_backend,
            bytes_to_client,
        }),
    });
}

/// The client is not let in.
pub async fn refuse(service: &Service, settings: &Settings, who: Refusing<'_>, no: No) {
    let Refusing { client, began, server_name, connect, stream } = who;
    service.note_refusal(no.reason);
    if let Some(log) = &settings.log {
        log.put(&Line {
            time: unix_time(),
            service: settings.spec.name.as_str(),
            client,
            duration_ms: began.elapsed().as_millis() as u64,
            end: no.reason,
            error: no.error,
            server_name,
            connect: connect.map(|connect| ConnectPart {
                client_id: connect.client_id(),
                username: connect.username(),
                version: connect.version().to_string(),
            }),
            led: None,
        });
    }
    let (Some(answer), Some(mut stream)) = (no.answer, stream) else { return };
    let goodbye = async {
        stream.write_all(&answer).await?;
        stream.shutdown().await?;
        drain(&mut stream).await
    };
    // Whoever has gone, or does not listen, need not hear it.
    let _ = timeout(GOODBYE, goodbye).await;
}

fn unix_time() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs_f64()
}

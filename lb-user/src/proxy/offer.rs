//! Offers a client to one broker after the other, until one accepts it.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{Instant, timeout},
};

use super::{
    backend::Place,
    choose::{Client, Why, key::Identity},
    end::Refused,
    header,
    pacing::{self, Gate},
    service::{Service, Settings},
    socket,
    stream::Stream,
    tls::ClientTls,
};
use crate::mqtt::decode::{Answer, AnswerError, AnswerPacket, ConnackDecoder, Connect};

/// The longest answer to a CONNECT that is taken, in bytes.
const MAX_ANSWER_BYTES: u32 = 128 * 1024;

/// A broker that took the client.
#[derive(Debug)]
pub struct Accepted {
    /// The connection to it.
    pub broker: Stream,
    /// What it has sent so far.
    pub answer: Answer,
    /// The place of the connection.
    pub place: Place,
    /// Why this one.
    pub why: Why,
}

/// No broker took the client.
#[derive(Debug)]
pub struct Failed {
    /// Why.
    pub refused: Refused,
    /// What the last one said, if one did.
    pub answer: Option<Vec<u8>>,
}

/// Why one broker did not take it.
enum Miss {
    /// There is no answer.
    Unreachable,
    /// It says that another one may.
    Elsewhere(Vec<u8>),
}

/// A client that asks for a broker.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// Its service.
    pub service: &'a Service,
    /// What holds for it.
    pub settings: &'a Settings,
    /// What it said.
    pub connect: &'a Connect,
    /// Where it is.
    pub client: SocketAddr,
    /// What its TLS says, if that ended here.
    pub tls: Option<&'a ClientTls>,
}

/// Tries brokers in the order in which they are chosen, at most as often as the settings say, each at
/// the pace that clients are let in at. `vip` is where the client connected to.
///
/// What is refused for a reason that lies with the client is accepted here: the client hears it from
/// its broker.
pub async fn offer(asking: &Asking<'_>, vip: SocketAddr) -> Result<Accepted, Failed> {
    let Asking { service, settings, connect, client, tls } = *asking;
    let gates = &service.gates;
    let deadline = gates.deadline(Instant::now());
    for gate in [Gate::Source(client.ip()), Gate::Service] {
        gates.pass(gate, deadline).await.map_err(Failed::from)?;
    }
    let certificate = tls.and_then(|tls| tls.certificate.as_ref());
    let identity = Identity {
        client_id: connect.client_id(),
        username: connect.username(),
        common_name: certificate.and_then(|one| one.common_name.as_deref()),
        subject_alt_name: certificate
            .and_then(|one| one.subject_alt_names.first().map(String::as_str)),
    };
    let asks = Client { source: client.ip(), identity };
    let send = settings.spec.settings.send_proxy_protocol;
    let preamble = header::of(send, client, vip, tls.map(ClientTls::tlvs).unwrap_or_default());
    let mut tried = Vec::new();
    let mut failed = None;
    for _ in 0..settings.spec.settings.attempts {
        let home = settings.sessions.as_ref().filter(|_| tried.is_empty());
        let home = home.and_then(|sessions| service.choose_home(&sessions.home(connect)?));
        let (place, why) = match home.map_or_else(|| service.choose(&asks, &tried), Ok) {
            Ok(chosen) => chosen,
            Err(refused) => return Err(failed.unwrap_or(Failed { refused, answer: None })),
        };
        let backend = place.backend();
        tried.push(backend.id);
        if let Err(refusal) = gates.pass(Gate::Backend(backend.id), deadline).await {
            backend.note_paced();
            failed.get_or_insert(Failed::from(refusal));
            continue;
        }
        if !service.accepts(backend.id) {
            // Meanwhile, while the client waited for its turn.
            failed.get_or_insert(Failed { refused: Refused::NoBackend, answer: None });
            continue;
        }
        match ask(&place, settings, &preamble, connect).await {
            Ok((broker, answer)) => {
                backend.note_answer(&answer.packet);
                match elsewhere(&answer) {
                    Some(bytes) => failed = Some(Failed::from(Miss::Elsewhere(bytes))),
                    None => return Ok(Accepted { broker, answer, place, why }),
                }
            }
            Err(error) => {
                tracing::debug!(backend = %backend.name, %error, "a broker did not answer");
                if !matches!(error, AskError::Connect(_)) {
                    backend.note_no_answer();
                }
                failed.get_or_insert(Failed::from(Miss::Unreachable));
            }
        }
    }
    Err(failed.unwrap_or(Failed { refused: Refused::NoBackend, answer: None }))
}

impl From<pacing::Refusal> for Failed {
    fn from(refusal: pacing::Refusal) -> Self {
        Self { refused: refusal.into(), answer: None }
    }
}

impl From<Miss> for Failed {
    fn from(why: Miss) -> Self {
        match why {
            Miss::Unreachable => Self { refused: Refused::NoAnswer, answer: None },
            Miss::Elsewhere(bytes) => Self { refused: Refused::Unavailable, answer: Some(bytes) },
        }
    }
}

/// The CONNACK, if it says that another broker may take the client.
fn elsewhere(answer: &Answer) -> Option<Vec<u8>> {
    match &answer.packet {
        AnswerPacket::Connack(connack) if connack.may_succeed_elsewhere() => {
            Some(answer.bytes[..answer.packet_bytes].to_vec())
        }
        _ => None,
    }
}

#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error("connect: {0}")]
    Connect(io::Error),
    #[error("TLS: {0}")]
    Tls(io::Error),
    #[error("{0}")]
    Broken(#[from] io::Error),
    #[error("it closed the connection")]
    Closed,
    #[error("no CONNACK in time")]
    Late,
    #[error("{0}")]
    NoConnack(#[from] AnswerError),
}

async fn ask(
    place: &Place,
    settings: &Settings,
    preamble: &[u8],
    connect: &Connect,
) -> Result<(Stream, Answer), AskError> {
    let mqtt = &settings.spec.settings;
    let backend = place.backend();
    let mut broker = socket::connect(backend.address, mqtt).await.map_err(AskError::Connect)?;
    let talk = async {
        // In front of TLS, too (section 2 of the specification).
        broker.write_all(preamble).await?;
        let broker = settings.tls.to_broker(backend.address, broker).await;
        let mut broker = broker.map_err(AskError::Tls)?;
        broker.write_all(connect.packet()).await?;
        broker.flush().await?;
        backend.note_to_backend(connect.packet().len());
        let mut decoder = ConnackDecoder::new(connect.version(), MAX_ANSWER_BYTES);
        let mut bytes = [0; 1024];
        loop {
            let read = broker.read(&mut bytes).await?;
            if read == 0 {
                return Err(AskError::Closed);
            }
            if let Some(answer) = decoder.feed(&bytes[..read])? {
                return Ok((broker, answer));
            }
        }
    };
    timeout(mqtt.connack_within, talk).await.map_err(|_| AskError::Late)?
}

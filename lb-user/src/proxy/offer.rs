//! Offers a client to one broker after the other, until one accepts it.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{Instant, timeout},
};

use super::{
    backend::{Backend, Place},
    choose::{Client, Why, key::Identity},
    end::Refused,
    header,
    pacing::{self, Gate},
    proxy_protocol::Tlvs,
    service::{Service, Settings},
    sessions::Sessions,
    socket,
    stream::Stream,
};
use crate::mqtt::decode::{Answer, AnswerError, AnswerPacket, ConnackDecoder, Connect};

/// The longest answer to a CONNECT that is taken, in bytes.
pub const MAX_ANSWER_BYTES: u32 = 128 * 1024;

/// A broker that took the client.
#[derive(Debug)]
pub struct Accepted<A> {
    /// The connection to it.
    pub broker: Stream,
    /// Our end of that.
    pub source: SocketAddr,
    /// What it has sent so far.
    pub answer: A,
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
    /// What was wrong with the first one that did not answer, for the log.
    pub error: Option<String>,
}

/// A client that asks for a broker.
#[derive(Debug)]
pub struct Asking<'a> {
    /// Its service.
    pub service: &'a Arc<Service>,
    /// What holds for it.
    pub settings: &'a Settings,
    /// Where it is.
    pub client: SocketAddr,
    /// When what it said first was whole.
    pub arrived: Instant,
    /// Whom it says, or proves, to be.
    pub identity: Identity<'a>,
    /// What is told of its TLS.
    pub tlvs: Tlvs,
}

/// What a broker gets first, and what it has to answer.
pub trait Greeting: Sync {
    /// What it has to answer.
    type Answer: Send;

    /// What it gets.
    fn bytes(&self) -> &[u8];

    /// The backend that has the client's session.
    fn home(&self, sessions: &Sessions) -> Option<String>;

    /// Takes what the broker sends, piece by piece; the answer once it is whole.
    fn reader(&self) -> impl FnMut(&[u8]) -> Result<Option<Self::Answer>, AnswerError> + Send;

    /// Counts the answer, or that there was none.
    fn note(&self, backend: &Backend, answer: Option<&Self::Answer>);

    /// The answer, to be handed on, if it says that another broker may take the client.
    fn elsewhere(answer: &Self::Answer) -> Option<Vec<u8>>;
}

impl Greeting for Connect {
    type Answer = Answer;

    fn bytes(&self) -> &[u8] {
        self.packet()
    }

    fn home(&self, sessions: &Sessions) -> Option<String> {
        sessions.home(self)
    }

    fn reader(&self) -> impl FnMut(&[u8]) -> Result<Option<Answer>, AnswerError> + Send {
        let mut decoder = ConnackDecoder::new(self.version(), MAX_ANSWER_BYTES);
        move |bytes| decoder.feed(bytes)
    }

    fn note(&self, backend: &Backend, answer: Option<&Answer>) {
        match answer {
            Some(answer) => backend.note_answer(&answer.packet),
            None => backend.note_no_answer(),
        }
    }

    fn elsewhere(answer: &Answer) -> Option<Vec<u8>> {
        match &answer.packet {
            AnswerPacket::Connack(connack) if connack.may_succeed_elsewhere() => {
                Some(answer.bytes[..answer.packet_bytes].to_vec())
            }
            _ => None,
        }
    }
}

/// Tries brokers in the order in which they are chosen, at most as often as the settings say, each at
/// the pace that clients are let in at. `vip` is where the client connected to.
///
/// What is refused for a reason that lies with the client is accepted here: the client hears it from
/// its broker.
pub async fn offer<G: Greeting>(
    asking: &Asking<'_>,
    greeting: &G,
    vip: SocketAddr,
) -> Result<Accepted<G::Answer>, Failed> {
    let Asking { service, settings, client, ref tlvs, .. } = *asking;
    let gates = &service.gates;
    let deadline = gates.deadline(Instant::now());
    gates.pass(Gate::Source(client.ip()), deadline).await?;
    let preamble =
        header::of(settings.spec.settings.send_proxy_protocol, client, vip, tlvs.clone());
    let (mut tried, mut failed) = (Vec::new(), None);
    let mut has_turn = false;
    for _ in 0..settings.spec.settings.attempts {
        // A turn for each broker that hears of the client: else a service whose brokers refuse would see
        // several times its pace, when it can bear that least.
        if !has_turn && let Err(refusal) = gates.pass(Gate::Service, deadline).await {
            return Err(failed.unwrap_or(refusal.into()));
        }
        has_turn = true;
        let (place, why) = match choose(asking, greeting, &tried) {
            Ok(chosen) => chosen,
            Err(refused) => return Err(failed.unwrap_or(refused.into())),
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
            failed.get_or_insert(Refused::NoBackend.into());
            continue;
        }
        match ask(&place, settings, &preamble, greeting).await {
            Ok(Asked { broker, source, answer }) => {
                has_turn = false;
                greeting.note(backend, Some(&answer));
                match G::elsewhere(&answer) {
                    Some(bytes) => {
                        failed =
                            Some(Failed { answer: Some(bytes), ..Refused::Unavailable.into() });
                    }
                    None => return Ok(Accepted { broker, source, answer, place, why }),
                }
            }
            Err(error) => {
                tracing::debug!(backend = %backend.name, %error, "a broker did not answer");
                if !matches!(error, AskError::Connect(_) | AskError::NoPort) {
                    has_turn = false;
                    greeting.note(backend, None);
                }
                let error = Some(format!("{}: {error}", backend.name));
                failed.get_or_insert(Failed { error, ..Refused::NoAnswer.into() });
            }
        }
    }
    Err(failed.unwrap_or(Refused::NoBackend.into()))
}

/// A place at a backend that was not tried: the first time at the one that has the client's session.
fn choose<G: Greeting>(
    asking: &Asking<'_>,
    greeting: &G,
    tried: &[u32],
) -> Result<(Place, Why), Refused> {
    let Asking { service, settings, client, identity, .. } = *asking;
    let sessions = settings.sessions.as_ref().filter(|_| tried.is_empty());
    let home = sessions.and_then(|sessions| service.choose_home(&greeting.home(sessions)?));
    let asks = Client { source: client.ip(), identity };
    home.map_or_else(|| service.choose(&asks, tried), Ok)
}

impl From<pacing::Refusal> for Failed {
    fn from(refusal: pacing::Refusal) -> Self {
        Refused::from(refusal).into()
    }
}

impl From<Refused> for Failed {
    fn from(refused: Refused) -> Self {
        Self { refused, answer: None, error: None }
    }
}

#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error("connect: {0}")]
    Connect(io::Error),
    /// Also where the connection is made from an address that this host has lost.
    #[error(
        "connect: no source port towards it is free, or this host has lost the address: see services[].mqtt.addresses"
    )]
    NoPort,
    #[error("TLS: {0}")]
    Tls(io::Error),
    #[error("{0}")]
    Broken(#[from] io::Error),
    #[error("it closed the connection")]
    Closed,
    #[error("no answer in time")]
    Late,
    #[error("{0}")]
    NoConnack(#[from] AnswerError),
}

fn unreached(error: io::Error) -> AskError {
    match error.kind() {
        io::ErrorKind::AddrNotAvailable => AskError::NoPort,
        _ => AskError::Connect(error),
    }
}

/// A broker that has answered.
struct Asked<A> {
    broker: Stream,
    source: SocketAddr,
    answer: A,
}

async fn ask<G: Greeting>(
    place: &Place,
    settings: &Settings,
    preamble: &[u8],
    greeting: &G,
) -> Result<Asked<G::Answer>, AskError> {
    let mqtt = &settings.spec.settings;
    let backend = place.backend();
    let mut broker = socket::connect(backend.address, mqtt).await.map_err(unreached)?;
    // Before anything is said: a connection that ends at once is made elsewhere.
    let source = broker.local_addr().map_err(AskError::Connect)?;
    let talk = async {
        // In front of TLS, too (section 2 of the specification).
        broker.write_all(preamble).await?;
        let broker = settings.tls.to_broker(backend.address, broker).await;
        let mut broker = broker.map_err(AskError::Tls)?;
        broker.write_all(greeting.bytes()).await?;
        broker.flush().await?;
        backend.note_to_backend(greeting.bytes().len());
        let mut reader = greeting.reader();
        let mut bytes = [0; 1024];
        loop {
            let read = broker.read(&mut bytes).await?;
            if read == 0 {
                return Err(AskError::Closed);
            }
            if let Some(answer) = reader(&bytes[..read])? {
                return Ok(Asked { broker, source, answer });
            }
        }
    };
    timeout(mqtt.connack_within, talk).await.map_err(|_| AskError::Late)?
}

//! A client from its first byte until a broker has accepted it.

use std::{
    future::poll_fn,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead as _, ReadBuf},
    net::TcpStream,
    time::Instant,
};

use super::{
    backend::Place,
    choose::key::Identity,
    end::{Order, Refused},
    farewell::{No, Refusing, ended, refuse},
    header,
    offer::{self, Accepted, Asking},
    passthrough, proxy_protocol,
    registry::{Beginning, Entry},
    relay::Relay,
    service::{Service, Settings},
    stream::Stream,
    tls::ClientTls,
    waiting::Ticket,
};
use crate::mqtt::decode::{Answer, AnswerPacket, Connect, ConnectDecoder, Rewrite};

/// What is read of a CONNECT at once, in bytes.
const READ_BYTES: usize = 1024;

/// Leads the client to a broker, or refuses it.
pub async fn run(service: Arc<Service>, stream: std::net::TcpStream, peer: SocketAddr) {
    let began = Instant::now();
    let settings = service.settings();
    let mqtt = &settings.spec.settings;
    let Ok(stream) = TcpStream::from_std(stream) else {
        return service.note_refusal("accept_failed");
    };
    // What a large CONNECT holds is counted until a broker has it.
    let mut ticket = service.waiting.enter(mqtt.max_waiting);
    let deadline = began + mqtt.connect_within;
    let mut client = peer;
    let arrived = arrive(stream, &settings, &mut client, &ticket, deadline).await;
    let nobody = Refusing { client, began, server_name: None, connect: None, stream: None };
    let (mut stream, tls) = match arrived {
        Ok(Arrived::Here(stream, tls)) => (stream, tls),
        Ok(Arrived::PassedThrough(stream)) => {
            let lead = passthrough::lead(&service, &settings, stream, (client, began), ticket);
            // In a place of its own: other clients shall not take its room.
            return Box::pin(lead).await;
        }
        Err(no) => return refuse(&service, &settings, nobody, no).await,
    };
    let tls = tls.as_ref();
    let server_name = tls.and_then(|tls| tls.server_name.as_deref());
    let connect = read_connect(&mut stream, &settings, &mut ticket, deadline).await;
    ticket.served();
    let connect = match connect {
        Ok(connect) => connect,
        Err(no) => {
            let who = Refusing { server_name, stream: Some(stream), ..nobody };
            return refuse(&service, &settings, who, no).await;
        }
    };
    let connect = match named(connect, &settings, tls) {
        Ok(connect) => connect,
        Err((connect, no)) => {
            let connect = Some(&*connect);
            let who = Refusing { server_name, connect, stream: Some(stream), ..nobody };
            return refuse(&service, &settings, who, no).await;
        }
    };
    let asking = Asking {
        service: &service,
        settings: &settings,
        client,
        identity: identity(&connect, tls),
        tlvs: tls.map(ClientTls::tlvs).unwrap_or_default(),
    };
    // In a place of its own: most of the time that a client needs is spent before.
    match Box::pin(ask_brokers(&asking, &connect, stream.tcp())).await {
        Ok(accepted) => begin(&asking, stream, &connect, accepted),
        Err(no) => {
            let connect = Some(&connect);
            let who = Refusing { server_name, connect, stream: Some(stream), ..nobody };
            refuse(&service, &settings, who, no).await;
        }
    }
}

/// A client that may come in, and has said nothing yet.
enum Arrived {
    /// What it says is for the balancer.
    Here(Stream, Option<ClientTls>),
    /// Its TLS is for a broker.
    PassedThrough(TcpStream),
}

/// Hears who the client is where a proxy in front says it, and ends TLS where the service has it.
async fn arrive(
    stream: TcpStream,
    settings: &Settings,
    client: &mut SocketAddr,
    ticket: &Ticket<'_>,
    deadline: Instant,
) -> Result<Arrived, No> {
    let spec = &settings.spec;
    if proxy_protocol::is_expected(&spec.settings.proxy_protocol_from, client.ip()) {
        let told = header::read(&stream, ticket, deadline).await.map_err(No::without_answer)?;
        *client = told.unwrap_or(*client);
    }
    if spec.sources.deny(client.ip()) {
        return Err(No::without_answer(Refused::Denied));
    }
    if !spec.settings.tls_passthrough.is_empty() {
        return Ok(Arrived::PassedThrough(stream));
    }
    // In a place of its own: a handshake is large, and over soon.
    let shaking = Box::pin(settings.tls.to_client(stream));
    let shaken = ticket.during(deadline, shaking).await.map_err(No::without_answer)?;
    let (stream, tls) = shaken.map_err(|error| No {
        error: Some(error.to_string()),
        ..No::without_answer(Refused::TlsFailed)
    })?;
    Ok(Arrived::Here(stream, tls))
}

async fn read_connect(
    stream: &mut Stream,
    settings: &Settings,
    ticket: &mut Ticket<'_>,
    deadline: Instant,
) -> Result<Connect, No> {
    let mqtt = &settings.spec.settings;
    let mut decoder = ConnectDecoder::new(mqtt.max_connect_bytes);
    let mut arrived = 0;
    loop {
        let fed = ticket.during(deadline, feed(stream, &mut decoder)).await;
        let (read, connect) = fed.map_err(No::without_answer)??;
        arrived += read;
        if let Some(connect) = connect {
            return Ok(connect);
        }
        if !ticket.hold(arrived, mqtt.connect_memory_bytes) {
            return Err(No::without_answer(Refused::ConnectMemory));
        }
    }
}

/// The CONNECT with the names of the client's certificate, where it shall carry them. A client without
/// a certificate keeps those that it says: its broker has to ask for a password.
fn named(
    connect: Connect,
    settings: &Settings,
    tls: Option<&ClientTls>,
) -> Result<Connect, (Box<Connect>, No)> {
    let certificate = tls.and_then(|tls| tls.certificate.as_ref());
    let (Some(tls), Some(certificate)) = (&settings.spec.settings.tls, certificate) else {
        return Ok(connect);
    };
    if tls.username_from.is_none() && tls.client_id_from.is_none() {
        return Ok(connect);
    }
    let no = |connect: Connect, error: String| {
        let no = No::to(connect.version(), Refused::CertificateName);
        Err((Box::new(connect), No { error: Some(error), ..no }))
    };
    let names =
        [tls.username_from, tls.client_id_from].map(|from| from.map(|from| certificate.name(from)));
    let (username, client_id) = match names {
        [Some(None), _] | [_, Some(None)] => {
            return no(connect, "there is no such name in the certificate".into());
        }
        [username, client_id] => (username.flatten(), client_id.flatten()),
    };
    match connect.rewrite(Rewrite { client_id, username }) {
        Ok(connect) => Ok(connect),
        Err(error) => no(connect, error.to_string()),
    }
}

/// Reads once; how many bytes, and the CONNECT if it is complete.
async fn feed(
    stream: &mut Stream,
    decoder: &mut ConnectDecoder,
) -> Result<(usize, Option<Connect>), No> {
    poll_fn(|cx| {
        // On the stack, and only while there are bytes: a client that sends nothing holds no buffer.
        let mut bytes = [0; READ_BYTES];
        let mut buffer = ReadBuf::new(&mut bytes);
        let read = ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer));
        let bytes = buffer.filled();
        if read.is_err() || bytes.is_empty() {
            return Poll::Ready(Err(No::without_answer(Refused::ConnectUnfinished)));
        }
        Poll::Ready(decoder.feed(bytes).map(|connect| (bytes.len(), connect)).map_err(No::from))
    })
    .await
}

fn identity<'a>(connect: &'a Connect, tls: Option<&'a ClientTls>) -> Identity<'a> {
    let certificate = tls.and_then(|tls| tls.certificate.as_ref());
    Identity {
        client_id: connect.client_id(),
        username: connect.username(),
        common_name: certificate.and_then(|one| one.common_name.as_deref()),
        subject_alt_name: certificate
            .and_then(|one| one.subject_alt_names.first().map(String::as_str)),
        server_name: tls.and_then(|tls| tls.server_name.as_deref()),
    }
}

async fn ask_brokers(
    asking: &Asking<'_>,
    connect: &Connect,
    stream: &TcpStream,
) -> Result<Accepted<Answer>, No> {
    let version = connect.version();
    if asking.service.is_quarantined(connect.client_id()) {
        return Err(No::to(version, Refused::Quarantined));
    }
    let vip = stream.local_addr().unwrap_or(asking.settings.spec.address);
    match offer::offer(asking, connect, vip).await {
        Ok(accepted) => Ok(accepted),
        // In the broker's own words.
        Err(offer::Failed { refused, answer: Some(answer) }) => {
            Err(No { reason: refused.name(), error: None, answer: Some(answer) })
        }
        Err(offer::Failed { refused, answer: None }) => Err(No::to(version, refused)),
    }
}

/// Hands the connection over to a task of its own, which is smaller than this one.
fn begin(asking: &Asking<'_>, stream: Stream, connect: &Connect, accepted: Accepted<Answer>) {
    let Asking { service, settings, client, ref identity, .. } = *asking;
    let Accepted { broker, answer, mut place, why } = accepted;
    let connack = match &answer.packet {
        AnswerPacket::Connack(connack) => Some(connack),
        AnswerPacket::Auth => None,
    };
    let properties = connack.map(|connack| &connack.properties);
    let accepted = connack.filter(|connack| connack.accepted());
    let assigned = properties.and_then(|properties| properties.assigned_client_id.as_deref());
    let session_expiry_s = properties.and_then(|properties| properties.session_expiry_s);
    let keep_alive = properties.and_then(|properties| properties.server_keep_alive_s);
    let Ok(source) = broker.tcp().local_addr() else {
        return service.note_refusal(Refused::NoAnswer.name());
    };
    let entry = enter(
        service,
        Beginning {
            client,
            backend: Arc::clone(place.backend()),
            source,
            client_id: assigned.unwrap_or(connect.client_id()).into(),
            username: connect.username().map(Into::into),
            server_name: identity.server_name.map(Into::into),
            version: Some(connect.version()),
            accepted: accepted.is_some(),
            why,
            idle_timeout: idle_timeout(
                keep_alive.unwrap_or(connect.keep_alive_s()),
                settings.spec.idle_timeout,
            ),
            session: session_expiry_s.unwrap_or(connect.session_expiry_s()) > 0,
        },
    );
    if accepted.is_some() || connack.is_none() {
        // Also where its broker asks first who it is: what comes of that is not seen.
        place.open();
    }
    if let Some(connack) = accepted {
        service.opened(settings, &entry.connection);
        if let Some(sessions) = &settings.sessions {
            let (one, exists) = (&entry.connection, |name: &str| service.has_named(name));
            let backend = one.backend.name.as_str();
            sessions.opened(connect, connack, &one.client_id, backend, exists);
        }
    }
    let behind = connect.behind().to_vec();
    let connection = Arc::clone(&entry.connection);
    let relay = Relay::new(stream, broker, behind, answer.bytes, connection);
    copy(service, relay, entry, place);
}

/// Enters a connection that a broker has accepted.
pub fn enter(service: &Service, beginning: Beginning) -> Entry {
    let entry = service.registry.enter(beginning);
    if !service.has(entry.connection.backend.id) {
        // Removed between the choice and the entry: nobody else tells this connection.
        entry.connection.end(Order::BackendRemoved);
    }
    entry
}

/// Copies in a task of its own, until the end.
pub fn copy(service: &Arc<Service>, relay: Relay<Stream, Stream>, entry: Entry, place: Place) {
    let service = Arc::clone(service);
    tokio::spawn(async move {
        let end = relay.run().await;
        ended(&service, &entry, &end);
        drop(place);
    });
}

/// One and a half times the Keep Alive (section 3.1.2.10); without one, what the service says.
fn idle_timeout(keep_alive_s: u16, without: Duration) -> Duration {
    match keep_alive_s {
        0 => without,
        seconds => Duration::from_millis(u64::from(seconds) * 1500),
    }
}

//! A connection begins: a broker has answered the client.

use std::{sync::Arc, time::Duration};

use super::{
    authentication::{Exchange, Patience},
    backend::Place,
    end::{End, Order},
    farewell::ended,
    offer::{Accepted, Asking, Greeting as _},
    registry::{Beginning, Entry},
    relay::Relay,
    service::Service,
    stream::Stream,
};
use crate::mqtt::{
    Connack,
    decode::{Answer, AnswerPacket, Connect},
};

/// Both sides of a connection, and its places.
#[derive(Debug)]
pub struct Opening {
    /// The client.
    pub stream: Stream,
    /// Its broker.
    pub broker: Stream,
    /// What the client has sent behind its greeting.
    pub ahead: Vec<u8>,
    /// What the broker has answered.
    pub answer: Vec<u8>,
    /// Its entry in the registry.
    pub entry: Entry,
    /// Its place at the backend.
    pub place: Place,
}

/// Hands the connection over to a task of its own, which is smaller than this one. `ahead` is what the
/// client has sent behind its CONNECT.
pub async fn begin(
    asking: &Asking<'_>,
    mut stream: Stream,
    connect: &Connect,
    (accepted, ahead): (Accepted<Answer>, Vec<u8>),
) {
    let sent = (connect.packet().len() as u64, 0);
    if let AnswerPacket::Connack(connack) = &accepted.answer.packet {
        let entry = enter_mqtt(asking, connect, (&accepted, Some(connack)), sent);
        return open(asking, connect, (stream, ahead), accepted, entry);
    }
    // In the registry, so that it is seen, and ends with its backend.
    let entry = enter_mqtt(asking, connect, (&accepted, None), sent);
    let mut accepted = accepted;
    // Its end is waited for where a backend drains.
    accepted.place.open();
    let mqtt = &asking.settings.spec.settings;
    let exchange = Exchange {
        client: &mut stream,
        broker: &mut accepted.broker,
        connection: &entry.connection,
        patience: Patience { client: mqtt.connect_within, broker: mqtt.connack_within },
    };
    match Box::pin(exchange.finish(accepted.answer.clone(), ahead)).await {
        Ok(answer) => {
            connect.note(accepted.place.backend(), Some(&answer));
            accepted.answer = answer;
            let AnswerPacket::Connack(connack) = &accepted.answer.packet else { return };
            let bytes = entry.connection.bytes();
            let known = enter_mqtt(asking, connect, (&accepted, Some(connack)), bytes);
            open(asking, connect, (stream, Vec::new()), accepted, known);
        }
        Err(end) => {
            // Once the client has sent an AUTH the end may be its doing: half a packet, or a wrong one.
            let client_spoke = entry.connection.bytes().0 > sent.0;
            if !client_spoke && matches!(end, End::BrokerClosed | End::BrokerFailed(_)) {
                connect.note(accepted.place.backend(), None);
            }
            ended(asking.service, &entry, &end);
        }
    }
}

/// What the registry knows of a connection: some of it from its CONNACK, once that is there.
fn enter_mqtt(
    asking: &Asking<'_>,
    connect: &Connect,
    (accepted, connack): (&Accepted<Answer>, Option<&Connack>),
    bytes: (u64, u64),
) -> Entry {
    let properties = connack.map(|connack| &connack.properties);
    let assigned = properties.and_then(|properties| properties.assigned_client_id.as_deref());
    let session_expiry_s = properties.and_then(|properties| properties.session_expiry_s);
    let keep_alive = properties.and_then(|properties| properties.server_keep_alive_s);
    let beginning = Beginning {
        client_id: assigned.unwrap_or(connect.client_id()).into(),
        username: connect.username().map(Into::into),
        version: Some(connect.version()),
        accepted: connack.is_some_and(Connack::accepted),
        idle_timeout: idle_timeout(
            keep_alive.unwrap_or(connect.keep_alive_s()),
            asking.settings.spec.idle_timeout,
        ),
        session: session_expiry_s.unwrap_or(connect.session_expiry_s()) > 0,
        ..beginning(asking, accepted)
    };
    enter(asking.service, beginning, bytes)
}

/// A broker has said by CONNACK what it thinks of the client.
fn open(
    asking: &Asking<'_>,
    connect: &Connect,
    (stream, ahead): (Stream, Vec<u8>),
    accepted: Accepted<Answer>,
    entry: Entry,
) {
    let Asking { service, settings, arrived, .. } = *asking;
    let Accepted { broker, answer, mut place, .. } = accepted;
    if let AnswerPacket::Connack(connack) = &answer.packet
        && connack.accepted()
    {
        place.open();
        let newest = service.opened(settings, &entry.connection, arrived);
        if let Some(sessions) = settings.sessions.as_ref().filter(|_| newest) {
            let (one, exists) = (&entry.connection, |name: &str| service.has_named(name));
            let backend = one.backend.name.as_str();
            sessions.opened(connect, connack, &one.client_id, backend, exists);
        }
    }
    copy(service, Opening { stream, broker, ahead, answer: answer.bytes, entry, place });
}

/// One and a half times the Keep Alive (section 3.1.2.10); without one, what the service says.
fn idle_timeout(keep_alive_s: u16, without: Duration) -> Duration {
    match keep_alive_s {
        0 => without,
        seconds => Duration::from_millis(u64::from(seconds) * 1500),
    }
}

/// What is known of a connection of which nobody has read a CONNECT.
pub fn beginning<A>(asking: &Asking<'_>, accepted: &Accepted<A>) -> Beginning {
    Beginning {
        client: asking.client,
        backend: Arc::clone(accepted.place.backend()),
        source: accepted.source,
        client_id: Box::default(),
        username: None,
        server_name: asking.identity.server_name.map(Into::into),
        version: None,
        accepted: false,
        why: accepted.why,
        // The Keep Alive is not known.
        idle_timeout: asking.settings.spec.idle_timeout,
        // Nor is this: it may have one, so that it is not moved where those are kept.
        session: true,
    }
}

/// Enters a connection whose broker has answered. So many bytes have gone to it, and to the client.
pub fn enter(service: &Service, beginning: Beginning, bytes: (u64, u64)) -> Entry {
    let entry = service.registry.enter(beginning, bytes);
    if !service.has(entry.connection.backend.id) {
        // Removed between the choice and the entry: nobody else tells this connection.
        entry.connection.end(Order::BackendRemoved);
    }
    entry
}

/// Copies in a task of its own, until the end.
pub fn copy(service: &Arc<Service>, opening: Opening) {
    let Opening { stream, broker, ahead, answer, entry, place } = opening;
    let relay = Relay::new(stream, broker, ahead, answer, Arc::clone(&entry.connection));
    let service = Arc::clone(service);
    tokio::spawn(async move {
        let end = relay.run().await;
        ended(&service, &entry, &end);
        drop(place);
    });
}

//! A connection begins: what both kinds of clients have in common, once a broker has them.

use std::sync::Arc;

use super::{
    backend::Place,
    end::Order,
    farewell::ended,
    offer::{Accepted, Asking},
    registry::{Beginning, Entry},
    relay::Relay,
    service::Service,
    stream::Stream,
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

/// Enters a connection whose broker has had `greeting_bytes` of the client, and has answered.
pub fn enter(service: &Service, beginning: Beginning, greeting_bytes: usize) -> Entry {
    let entry = service.registry.enter(beginning, greeting_bytes as u64);
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

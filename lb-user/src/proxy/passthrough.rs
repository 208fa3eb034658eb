//! A client whose TLS is passed through: its `ClientHello` is read and left as it is, and the name in
//! it leads to a broker, which has the keys.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::{net::TcpStream, time::Instant};

use super::{
    backend::Backend,
    choose::key::Identity,
    departure,
    end::Refused,
    farewell::{No, Refusing, refuse},
    offer::{self, Accepted, Asking, Greeting},
    opening::{self, Opening},
    proxy_protocol::Tlvs,
    service::{Service, Settings},
    sessions::Sessions,
    stream::Stream,
    tls::hello::{Hello, HelloError, HelloReader},
    waiting::Ticket,
};
use crate::mqtt::decode::AnswerError;

/// What is read of a `ClientHello` at once, in bytes.
const READ_BYTES: usize = 2048;

/// Leads the client to a broker, or refuses it.
pub async fn lead(
    service: &Arc<Service>,
    settings: &Settings,
    stream: TcpStream,
    (client, began): (SocketAddr, Instant),
    mut ticket: Ticket<'_>,
) {
    let hello = read_hello(&stream, settings, &mut ticket, began).await;
    ticket.served();
    let nobody = Refusing { client, began, server_name: None, connect: None, stream: None };
    let (hello, flight, mut ahead) = match hello {
        Ok((hello, (flight, ahead))) => (hello, Flight(flight), ahead),
        Err(no) => {
            let who = Refusing { stream: Some(Stream::Plain(stream)), ..nobody };
            return refuse(service, settings, who, no).await;
        }
    };
    let server_name = hello.server_name.as_deref();
    let identity = Identity { server_name, ..Identity::default() };
    // Nothing else was agreed to: what the client offers by ALPN, its broker chooses from.
    let tlvs = Tlvs { authority: hello.server_name.clone(), ..Tlvs::default() };
    let arrived = Instant::now();
    let asking = Asking { service, settings, client, arrived, identity, tlvs };
    let vip = stream.local_addr().unwrap_or(settings.spec.address);
    let mut stream = Stream::Plain(stream);
    let asked = tokio::select! {
        biased;
        asked = ask_brokers(&asking, &flight, vip) => asked,
        () = departure::gone(&mut stream, &mut ahead) => Err(Refused::ClientGone.into()),
    };
    match asked {
        Ok(accepted) => begin(&asking, stream, &flight, (accepted, ahead)),
        Err(offer::Failed { refused, error, .. }) => {
            let who = Refusing { server_name, stream: Some(stream), ..nobody };
            let no = No { error, ..No::by_alert(refused, refused.alert()) };
            refuse(service, settings, who, no).await;
        }
    }
}

/// What the `ClientHello` says, its bytes, and those behind it.
async fn read_hello(
    stream: &TcpStream,
    settings: &Settings,
    ticket: &mut Ticket<'_>,
    began: Instant,
) -> Result<(Hello, (Vec<u8>, Vec<u8>)), No> {
    let mqtt = &settings.spec.settings;
    let deadline = began + mqtt.connect_within;
    let mut reader = HelloReader::default();
    loop {
        let readable = ticket.during(deadline, stream.readable()).await;
        readable.map_err(No::without_answer)?.map_err(|_| gone())?;
        if let Some(hello) = take(stream, &mut reader)? {
            return Ok((hello, reader.into_parts()));
        }
        if !ticket.hold(reader.held_bytes(), mqtt.connect_memory_bytes) {
            return Err(No::without_answer(Refused::ConnectMemory));
        }
    }
}

/// Reads once. The buffer is on the stack: a client that sends nothing holds none.
fn take(stream: &TcpStream, reader: &mut HelloReader) -> Result<Option<Hello>, No> {
    let mut bytes = [0; READ_BYTES];
    match stream.try_read(&mut bytes) {
        Ok(0) => Err(gone()),
        Ok(read) => reader.feed(&bytes[..read]).map_err(no_hello),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(_) => Err(gone()),
    }
}

const fn gone() -> No {
    No::without_answer(Refused::ConnectUnfinished)
}

fn no_hello(error: HelloError) -> No {
    No { error: Some(error.to_string()), ..No::by_alert(Refused::TlsFailed, error.alert()) }
}

async fn ask_brokers(
    asking: &Asking<'_>,
    flight: &Flight,
    vip: SocketAddr,
) -> Result<Accepted<Vec<u8>>, offer::Failed> {
    // Before it waits for its turn: whoever tries names shall not take that of others.
    if !asking.service.has_route(asking.identity.server_name) {
        return Err(Refused::UnknownServerName.into());
    }
    offer::offer(asking, flight, vip).await
}

/// The client's `ClientHello`, in its records.
struct Flight(Vec<u8>);

impl Greeting for Flight {
    /// The broker's first bytes. What they say is for the client: also an alert.
    type Answer = Vec<u8>;

    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn home(&self, _: &Sessions) -> Option<String> {
        None
    }

    fn reader(&self) -> impl FnMut(&[u8]) -> Result<Option<Vec<u8>>, AnswerError> + Send {
        |bytes| Ok(Some(bytes.to_vec()))
    }

    /// CONNACKs are what is counted, and nobody sees them.
    fn note(&self, _: &Backend, _: Option<&Vec<u8>>) {}

    fn elsewhere(_: &Vec<u8>) -> Option<Vec<u8>> {
        None
    }
}

/// `ahead` is what the client has sent behind its hello.
fn begin(
    asking: &Asking<'_>,
    stream: Stream,
    flight: &Flight,
    (accepted, ahead): (Accepted<Vec<u8>>, Vec<u8>),
) {
    let beginning = opening::beginning(asking, &accepted);
    let entry = opening::enter(asking.service, beginning, (flight.0.len() as u64, 0));
    let Accepted { broker, answer, mut place, .. } = accepted;
    place.open();
    opening::copy(asking.service, Opening { stream, broker, ahead, answer, entry, place });
}

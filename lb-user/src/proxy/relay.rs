//! The life of a connection once a broker has accepted it: bytes are copied, both ways.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::{Instant, Sleep, sleep_until, timeout},
};

use super::{
    boundary::Boundary,
    end::{End, Order},
    half::{Broken, CHUNK_BYTES, Half},
    registry::Connection,
};
use crate::mqtt::{Disconnect, Version};

/// When one side has closed, the other one has so long to follow, from its last byte on.
const LINGER: Duration = Duration::from_secs(30);

/// How long a client that is told goodbye may take to hear it.
const GOODBYE: Duration = Duration::from_secs(2);

/// Two sockets, and what is under way between them.
#[derive(Debug)]
pub struct Relay<C, B> {
    client: C,
    broker: B,
    to_broker: Half,
    to_client: Half,
    connection: Arc<Connection>,
    /// Where the broker's stream stands; followed only where a DISCONNECT may be put into it.
    boundary: Option<Boundary>,
    /// The last byte, for the timers.
    heard: Instant,
    first_end: Option<End>,
}

impl<C, B> Relay<C, B>
where
    C: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    /// Between `client` and `broker`, with bytes that each of them is to get first. Those for the
    /// client begin with a whole packet.
    pub fn new(
        client: C,
        broker: B,
        for_broker: Vec<u8>,
        for_client: Vec<u8>,
        connection: Arc<Connection>,
    ) -> Self {
        Self {
            client,
            broker,
            to_broker: Half::new(for_broker),
            to_client: Half::new(for_client),
            // Before a CONNACK that accepts there must be none (section 3.14 of MQTT 5.0).
            boundary: (connection.version == Some(Version::V5) && connection.accepted)
                .then(Boundary::default),
            heard: Instant::now(),
            first_end: None,
            connection,
        }
    }

    /// Copies until one side ends it, or time, or an order. The sockets are closed then.
    pub async fn run(mut self) -> End {
        let end = {
            let connection = Arc::clone(&self.connection);
            let mut ordered = pin!(connection.ordered());
            let mut timer = pin!(sleep_until(self.deadline()));
            poll_fn(|cx| self.poll(cx, ordered.as_mut(), timer.as_mut())).await
        };
        if let End::Ordered(order) = end {
            // In a place of its own: every connection would carry its room along, all its life.
            Box::pin(self.say_goodbye(order)).await;
        }
        end
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        ordered: Pin<&mut impl Future<Output = Order>>,
        mut timer: Pin<&mut Sleep>,
    ) -> Poll<End> {
        if let Poll::Ready(order) = ordered.poll(cx) {
            return Poll::Ready(End::Ordered(order));
        }
        let to_broker = self.poll_to_broker(cx);
        let to_client = self.poll_to_client(cx);
        if let Some(end) = to_broker.or(to_client) {
            return Poll::Ready(end);
        }
        if self.to_broker.is_ended() && self.to_client.is_ended() {
            return Poll::Ready(self.first_end.take().unwrap_or(End::ClientClosed));
        }
        // Only the close of one side brings the deadline forward; bytes put it off, and the timer
        // finds that out when it fires.
        if self.deadline() < timer.deadline() {
            timer.as_mut().reset(self.deadline());
        }
        loop {
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let deadline = self.deadline();
            if deadline <= Instant::now() {
                let half = self.first_end.is_some();
                return Poll::Ready(if half { End::HalfClosed } else { End::Idle });
            }
            timer.as_mut().reset(deadline);
        }
    }

    fn poll_to_broker(&mut self, cx: &mut Context<'_>) -> Option<End> {
        let Self { client, broker, to_broker, connection, heard, .. } = self;
        let polled = to_broker.poll(cx, client, broker, |bytes| {
            *heard = Instant::now();
            connection.note_to_backend(bytes.len(), *heard);
        });
        if to_broker.has_source_ended() && self.first_end.is_none() {
            self.close_with(End::ClientClosed);
        }
        match polled {
            Poll::Ready(Err(Broken::Source(error))) => Some(self.broken(End::ClientFailed(error))),
            Poll::Ready(Err(Broken::Target(error))) => Some(self.broken(End::BrokerFailed(error))),
            _ => None,
        }
    }

    fn poll_to_client(&mut self, cx: &mut Context<'_>) -> Option<End> {
        let Self { client, broker, to_client, connection, boundary, heard, first_end, .. } = self;
        let closing = first_end.is_some();
        let polled = to_client.poll(cx, broker, client, |bytes| {
            connection.note_to_client(bytes.len());
            if let Some(boundary) = boundary {
                boundary.pass(bytes);
            }
            if closing {
                *heard = Instant::now();
            }
        });
        if to_client.has_source_ended() && self.first_end.is_none() {
            self.close_with(End::BrokerClosed);
        }
        match polled {
            Poll::Ready(Err(Broken::Source(error))) => Some(self.broken(End::BrokerFailed(error))),
            Poll::Ready(Err(Broken::Target(error))) => Some(self.broken(End::ClientFailed(error))),
            _ => None,
        }
    }

    /// Whoever hears that the other one has closed may close at once: what is reset then was over
    /// before.
    fn broken(&mut self, end: End) -> End {
        self.first_end.take().unwrap_or(end)
    }

    fn close_with(&mut self, end: End) {
        self.first_end = Some(end);
        self.heard = Instant::now();
    }

    fn deadline(&self) -> Instant {
        let limit = self.connection.idle_timeout;
        self.heard + if self.first_end.is_some() { limit.min(LINGER) } else { limit }
    }

    /// DISCONNECT, where the client understands it and it does not tear a packet apart; then the end
    /// of the stream.
    async fn say_goodbye(mut self, order: Order) {
        let between = self.boundary.is_some_and(Boundary::is_between);
        drop(self.broker);
        let client = &mut self.client;
        let goodbye = async {
            if between && self.to_client.is_drained() && !self.to_client.has_source_ended() {
                let disconnect = Disconnect { code: order.reason_code() };
                client.write_all(&disconnect.encode()).await?;
                client.flush().await?;
            }
            client.shutdown().await?;
            drain(client).await
        };
        // Whoever has gone, or does not listen, need not hear it.
        let _ = timeout(GOODBYE, goodbye).await;
    }
}

/// Reads until the other side ends: a socket that is closed with unread bytes is reset, and what was
/// written last may not arrive.
pub async fn drain<S: AsyncRead + Unpin>(stream: &mut S) -> std::io::Result<()> {
    let mut rest = [0; 512];
    let mut left = 4 * CHUNK_BYTES;
    loop {
        let read = stream.read(&mut rest).await?;
        if read == 0 || read > left {
            return Ok(());
        }
        left -= read;
    }
}

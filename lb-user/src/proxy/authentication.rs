//! Extended authentication (MQTT 5.0, section 4.12): between CONNECT and CONNACK client and broker send each
//! other AUTH, as often as their method wants. All of it is handed on; only the CONNACK is looked for.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::{Instant, sleep_until, timeout},
};

use super::{end::End, offer::MAX_ANSWER_BYTES, registry::Connection};
use crate::mqtt::{
    Version,
    decode::{Answer, AnswerPacket, ConnackDecoder},
};

/// What is read at once, in bytes: one AUTH is rarely longer.
const READ_BYTES: usize = 1024;

/// How long either side may take for its next AUTH.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// The client.
    pub client: Duration,
    /// The broker.
    pub broker: Duration,
}

/// Both sides of a connection whose broker has answered its CONNECT by AUTH.
#[derive(Debug)]
pub struct Exchange<'a, C, B> {
    /// The client.
    pub client: &'a mut C,
    /// Its broker.
    pub broker: &'a mut B,
    /// Its entry in the registry, where bytes are counted and orders to end come from.
    pub connection: &'a Connection,
    /// How long it may take.
    pub patience: Patience,
}

/// Whose AUTH is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Client,
    Broker,
}

impl<C, B> Exchange<'_, C, B>
where
    C: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    /// Hands on `first`, and all that comes, until the CONNACK; that is returned with what came behind
    /// it, and is still to be sent. `ahead` is what the client has sent behind its CONNECT.
    pub async fn finish(self, first: Answer, ahead: Vec<u8>) -> Result<Answer, End> {
        let connection = self.connection;
        tokio::select! {
            biased;
            order = connection.ordered() => Err(End::Ordered(order)),
            end = self.exchange(first, ahead) => end,
        }
    }

    async fn exchange(mut self, first: Answer, ahead: Vec<u8>) -> Result<Answer, End> {
        self.pass_to_broker(&ahead).await?;
        let mut decoder = ConnackDecoder::new(Version::V5, MAX_ANSWER_BYTES);
        let mut answer = Some(first);
        let (mut from_client, mut from_broker) = ([0; READ_BYTES], [0; READ_BYTES]);
        let mut turn = Turn::Broker;
        let mut deadline = Instant::now();
        loop {
            while let Some(mut whole) = answer.take() {
                if matches!(whole.packet, AnswerPacket::Connack(_)) {
                    return Ok(whole);
                }
                let behind = whole.bytes.split_off(whole.packet_bytes);
                self.pass_to_client(&whole.bytes).await?;
                (turn, deadline) = (Turn::Client, Instant::now() + self.patience.client);
                answer = decoder.feed(&behind).map_err(no_answer)?;
            }
            tokio::select! {
                () = sleep_until(deadline) => return Err(late(turn)),
                read = self.broker.read(&mut from_broker) => {
                    let read = read.map_err(End::BrokerFailed)?;
                    if read == 0 {
                        return Err(End::BrokerClosed);
                    }
                    answer = decoder.feed(&from_broker[..read]).map_err(no_answer)?;
                }
                read = self.client.read(&mut from_client) => {
                    let read = read.map_err(End::ClientFailed)?;
                    if read == 0 {
                        return Err(End::ClientClosed);
                    }
                    self.pass_to_broker(&from_client[..read]).await?;
                    // Once: whoever trickles gains no time.
                    if turn == Turn::Client {
                        (turn, deadline) = (Turn::Broker, Instant::now() + self.patience.broker);
                    }
                }
            }
        }
    }

    async fn pass_to_broker(&mut self, bytes: &[u8]) -> Result<(), End> {
        if !bytes.is_empty() {
            let taken = timeout(self.patience.broker, write(self.broker, bytes)).await;
            taken.map_err(|_| late(Turn::Broker))?.map_err(End::BrokerFailed)?;
            self.connection.note_to_backend(bytes.len(), Instant::now());
        }
        Ok(())
    }

    async fn pass_to_client(&mut self, bytes: &[u8]) -> Result<(), End> {
        let taken = timeout(self.patience.client, write(self.client, bytes)).await;
        taken.map_err(|_| late(Turn::Client))?.map_err(End::ClientFailed)?;
        self.connection.note_to_client(bytes.len());
        Ok(())
    }
}

async fn write<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

fn no_answer(error: impl std::error::Error + Send + Sync + 'static) -> End {
    End::BrokerFailed(io::Error::new(io::ErrorKind::InvalidData, error))
}

fn late(turn: Turn) -> End {
    match turn {
        Turn::Client => End::Idle,
        Turn::Broker => {
            End::BrokerFailed(io::Error::new(io::ErrorKind::TimedOut, "no answer to AUTH in time"))
        }
    }
}

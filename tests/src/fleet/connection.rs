//! One MQTT connection: Control Packets over TCP, with every error of either told apart.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::mqttbytes::v4::{
    Connect, ConnectReturnCode, Packet, Publish, Subscribe, SubscribeFilter,
};
use rumqttc::mqttbytes::{Error as CodecError, QoS};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// The largest Control Packet either side may send.
const MAX_PACKET_BYTES: usize = 1 << 20;

/// Why a connection could not be made, or ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// TCP: refused, reset, unreachable, ...
    Tcp(io::ErrorKind),
    /// The other side closed in good order, without being asked.
    Closed,
    /// TCP, or the broker's answer to CONNECT or SUBSCRIBE, took too long.
    NoAnswer,
    /// No PINGRESP came within one Keep Alive.
    NoPingResponse,
    /// The broker's CONNACK said no.
    Refused(u8),
    /// A Control Packet that does not belong there, or is none.
    Protocol(String),
}

impl From<io::Error> for Reason {
    fn from(error: io::Error) -> Self {
        Self::Tcp(error.kind())
    }
}

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    received: BytesMut,
    local: SocketAddr,
}

/// What a new connection needs to know.
#[derive(Debug, Clone)]
pub struct Session<'a> {
    pub client_id: &'a str,
    pub keep_alive_s: u16,
    pub clean: bool,
    pub subscriptions: &'a [String],
    pub qos: QoS,
}

impl Connection {
    /// Connects over TCP from `source`, sends CONNECT and SUBSCRIBE, and waits for the answers.
    pub async fn open(
        source: Option<IpAddr>,
        target: SocketAddr,
        session: Session<'_>,
        limit: Duration,
    ) -> Result<Self, Reason> {
        let opening = async {
            let socket = if target.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            if let Some(source) = source {
                socket.bind(SocketAddr::new(source, 0))?;
            }
            let stream = socket.connect(target).await?;
            stream.set_nodelay(true)?;
            let local = stream.local_addr()?;
            let mut connection = Self { stream, received: BytesMut::new(), local };
            connection.begin(session).await?;
            Ok(connection)
        };
        timeout(limit, opening).await.unwrap_or(Err(Reason::NoAnswer))
    }

    /// The client's end.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The next Control Packet. May be dropped and called again without losing any.
    pub async fn read(&mut self) -> Result<Packet, Reason> {
        loop {
            match Packet::read(&mut self.received, MAX_PACKET_BYTES) {
                Ok(packet) => return Ok(packet),
                Err(CodecError::InsufficientBytes(_)) => {}
                Err(error) => return Err(Reason::Protocol(error.to_string())),
            }
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(Reason::Closed);
            }
        }
    }

    /// Sends a Control Packet.
    pub async fn write(&mut self, packet: &Packet) -> Result<(), Reason> {
        let mut bytes = BytesMut::new();
        packet
            .write(&mut bytes, MAX_PACKET_BYTES)
            .map_err(|error| Reason::Protocol(error.to_string()))?;
        Ok(self.stream.write_all(&bytes).await?)
    }

    /// Sends a message.
    pub async fn publish(
        &mut self,
        topic: &str,
        qos: QoS,
        packet_identifier: u16,
        again: bool,
        payload: Vec<u8>,
    ) -> Result<(), Reason> {
        let mut publish = Publish::new(topic, qos, payload);
        if qos != QoS::AtMostOnce {
            publish.pkid = packet_identifier;
            publish.dup = again;
        }
        self.write(&Packet::Publish(publish)).await
    }

    /// Says goodbye.
    pub async fn close(mut self) {
        // Whoever has gone already need not hear it.
        let _ = self.write(&Packet::Disconnect).await;
        let _ = self.stream.shutdown().await;
    }

    async fn begin(&mut self, session: Session<'_>) -> Result<(), Reason> {
        let mut connect = Connect::new(session.client_id);
        connect.keep_alive = session.keep_alive_s;
        connect.clean_session = session.clean;
        self.write(&Packet::Connect(connect)).await?;
        match self.read().await? {
            Packet::ConnAck(ack) if ack.code == ConnectReturnCode::Success => {}
            Packet::ConnAck(ack) => return Err(Reason::Refused(ack.code as u8)),
            other => return Err(Reason::Protocol(format!("{other:?} instead of CONNACK"))),
        }
        let filters = session
            .subscriptions
            .iter()
            .map(|path| SubscribeFilter { path: path.clone(), qos: session.qos });
        let mut subscribe = Subscribe::new_many(filters);
        subscribe.pkid = 1;
        self.write(&Packet::Subscribe(subscribe)).await?;
        match self.read().await? {
            Packet::SubAck(_) => Ok(()),
            other => Err(Reason::Protocol(format!("{other:?} instead of SUBACK"))),
        }
    }
}

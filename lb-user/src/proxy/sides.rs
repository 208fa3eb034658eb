//! TLS on both sides of a service, as its settings have it.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::{
    stream::Stream,
    tls::{Broker, ClientTls, Server, TlsError},
};
use crate::config::model::MqttSettings;

/// What is loaded; `None` on a side without TLS.
#[derive(Clone, Debug, Default)]
pub struct TlsSides {
    client: Option<Arc<Server>>,
    broker: Option<Arc<Broker>>,
}

impl TlsSides {
    /// What `settings` ask for. What `before` has by the same settings is kept, unless files are to be
    /// read again. Blocks on the disk.
    pub fn load(settings: &MqttSettings, before: &Self, reread: bool) -> Result<Self, TlsError> {
        let client = match &settings.tls {
            None => None,
            Some(tls) => {
                let wanted = tls.into();
                Some(match &before.client {
                    Some(server) if !reread && server.has(&wanted) => Arc::clone(server),
                    Some(server) => Arc::new(server.successor(&wanted)?),
                    None => Arc::new(Server::load(&wanted)?),
                })
            }
        };
        let broker = match &settings.broker_tls {
            None => None,
            Some(tls) => {
                let wanted = tls.into();
                Some(match &before.broker {
                    Some(broker) if !reread && broker.has(&wanted) => Arc::clone(broker),
                    _ => Arc::new(Broker::load(&wanted)?),
                })
            }
        };
        Ok(Self { client, broker })
    }

    /// TLS towards clients.
    #[must_use]
    pub fn client(&self) -> Option<&Server> {
        self.client.as_deref()
    }

    /// Ends the client's TLS, where there is any, and tells what it says of the client.
    pub async fn to_client(&self, stream: TcpStream) -> io::Result<(Stream, Option<ClientTls>)> {
        let Some(server) = &self.client else { return Ok((Stream::Plain(stream), None)) };
        let stream = TlsAcceptor::from(server.config()).accept(stream).await?;
        let client = ClientTls::of(stream.get_ref().1);
        Ok((Stream::Tls(Box::new(stream.into())), client))
    }

    /// Begins TLS with the broker at `address`, where there is any.
    pub async fn to_broker(&self, address: SocketAddr, stream: TcpStream) -> io::Result<Stream> {
        let Some(broker) = &self.broker else { return Ok(Stream::Plain(stream)) };
        // In a place of its own: a handshake is large, and short.
        let stream = Box::pin(broker.connect(address.ip(), stream)).await?;
        Ok(Stream::Tls(Box::new(stream.into())))
    }
}

//! One probe of one broker: the I/O.
//!
//! A probe ends within its timeout (a farewell to a broker that answered may take
//! [`FAREWELL`] longer) and changes nothing but the broker's log, which it tries to keep quiet.

mod any_certificate;
mod deadline;
mod error;
mod http;
pub mod load;
pub mod mqtt;
mod tcp;
pub mod tls;

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

pub use error::{Phase, ProbeError};

use super::target::{Check, Target};
use crate::{config::model::SendProxyProtocol, proxy};
use deadline::Deadline;

/// How long a probe waits for a broker to close the connection that both are done with.
const FAREWELL: Duration = Duration::from_millis(200);

/// Probes the broker once; returns the time until it had answered.
pub async fn probe(target: &Target) -> Result<Duration, ProbeError> {
    let deadline = Deadline::after(target.timeout);
    match &target.check {
        Check::Tcp => tcp::probe(target.address, deadline).await,
        Check::Mqtt(check) => {
            mqtt::probe(target.address, target.proxy_header, check, deadline).await
        }
        Check::Http(check) => http::probe(target.address, check, deadline).await,
    }
}

/// A byte stream to a broker, encrypted or not.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Connects, sends what comes before all else, and encrypts where the check has TLS settings.
async fn open(
    address: std::net::SocketAddr,
    proxy_header: SendProxyProtocol,
    tls: Option<&tls::Client>,
    deadline: Deadline,
) -> Result<Box<dyn Stream>, ProbeError> {
    let mut stream = connect(address, deadline).await?;
    let introduce = async {
        let header = proxy::header_of_our_own(proxy_header, stream.local_addr()?, address);
        stream.write_all(&header).await
    };
    deadline.during(Phase::Connect, introduce).await?;
    match tls {
        None => Ok(Box::new(stream)),
        Some(tls) => {
            let encrypted = deadline.during(Phase::Tls, tls.connect(stream)).await?;
            Ok(Box::new(encrypted))
        }
    }
}

async fn connect(
    address: std::net::SocketAddr,
    deadline: Deadline,
) -> Result<TcpStream, ProbeError> {
    let stream = deadline.during(Phase::Connect, TcpStream::connect(address)).await?;
    // Without it a PINGREQ would wait for the acknowledgement of the CONNECT. A failure costs time
    // only, and a connection that is broken says so at the first write.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// Ends a connection so that the broker sees no reset: closing a socket with unread bytes, or bytes
/// that arrive after it was closed, make the kernel send one.
async fn part(mut stream: impl Stream) {
    let farewell = async {
        stream.shutdown().await?;
        let mut rest = [0; 512];
        while stream.read(&mut rest).await? > 0 {}
        Ok::<(), std::io::Error>(())
    };
    // The verdict has been reached; how the broker closes does not change it.
    let _ = tokio::time::timeout_at(Instant::now() + FAREWELL, farewell).await;
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::proxy::proxy_protocol::{Decoded, decode};

    #[tokio::test]
    async fn a_check_tells_its_own_addresses_as_those_of_a_client() {
        // Some brokers close connections that are nobody's (LOCAL, UNKNOWN).
        for listen in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(listen).await.unwrap();
            let address = listener.local_addr().unwrap();
            for proxy_header in [SendProxyProtocol::V1, SendProxyProtocol::V2] {
                let deadline = Deadline::after(Duration::from_secs(10));
                let opened = open(address, proxy_header, None, deadline).await.unwrap();
                let (mut accepted, peer) = listener.accept().await.unwrap();
                drop(opened);
                let mut bytes = Vec::new();
                accepted.read_to_end(&mut bytes).await.unwrap();
                let Ok(Decoded::Complete { header, length }) = decode(&bytes) else {
                    panic!("{bytes:?}")
                };
                let told = header.addresses.unwrap();
                assert_eq!((told.source(), told.destination()), (peer, address));
                assert_eq!(length, bytes.len());
            }
        }
    }
}

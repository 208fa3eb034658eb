//! One connection with an MQTT session on it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::{Shared, packets};

/// A lost SYN is sent again after a second.
const LIMIT: Duration = Duration::from_secs(5);

/// Bytes to and from a service, with TLS or without.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

/// See [`Duplex`].
pub type Stream = Box<dyn Duplex>;

/// Connects client number `client`; `turn` is which of its connections this is.
pub async fn open(shared: &Shared, client: usize, turn: usize, connect: &[u8]) -> Result<Stream> {
    let opening = async {
        let sources = &shared.target.sources;
        let addresses = &shared.target.addresses;
        // Every client goes round all sources and addresses, each beginning elsewhere.
        let place = client + turn;
        let source = sources[place / addresses.len() % sources.len()];
        let stream = tcp(source, addresses[place % addresses.len()]).await?;
        let mut stream: Stream = match &shared.target.tls {
            None => Box::new(stream),
            Some(tls) => {
                let shaken = tls.connector.connect(tls.name.clone(), stream).await;
                Box::new(shaken.context("begin TLS")?)
            }
        };
        send(&mut stream, connect).await.context("send CONNECT")?;
        expect(&mut stream, &packets::CONNACK).await.context("wait for CONNACK")?;
        Ok(stream)
    };
    timeout(LIMIT, opening).await.context("connect")?
}

/// Connects to stay, with no more others at the same time than a queue of a broker can take.
pub async fn open_in_turn(shared: &Shared, client: usize) -> Result<Stream> {
    let _turn = shared.opening.acquire().await?;
    open(shared, client, 0, &packets::connect(shared.number, client)).await
}

/// Sends these bytes, all of them, now.
pub async fn send(stream: &mut Stream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

/// Waits for exactly these bytes.
pub async fn expect<const LENGTH: usize>(stream: &mut Stream, bytes: &[u8; LENGTH]) -> Result<()> {
    let mut answer = [0; LENGTH];
    stream.read_exact(&mut answer).await?;
    ensure!(answer == *bytes, "{answer:?} came instead of {bytes:?}");
    Ok(())
}

async fn tcp(source: IpAddr, target: SocketAddr) -> Result<TcpStream> {
    let socket = if target.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.context("make a socket")?;
    choose_port_late(&socket).context("set IP_BIND_ADDRESS_NO_PORT")?;
    socket.bind(SocketAddr::new(source, 0)).with_context(|| format!("bind to {source}"))?;
    let stream = socket.connect(target).await.with_context(|| format!("connect to {target}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Without it a port is taken for all targets at once, and with many connections they run out.
fn choose_port_late(socket: &TcpSocket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the socket is open, and `on` is an int of the length that is told.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

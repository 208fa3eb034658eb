//! Addresses that connections to brokers come from.
//!
//! One address has as many ports towards one broker as `net.ipv4.ip_local_port_range` says, 28,232 unless
//! somebody changed that; more connections need more addresses.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, AsRawFd as _},
};

use tokio::net::{TcpSocket, TcpStream};

/// Connects to `broker` from one of `addresses` of its family; from what the kernel chooses where there
/// is none. Where all ports of an address are taken, or this host has lost it, the next one is tried.
pub async fn connect(broker: SocketAddr, addresses: &[IpAddr]) -> io::Result<TcpStream> {
    let fitting: Vec<IpAddr> =
        addresses.iter().copied().filter(|one| one.is_ipv4() == broker.is_ipv4()).collect();
    if fitting.is_empty() {
        return socket(broker)?.connect(broker).await;
    }
    // By chance, so that they are used alike.
    let first = fastrand::usize(..fitting.len());
    let mut taken = None;
    for address in fitting[first..].iter().chain(&fitting[..first]) {
        let attempt = async {
            let socket = socket(broker)?;
            bind(&socket, *address)?;
            socket.connect(broker).await
        };
        match attempt.await {
            // No port of it is free, or this host has lost the address.
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => taken = Some(error),
            connected => return connected,
        }
    }
    Err(taken.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()))
}

/// Whether this host has `address`.
pub fn check(address: IpAddr) -> io::Result<()> {
    bind(&socket(SocketAddr::new(address, 0))?, address)
}

fn socket(broker: SocketAddr) -> io::Result<TcpSocket> {
    if broker.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }
}

/// The port is chosen when it is known where to: only then one port can serve towards each broker.
fn bind(socket: &TcpSocket, address: IpAddr) -> io::Result<()> {
    without_port(socket)?;
    socket.bind(SocketAddr::new(address, 0))
}

/// `IP_BIND_ADDRESS_NO_PORT` (Linux 4.2), which also holds for IPv6; no crate that is used here has it.
fn without_port(socket: &impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is borrowed and therefore open, and the option is a `c_int` that is alive
    // during the call, whose size is given; the kernel only reads it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn connections_come_from_all_addresses_of_the_brokers_family() {
        let addresses: Vec<IpAddr> =
            ["127.0.0.7", "127.0.0.8", "::1"].map(|text| text.parse().unwrap()).into();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (mut seen, mut open) = (BTreeSet::new(), Vec::new());
        for _ in 0..40 {
            open.push(connect(listener.local_addr().unwrap(), &addresses).await.unwrap());
            let (accepted, peer) = listener.accept().await.unwrap();
            seen.insert(peer.ip());
            open.push(accepted);
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), addresses[..2]);
        let listener = TcpListener::bind("[::1]:0").await.unwrap();
        let connected = connect(listener.local_addr().unwrap(), &addresses).await.unwrap();
        assert_eq!(connected.local_addr().unwrap().ip(), addresses[2]);
    }

    #[tokio::test]
    async fn an_address_that_was_lost_is_passed_over() {
        let addresses = ["192.0.2.77", "127.0.0.7"].map(|text| text.parse().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        for _ in 0..10 {
            let connected = connect(listener.local_addr().unwrap(), &addresses).await.unwrap();
            assert_eq!(connected.local_addr().unwrap().ip(), addresses[1]);
        }
        let error = connect(listener.local_addr().unwrap(), &addresses[..1]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
    }

    #[tokio::test]
    async fn one_port_serves_towards_each_broker() {
        // Without the option bind takes a port for itself alone, whatever the broker.
        let socket = TcpSocket::new_v4().unwrap();
        bind(&socket, "127.0.0.7".parse().unwrap()).unwrap();
        assert_eq!(socket.local_addr().unwrap().port(), 0, "it is chosen later");
    }

    #[tokio::test]
    async fn an_address_that_this_host_has_not_is_an_error() {
        let missing = "192.0.2.77".parse().unwrap();
        assert_eq!(check(missing).unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
        check("127.0.0.7".parse().unwrap()).unwrap();
    }
}

//! Sockets: where clients are accepted, and how either side of a connection is set up.

use std::{io, net::SocketAddr, os::fd::AsFd, time::Duration};

use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::TcpStream;

use super::source;
use crate::config::model::MqttSettings;

/// Connections that may wait to be accepted; the kernel takes `net.core.somaxconn` if that is less.
const BACKLOG: i32 = 4096;

/// From one question of TCP keepalive to the next.
const PROBE_EVERY: Duration = Duration::from_secs(10);

/// Unanswered questions after which the other side is gone.
const PROBES: u32 = 3;

/// Listens at `address`, which this host need not have yet: a VIP may come later, and go to another
/// balancer and return.
pub fn listen(address: SocketAddr, settings: &MqttSettings) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv4() {
        socket.set_freebind_v4(true)?;
    } else {
        socket.set_freebind_v6(true)?;
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    set_up(&socket, settings)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Lets TCP notice when the other side has vanished, and send small packets at once. What connects
/// to a listening socket from then on begins with its settings, which saves six system calls for each
/// client.
pub fn set_up(socket: &impl AsFd, settings: &MqttSettings) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(settings.tcp_keepalive)
        .with_interval(PROBE_EVERY)
        .with_retries(PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(settings.tcp_user_timeout))
}

/// Connects to a broker.
pub async fn connect(broker: SocketAddr, settings: &MqttSettings) -> io::Result<TcpStream> {
    let connecting = source::connect(broker, &settings.addresses);
    let stream = tokio::time::timeout(settings.broker_connect_within, connecting)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    set_up(&stream, settings)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{defaults, rules::LONGEST_TCP_TIME};

    #[test]
    fn an_address_that_this_host_has_not_yet_can_be_listened_at() {
        for address in ["192.0.2.77:0", "[2001:db8::77]:0"] {
            listen(address.parse().unwrap(), &defaults::MQTT).unwrap();
        }
    }

    #[tokio::test]
    async fn the_kernel_takes_the_longest_times_that_can_be_configured() {
        let times = MqttSettings {
            tcp_keepalive: LONGEST_TCP_TIME,
            tcp_user_timeout: LONGEST_TCP_TIME,
            ..defaults::MQTT
        };
        let listener = listen("127.0.0.1:0".parse().unwrap(), &times).unwrap();
        connect(listener.local_addr().unwrap(), &times).await.unwrap();
    }

    #[tokio::test]
    async fn either_side_notices_when_the_other_vanishes() {
        let listener = listen("127.0.0.1:0".parse().unwrap(), &defaults::MQTT).unwrap();
        let later = MqttSettings { tcp_keepalive: Duration::from_secs(7), ..defaults::MQTT };
        for settings in [defaults::MQTT, later] {
            set_up(&listener, &settings).unwrap();
            let stream = connect(listener.local_addr().unwrap(), &settings).await.unwrap();
            let (accepted, _) = listener.accept().unwrap();
            for socket in [SockRef::from(&stream), SockRef::from(&accepted)] {
                assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
                assert_eq!(socket.tcp_keepalive_time().unwrap(), settings.tcp_keepalive);
                assert_eq!(socket.tcp_keepalive_interval().unwrap(), PROBE_EVERY);
                assert_eq!(socket.tcp_keepalive_retries().unwrap(), PROBES);
                assert_eq!(socket.tcp_user_timeout().unwrap(), Some(settings.tcp_user_timeout));
            }
        }
    }
}

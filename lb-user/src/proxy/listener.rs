//! Accepts the clients of a service.

use std::{io, net::SocketAddr, net::TcpListener, net::TcpStream, sync::Arc, time::Duration};

use rustix::net::{SocketFlags, acceptfrom_with};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::watch,
    task::consume_budget,
    time::sleep,
};

use super::{end::Refused, service::Service, session, workers::Workers};

/// Where accepting fails for want of something (file descriptors, memory), it is tried again after
/// this time: others end meanwhile.
const PAUSE: Duration = Duration::from_millis(50);

/// Lets the event loop of this thread watch `listener`.
pub fn register(listener: TcpListener) -> io::Result<AsyncFd<TcpListener>> {
    // SAFETY: a listener owns its descriptor, which stays open and the same until it is dropped; it is
    // only lent from here on.
    unsafe { AsyncFd::register_with_interest(listener, Interest::READABLE) }.map_err(Into::into)
}

/// Accepts until `stop` changes, or its sender is gone; what is accepted lives on one of `workers`.
pub async fn accept(
    listener: AsyncFd<TcpListener>,
    service: Arc<Service>,
    workers: Arc<Workers>,
    mut stop: watch::Receiver<bool>,
) {
    let mut complained = false;
    loop {
        let (room, accepted) = tokio::select! {
            biased;
            _ = stop.changed() => return,
            accepted = async { (workers.room().await, next(&listener).await) } => accepted,
        };
        match accepted {
            Ok((stream, client)) => {
                complained = false;
                workers.spawn(room, session::run(Arc::clone(&service), stream, client));
            }
            Err(error) => {
                service.note_refusal(Refused::AcceptFailed.name());
                if !complained {
                    let name = service.settings().spec.name.clone();
                    tracing::error!(service = %name, %error, "clients cannot be accepted");
                    complained = true;
                }
                sleep(PAUSE).await;
            }
        }
    }
}

/// The next client. Its socket belongs to no event loop yet: that of its worker will have it.
async fn next(listener: &AsyncFd<TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    // There may always be one more; others want their turn.
    consume_budget().await;
    loop {
        let mut ready = listener.readable().await?;
        if let Ok(accepted) = ready.try_io(|listener| accept_now(listener.get_ref())) {
            return accepted;
        }
    }
}

fn accept_now(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (socket, client) = acceptfrom_with(listener, flags)?;
    let client = client.and_then(|client| client.try_into().ok());
    let client = client.ok_or_else(|| io::Error::other("the kernel does not say who it is"))?;
    Ok((socket.into(), client))
}

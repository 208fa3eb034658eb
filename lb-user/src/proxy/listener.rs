//! Accepts the clients of a service.

use std::{sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::watch, time::sleep};

use super::{end::Refused, service::Service, session};

/// Where accepting fails for want of something (file descriptors, memory), it is tried again after
/// this time: others end meanwhile.
const PAUSE: Duration = Duration::from_millis(50);

/// Accepts until `stop` changes, or its sender is gone.
pub async fn accept(listener: TcpListener, service: Arc<Service>, mut stop: watch::Receiver<bool>) {
    let mut complained = false;
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.changed() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, client)) => {
                complained = false;
                tokio::spawn(session::run(Arc::clone(&service), stream, client));
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

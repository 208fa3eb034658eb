//! The life of `mqlb run` once the data plane forwards: answers requests, obeys signals.

use std::{io, path::PathBuf, pin::pin, sync::Arc};

use sd_notify::NotifyState;
use tokio::{
    net::{TcpListener, UnixListener},
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use super::{Outcome, failure::Failure, hold};
use crate::{
    api::{server, socket},
    config::model::Config,
    control::{
        actor::{self, Handle},
        controller::Controller,
    },
    health::checker::HealthEvent,
    proxy::Proxies,
};

/// Where requests come in.
pub(super) struct Doors {
    api: UnixListener,
    metrics: Option<TcpListener>,
    socket: SocketFile,
}

/// The socket in the file system; removed at the end. Where that fails, the next start replaces it.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Doors {
    /// Opens them, so that requests wait until they are served.
    pub async fn open(config: &Config) -> Result<Self, Failure> {
        let metrics = match config.api.metrics {
            None => None,
            Some(address) => Some(TcpListener::bind(address).await.map_err(|error| {
                let error = format!("listen at {address} (api.metrics): {error}");
                Failure::failed(&error, "choose another address or port for api.metrics")
            })?),
        };
        let api = socket::listen(&config.api.socket, config.api.mode).await?;
        Ok(Self { api, metrics, socket: SocketFile(config.api.socket.clone()) })
    }
}

/// Serves until SIGTERM or SIGINT, or until privileges could not be given up, which `given_up` tells;
/// the data plane goes on after that.
pub(super) async fn until_told(
    controller: Controller,
    news: mpsc::Receiver<HealthEvent>,
    proxies: Arc<Proxies>,
    doors: Doors,
    given_up: impl Future<Output = Outcome>,
) -> Outcome {
    let scarce = |error: io::Error| Failure::failed(&error, "this machine is short of resources");
    let on = |kind| signal(kind).map_err(scarce);
    let mut terminate = on(SignalKind::terminate())?;
    let mut interrupt = on(SignalKind::interrupt())?;
    let mut hangup = on(SignalKind::hangup())?;
    let (handle, ended) = actor::spawn(controller, news).map_err(scarce)?;
    let Doors { api, metrics, socket } = doors;
    tokio::spawn(axum::serve(api, server::router(handle.clone())).into_future());
    if let Some(metrics) = metrics {
        tokio::spawn(axum::serve(metrics, server::observer(handle.clone())).into_future());
    }
    tokio::spawn(hold::keep(handle.clone()));
    tell_systemd(&[NotifyState::Ready]);
    tokio::pin!(ended);
    let mut given_up = pin!(given_up);
    let mut privileged = true;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => reload(&handle).await,
            outcome = &mut given_up, if privileged => {
                outcome?;
                privileged = false;
            }
            () = &mut ended => {
                let hint = "this is a bug: see the log. Forwarding goes on; start mqlb again";
                return Err(Failure::failed(&"the controller ended unexpectedly", hint));
            }
        }
    }
    tell_systemd(&[NotifyState::Stopping]);
    drop(socket);
    // What was asked for before is done when this is: only its end can make it fail.
    let _ = handle.with(|_| ()).await;
    proxies.stop().await;
    tracing::info!("ended; the data plane goes on forwarding, `mqlb detach` ends that, too");
    Ok(())
}

/// SIGHUP: what `mqlb reload` does, but the outcome goes to the log.
async fn reload(handle: &Handle) {
    let mut states = vec![NotifyState::Reloading];
    states.extend(NotifyState::monotonic_usec_now());
    tell_systemd(&states);
    match handle.with(|controller| controller.reload(false)).await {
        Ok(Ok(reloaded)) => {
            let changes = reloaded.differences.len();
            tracing::info!(changes, notes = reloaded.notes.join("; "), "reloaded");
        }
        Ok(Err(error)) => tracing::error!(%error, hint = error.hint(), "not reloaded"),
        Err(error) => tracing::error!(%error, "not reloaded"),
    }
    tell_systemd(&[NotifyState::Ready]);
}

fn tell_systemd(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd could not be notified");
    }
}

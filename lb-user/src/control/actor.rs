//! The thread that the controller lives on, and the way to it.
//!
//! Edits are system calls that wait (a ring swap waits for every CPU), so that the controller has
//! a thread of its own and blocks nobody.

use std::{
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::controller::Controller;
use crate::health::checker::HealthEvent;

const TICK: Duration = Duration::from_secs(1);

type Work = Box<dyn FnOnce(&mut Controller) + Send>;

enum Message {
    Health(HealthEvent),
    Run(Work),
}

/// The way to a running controller.
#[derive(Clone, Debug)]
pub struct Handle {
    messages: mpsc::Sender<Message>,
}

/// The controller's thread has ended; only a bug in it does that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the controller is not running any more")]
pub struct Stopped;

/// Puts `controller` on its thread, where it lives until the last handle is dropped and the senders
/// of `health` are gone, through which comes what the health checks find out. The future is ready
/// when the thread has ended.
///
/// # Errors
/// If the operating system refuses a thread.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn spawn(
    controller: Controller,
    mut health: tokio::sync::mpsc::Receiver<HealthEvent>,
) -> std::io::Result<(Handle, impl Future<Output = ()> + use<>)> {
    let (messages, inbox) = mpsc::channel();
    // Dropped when the thread ends, even by a panic.
    let (alive, ended) = oneshot::channel::<()>();
    thread::Builder::new().name("controller".into()).spawn(move || {
        let _alive = alive;
        live(controller, &inbox);
    })?;
    let handle = Handle { messages };
    let inbox = handle.messages.clone();
    tokio::spawn(async move {
        while let Some(event) = health.recv().await {
            if inbox.send(Message::Health(event)).is_err() {
                return;
            }
        }
    });
    Ok((handle, async {
        let _ = ended.await;
    }))
}

impl Handle {
    /// Lets the controller do `work`, after all that it was asked for before.
    pub async fn with<T, F>(&self, work: F) -> Result<T, Stopped>
    where
        T: Send + 'static,
        F: FnOnce(&mut Controller) -> T + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let run = Box::new(move |controller: &mut Controller| {
            // Who asked may have gone away.
            let _ = answer.send(work(controller));
        });
        self.messages.send(Message::Run(run)).map_err(|_| Stopped)?;
        answered.await.map_err(|_| Stopped)
    }
}

fn live(mut controller: Controller, inbox: &mpsc::Receiver<Message>) {
    let mut next_tick = Instant::now() + TICK;
    loop {
        let message = inbox.recv_timeout(next_tick.saturating_duration_since(Instant::now()));
        match message {
            Ok(Message::Run(work)) => work(&mut controller),
            Ok(Message::Health(first)) => {
                if let Some(work) = health_news(&mut controller, first, inbox) {
                    work(&mut controller);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if Instant::now() >= next_tick {
            controller.tick();
            next_tick = Instant::now() + TICK;
        }
    }
}

/// Takes all news of the health checks together that have arrived: one ring swap for a hundred
/// backends that come up at once. Returns the other message that ended the series.
fn health_news(
    controller: &mut Controller,
    first: HealthEvent,
    inbox: &mpsc::Receiver<Message>,
) -> Option<Work> {
    let mut events = vec![first];
    let other = loop {
        match inbox.try_recv() {
            Ok(Message::Health(event)) => events.push(event),
            Ok(Message::Run(work)) => break Some(work),
            Err(_) => break None,
        }
    };
    controller.note_health(&events);
    other
}

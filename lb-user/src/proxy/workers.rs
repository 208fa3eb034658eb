//! Threads that connections live on, each with an event loop of its own.
//!
//! A pool of threads that share their work wakes a second one for nearly every message of a fleet that is
//! not busy: a futex, and two changes of threads, for nothing to do. Here nobody but the thread of a
//! connection hears of its bytes. A new one goes to the thread that has the fewest: connections are many,
//! and stay.

use std::{
    future::Future,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use tokio::{
    runtime::{Builder, Handle},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};

use crate::privileges;

/// Tasks that a thread may have been given and not begun. Where there are more, clients wait in the
/// kernel's queue, which is bounded, and not here, where nothing would time out.
const NOT_BEGUN: usize = 256;

/// The threads; dropped, they end, and what runs on them.
#[derive(Debug)]
pub struct Workers {
    handles: Vec<Handle>,
    next: AtomicUsize,
    room: Arc<Semaphore>,
    /// Its end is theirs.
    _stop: watch::Sender<()>,
}

impl Workers {
    /// As many as this process may use CPUs; none of them has more privileges than a running controller
    /// needs.
    pub fn start() -> io::Result<Self> {
        let count = thread::available_parallelism().map_or(1, usize::from);
        let (stop, stopped) = watch::channel(());
        let mut handles = Vec::with_capacity(count);
        for number in 0..count {
            let worker = Builder::new_current_thread().enable_all().build()?;
            handles.push(worker.handle().clone());
            let mut stopped = stopped.clone();
            thread::Builder::new().name(format!("mqtt-{number}")).spawn(move || {
                if let Err(error) = privileges::drop_from_this_thread() {
                    tracing::error!(%error, "a thread of connections keeps its privileges");
                }
                // Nothing is ever sent: this returns when the sender is gone.
                let _ = worker.block_on(stopped.changed());
            })?;
        }
        Ok(Self::of(handles, stop))
    }

    fn of(handles: Vec<Handle>, stop: watch::Sender<()>) -> Self {
        let room = Arc::new(Semaphore::new(NOT_BEGUN * handles.len()));
        Self { handles, next: AtomicUsize::new(0), room, _stop: stop }
    }

    /// No threads: tasks run here, so that a test sees them take their steps in turn with its own.
    #[cfg(test)]
    pub fn here() -> Self {
        Self::of(vec![Handle::current()], watch::channel(()).0)
    }

    /// Waits until one more task may be given; `None` would mean that there are no threads.
    pub async fn room(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.room).acquire_owned().await.ok()
    }

    /// Runs `task` on the thread with the fewest tasks, and so all that it spawns; `room` is for others
    /// again when it has begun.
    pub fn spawn(
        &self,
        room: Option<OwnedSemaphorePermit>,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let (turn, count) = (self.next.fetch_add(1, Relaxed), self.handles.len());
        let all = (0..count).map(|step| &self.handles[turn.wrapping_add(step) % count]);
        // Of equals, the one whose turn it is.
        if let Some(fewest) = all.min_by_key(|one| one.metrics().num_alive_tasks()) {
            fewest.spawn(async move {
                drop(room);
                task.await;
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, thread};

    use tokio::sync::{mpsc, oneshot};

    use super::*;

    #[tokio::test]
    async fn threads_have_as_many_tasks_and_what_a_task_spawns_stays_on_its_thread() {
        let workers = Workers::start().unwrap();
        let (threads, mut seen) = mpsc::unbounded_channel();
        let (go, gate) = watch::channel(false);
        let count = workers.handles.len();
        for _ in 0..10 * count {
            let (threads, mut gate) = (threads.clone(), gate.clone());
            workers.spawn(None, async move {
                gate.wait_for(|go| *go).await.unwrap();
                let here = thread::current().id();
                let there = tokio::spawn(async { thread::current().id() }).await.unwrap();
                threads.send((here, there)).unwrap();
            });
        }
        go.send(true).unwrap();
        let mut tasks: HashMap<_, usize> = HashMap::new();
        for _ in 0..10 * count {
            let (here, there) = seen.recv().await.unwrap();
            assert_eq!(here, there);
            *tasks.entry(here).or_default() += 1;
        }
        assert!(tasks.len() == count && tasks.values().all(|tasks| *tasks == 10), "{tasks:?}");
        assert!(!tasks.contains_key(&thread::current().id()));
    }

    #[tokio::test]
    async fn who_was_not_begun_takes_room_until_it_is() {
        let workers = Workers::here();
        let mut rooms = Vec::new();
        while let Ok(room) = Arc::clone(&workers.room).try_acquire_owned() {
            rooms.push(room);
        }
        assert_eq!(rooms.len(), NOT_BEGUN);
        workers.spawn(rooms.pop(), std::future::pending());
        assert_eq!(workers.room.available_permits(), 0);
        assert!(workers.room().await.is_some(), "begun, it needs none");
    }

    #[tokio::test]
    async fn they_end_with_their_owner_and_so_do_their_tasks() {
        let workers = Workers::start().unwrap();
        let (held, ended) = oneshot::channel::<()>();
        workers.spawn(None, async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        drop(workers);
        assert!(ended.await.is_err());
    }
}

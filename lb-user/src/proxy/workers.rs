//! Threads that connections live on, each with an event loop of its own.
//!
//! A pool of threads that share their work wakes a second one for nearly every message of a fleet that is
//! not busy: a futex, and two changes of threads, for nothing to do. Here nobody but the thread of a
//! connection hears of its bytes. How even the load is, turns decide: connections are many, and stay.

use std::{
    future::Future,
    io,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread::available_parallelism,
};

use tokio::{
    runtime::{Builder, Handle},
    sync::watch,
};

/// The threads; dropped, they end, and what runs on them.
#[derive(Debug)]
pub struct Workers {
    handles: Vec<Handle>,
    next: AtomicUsize,
    /// Its end is theirs.
    _stop: watch::Sender<()>,
}

impl Workers {
    /// As many as this process may use CPUs, started by `runtime` as it starts its own.
    pub fn start(runtime: &Handle) -> io::Result<Self> {
        let count = available_parallelism().map_or(1, usize::from);
        let (stop, stopped) = watch::channel(());
        let mut handles = Vec::with_capacity(count);
        for _ in 0..count {
            let worker = Builder::new_current_thread().enable_all().build()?;
            handles.push(worker.handle().clone());
            let mut stopped = stopped.clone();
            runtime.spawn_blocking(move || {
                // Nothing is ever sent: this returns when the sender is gone.
                let _ = worker.block_on(stopped.changed());
            });
        }
        Ok(Self { handles, next: AtomicUsize::new(0), _stop: stop })
    }

    /// No threads: tasks run here, so that a test sees them take their steps in turn with its own.
    #[cfg(test)]
    pub fn here() -> Self {
        let handles = vec![Handle::current()];
        Self { handles, next: AtomicUsize::new(0), _stop: watch::channel(()).0 }
    }

    /// Runs `task` on the thread whose turn it is, and so all that it spawns.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let turn = self.next.fetch_add(1, Relaxed) % self.handles.len();
        self.handles[turn].spawn(task);
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, thread};

    use tokio::sync::{mpsc, oneshot};

    use super::*;

    #[tokio::test]
    async fn turns_are_even_and_what_a_task_spawns_stays_on_its_thread() {
        let workers = Workers::start(&Handle::current()).unwrap();
        let (threads, mut seen) = mpsc::unbounded_channel();
        let count = workers.handles.len();
        for _ in 0..10 * count {
            let threads = threads.clone();
            workers.spawn(async move {
                let here = thread::current().id();
                let there = tokio::spawn(async { thread::current().id() }).await.unwrap();
                threads.send((here, there)).unwrap();
            });
        }
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
    async fn they_end_with_their_owner_and_so_do_their_tasks() {
        let workers = Workers::start(&Handle::current()).unwrap();
        let (held, ended) = oneshot::channel::<()>();
        workers.spawn(async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        drop(workers);
        assert!(ended.await.is_err());
    }
}

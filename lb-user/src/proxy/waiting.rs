//! Clients that have not sent their CONNECT yet: how many there may be, and how much memory they get.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use tokio::{
    net::TcpStream,
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::end::Refused;

/// Bytes that every connection may hold without asking: a usual CONNECT fits.
const FREE_BYTES: usize = 1024;

/// Those who wait. When there are too many, the oldest gives way: whoever means it has sent its
/// CONNECT long before.
#[derive(Debug, Default)]
pub struct Waiting {
    line: Mutex<Line>,
    /// Bytes of unfinished CONNECTs beyond [`FREE_BYTES`] each.
    held: AtomicUsize,
}

#[derive(Debug, Default)]
struct Line {
    next: u64,
    tickets: BTreeMap<u64, Arc<Notify>>,
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// So many bytes.
    Bytes(usize),
    /// The client has closed, or is gone.
    End,
}

/// A place in the line; dropped, it is left.
#[derive(Debug)]
pub struct Ticket<'a> {
    waiting: &'a Waiting,
    number: u64,
    away: Arc<Notify>,
    held: usize,
}

impl Waiting {
    /// One more waits, of `most`.
    pub fn enter(&self, most: u32) -> Ticket<'_> {
        let mut line = self.lock();
        let number = line.next;
        line.next += 1;
        while line.tickets.len() >= most.max(1) as usize {
            let Some((_, oldest)) = line.tickets.pop_first() else { break };
            oldest.notify_one();
        }
        let away = Arc::new(Notify::new());
        line.tickets.insert(number, Arc::clone(&away));
        Ticket { waiting: self, number, away, held: 0 }
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().tickets.len()
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket<'_> {
    /// Reads what has arrived, or waits for it until `deadline`, or until this one has to give way.
    /// While it waits, it holds no buffer but the one of the caller.
    pub async fn read(
        &self,
        stream: &TcpStream,
        bytes: &mut [u8],
        deadline: Instant,
    ) -> Result<Arrival, Refused> {
        loop {
            tokio::select! {
                readable = timeout_at(deadline, stream.readable()) => match readable {
                    Err(_) => return Err(Refused::ConnectTimeout),
                    Ok(Err(_)) => return Ok(Arrival::End),
                    Ok(Ok(())) => {}
                },
                () = self.away.notified() => return Err(Refused::CrowdedOut),
            }
            match stream.try_read(bytes) {
                Ok(0) => return Ok(Arrival::End),
                Ok(read) => return Ok(Arrival::Bytes(read)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Ok(Arrival::End),
            }
        }
    }

    /// Waits for `future` until `deadline`, or until this one has to give way.
    pub async fn during<F: Future>(
        &self,
        deadline: Instant,
        future: F,
    ) -> Result<F::Output, Refused> {
        tokio::select! {
            done = timeout_at(deadline, future) => done.map_err(|_| Refused::ConnectTimeout),
            () = self.away.notified() => Err(Refused::CrowdedOut),
        }
    }

    /// Whether all together may hold so many bytes if this one holds `bytes`, of `most`.
    pub fn hold(&mut self, bytes: usize, most: u32) -> bool {
        let wanted = bytes.saturating_sub(FREE_BYTES);
        let more = wanted.saturating_sub(self.held);
        let before = self.waiting.held.fetch_add(more, Relaxed);
        self.held += more;
        before + more <= most as usize
    }

    /// The CONNECT is here: others may wait. What it holds is still counted.
    pub fn served(&self) {
        self.waiting.lock().tickets.remove(&self.number);
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.served();
        self.waiting.held.fetch_sub(self.held, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_gives_way() {
        let waiting = Waiting::default();
        let first = waiting.enter(2);
        let second = waiting.enter(2);
        second.served();
        let third = waiting.enter(2);
        let fourth = waiting.enter(2);
        first.away.notified().await;
        assert_eq!(waiting.len(), 2);
        drop((third, first));
        assert_eq!(waiting.len(), 1);
        drop(fourth);
        assert_eq!(waiting.len(), 0);
    }

    #[test]
    fn large_connects_share_a_budget_and_small_ones_need_none() {
        let waiting = Waiting::default();
        let (mut one, mut other) = (waiting.enter(9), waiting.enter(9));
        assert!(one.hold(FREE_BYTES, 0));
        assert!(one.hold(FREE_BYTES + 60, 100));
        assert!(one.hold(FREE_BYTES + 70, 100), "what it has is not counted twice");
        assert!(!other.hold(FREE_BYTES + 31, 100));
        drop(other);
        let mut other = waiting.enter(9);
        assert!(other.hold(FREE_BYTES + 30, 100));
    }
}

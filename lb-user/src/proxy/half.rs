//! One direction of a connection: bytes are passed on, and never more of them held than one read
//! brings.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is read at once, in bytes.
pub const CHUNK_BYTES: usize = 16 * 1024;

/// Reads of one direction in a row before the other one, and other connections, have their turn.
const TURNS: usize = 8;

thread_local! {
    /// Borrowed while bytes pass: a connection that is idle holds no buffer.
    static CHUNK: RefCell<Box<[u8; CHUNK_BYTES]>> = RefCell::new(Box::new([0; CHUNK_BYTES]));
}

/// A direction.
#[derive(Debug)]
pub struct Half {
    /// What has been read and could not be written yet.
    pending: Vec<u8>,
    /// How much of it has been written.
    written: usize,
    state: State,
    unflushed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// The source has ended; the target does not know yet.
    Ending,
    Ended,
}

/// Which side broke.
#[derive(Debug)]
pub enum Broken {
    /// The one that was read from.
    Source(io::Error),
    /// The one that was written to.
    Target(io::Error),
}

impl Half {
    /// One with bytes that are to go first.
    #[must_use]
    pub const fn new(first: Vec<u8>) -> Self {
        Self { pending: first, written: 0, state: State::Open, unflushed: false }
    }

    /// Whether the source has ended and the target knows.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Whether the source has ended.
    #[must_use]
    pub fn has_source_ended(&self) -> bool {
        self.state != State::Open
    }

    /// Whether everything that was read has been written.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.pending.is_empty() && !self.unflushed
    }

    /// Passes on what there is; `passed` sees what the target has taken. Ready when the source has
    /// ended and the target knows.
    pub fn poll<S, T>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        target: &mut T,
        mut passed: impl FnMut(&[u8]),
    ) -> Poll<Result<(), Broken>>
    where
        S: AsyncRead + Unpin,
        T: AsyncWrite + Unpin,
    {
        for _ in 0..TURNS {
            ready!(self.poll_drain(cx, target, &mut passed)).map_err(Broken::Target)?;
            match self.state {
                State::Ended => return Poll::Ready(Ok(())),
                State::Ending => {
                    ready!(Pin::new(&mut *target).poll_shutdown(cx)).map_err(Broken::Target)?;
                    self.state = State::Ended;
                    return Poll::Ready(Ok(()));
                }
                State::Open => ready!(self.poll_chunk(cx, source, target, &mut passed))?,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes what is pending, and gives its memory back.
    fn poll_drain<T: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        target: &mut T,
        passed: &mut impl FnMut(&[u8]),
    ) -> Poll<io::Result<()>> {
        while self.written < self.pending.len() {
            let rest = &self.pending[self.written..];
            let taken = ready!(Pin::new(&mut *target).poll_write(cx, rest))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            passed(&rest[..taken]);
            self.written += taken;
            self.unflushed = true;
        }
        if self.written > 0 {
            (self.pending, self.written) = (Vec::new(), 0);
        }
        if self.unflushed {
            ready!(Pin::new(target).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once, and writes as much of it as the target takes at once.
    fn poll_chunk<S, T>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        target: &mut T,
        passed: &mut impl FnMut(&[u8]),
    ) -> Poll<Result<(), Broken>>
    where
        S: AsyncRead + Unpin,
        T: AsyncWrite + Unpin,
    {
        CHUNK.with_borrow_mut(|chunk| {
            let mut buffer = ReadBuf::new(&mut chunk[..]);
            ready!(Pin::new(source).poll_read(cx, &mut buffer)).map_err(Broken::Source)?;
            let mut rest = buffer.filled();
            if rest.is_empty() {
                self.state = State::Ending;
                return Poll::Ready(Ok(()));
            }
            while !rest.is_empty() {
                match Pin::new(&mut *target).poll_write(cx, rest) {
                    Poll::Ready(Ok(0)) => {
                        return Poll::Ready(Err(Broken::Target(io::ErrorKind::WriteZero.into())));
                    }
                    Poll::Ready(Ok(taken)) => {
                        passed(&rest[..taken]);
                        rest = &rest[taken..];
                        self.unflushed = true;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::Target(error))),
                    Poll::Pending => break,
                }
            }
            // Until this is written, nothing more is read: the source feels how slow the target is.
            self.pending = rest.to_vec();
            Poll::Ready(Ok(()))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn what_is_written_arrives_and_the_end_of_it_too() {
        let (mut client, mut source) = duplex(100_000);
        let (mut target, mut broker) = duplex(1000);
        let sent: Vec<u8> = (0..90_000u32).map(|i| (i % 251) as u8).collect();
        client.write_all(&sent).await.unwrap();
        client.shutdown().await.unwrap();
        let passing = tokio::spawn(async move {
            let (mut half, mut seen) = (Half::new(b"first".to_vec()), 0);
            let all = poll_fn(|cx| half.poll(cx, &mut source, &mut target, |b| seen += b.len()));
            all.await.unwrap();
            assert!(half.is_ended() && half.is_drained());
            seen
        });
        let mut received = Vec::new();
        broker.read_to_end(&mut received).await.unwrap();
        assert_eq!(&received[..5], b"first");
        assert!(received[5..] == sent[..]);
        assert_eq!(passing.await.unwrap(), received.len());
    }

    #[tokio::test]
    async fn a_slow_target_holds_the_source_back() {
        let (mut client, mut source) = duplex(1 << 20);
        let (mut target, _broker) = duplex(100);
        client.write_all(&vec![7; 1 << 20]).await.unwrap();
        let mut half = Half::new(Vec::new());
        poll_fn(|cx| {
            for _ in 0..100 {
                assert!(half.poll(cx, &mut source, &mut target, |_| ()).is_pending());
            }
            Poll::Ready(())
        })
        .await;
        assert!(half.pending.len() <= CHUNK_BYTES, "{}", half.pending.len());
        let mut left = Vec::new();
        drop(client);
        source.read_to_end(&mut left).await.unwrap();
        assert_eq!(left.len(), (1 << 20) - CHUNK_BYTES, "one read, and no second one");
    }
}

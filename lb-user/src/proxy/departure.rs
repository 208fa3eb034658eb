//! Notices that a client goes away while it waits: for its turn, or for what a broker answers.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead as _, Interest, ReadBuf};

use super::stream::Stream;

/// So much of what a client sends meanwhile is taken, in bytes; the rest waits in the kernel.
const MOST_AHEAD_BYTES: usize = 1024;

/// Ready when the client has gone. What it sends meanwhile is put behind `ahead`.
///
/// A reset is the end at once. A client that has closed in good order is gone if it has sent nothing
/// ahead: otherwise it did not care to wait for CONNACK, as it may (MQTT 5.0, section 3.1.4), and what
/// it has sent is still to be delivered.
pub async fn gone(stream: &mut Stream, ahead: &mut Vec<u8>) {
    if poll_fn(|cx| poll_read_ahead(stream, ahead, cx)).await {
        return;
    }
    // Nothing more is read: only a reset is noticed. An error says that nobody watches the socket.
    let _ = stream.tcp().ready(Interest::ERROR).await;
}

/// Reads until there is nothing more to be read; whether the client has gone.
fn poll_read_ahead(stream: &mut Stream, ahead: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<bool> {
    while ahead.len() < MOST_AHEAD_BYTES {
        let mut bytes = [0; MOST_AHEAD_BYTES];
        let mut buffer = ReadBuf::new(&mut bytes[ahead.len()..]);
        if ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer)).is_err() {
            return Poll::Ready(true);
        }
        if buffer.filled().is_empty() {
            return Poll::Ready(ahead.is_empty());
        }
        ahead.extend_from_slice(buffer.filled());
    }
    Poll::Ready(false)
}

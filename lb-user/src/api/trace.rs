//! Packets as they are told of: one line of JSON each, for as long as somebody listens.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    Json,
    body::{Body, Bytes, HttpBody},
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use hyper::body::Frame;
use tokio::{
    sync::{mpsc, oneshot},
    task,
};

use super::{
    reply::{Refusal, Reply, body},
    types::{TraceEnding, TraceLine, TraceOrder},
};
use crate::control::{
    actor::{Handle, Stopped},
    trace::Trace,
};

/// Lines that may wait for whoever listens; what comes beyond that waits in the kernel's ring.
const WAITING: usize = 64;

/// Begins a trace, and answers with its lines until it has ended.
pub(super) async fn trace(
    State(controller): State<Handle>,
    bytes: Bytes,
) -> Result<Response, Refusal> {
    let order: TraceOrder = if bytes.is_empty() { TraceOrder::default() } else { body(&bytes)? };
    let (lines, told) = mpsc::channel(WAITING);
    let (begun, answer) = oneshot::channel();
    // A task of its own: this one ends wherever it waits when whoever asked goes away, and what was
    // begun has to be ended.
    task::spawn(async move {
        let trace = controller.with(move |c| c.begin_trace(&order)).await;
        let trace = match trace.map_err(Refusal::from).and_then(|trace| Ok(trace?)) {
            Ok(trace) => trace,
            Err(refusal) => return drop(begun.send(Err(refusal))),
        };
        let _ = begun.send(Ok(()));
        follow(&controller, trace, lines).await;
    });
    answer.await.map_err(|_| Refusal::from(Stopped))??;
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::new(Lines(told))).into_response())
}

/// Ends the trace that runs, whoever began it.
pub(super) async fn end(State(controller): State<Handle>) -> Reply<TraceEnding> {
    Ok(Json(TraceEnding { ends: controller.with(|c| c.tell_trace_to_end()).await? }))
}

/// Passes on what is told, and ends the trace.
async fn follow(controller: &Handle, mut trace: Trace, lines: mpsc::Sender<TraceLine>) {
    let session = trace.session;
    let to = lines.clone();
    let followed = task::spawn_blocking(move || {
        trace.follow(
            |packet| to.blocking_send(TraceLine::Packet(Box::new(packet))).is_ok(),
            || to.is_closed(),
        )
    });
    let last = match followed.await {
        Ok(Ok(end)) => TraceLine::End(end),
        Ok(Err(error)) => TraceLine::Error(error.to_string()),
        Err(error) => TraceLine::Error(error.to_string()),
    };
    // Before the last line: whoever has read it may begin another trace.
    let _ = controller.with(move |c| c.end_trace(session)).await;
    let _ = lines.send(last).await;
}

/// The body of the answer.
struct Lines(mpsc::Receiver<TraceLine>);

impl HttpBody for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|line| {
            let mut text = serde_json::to_vec(&line?).ok()?;
            text.push(b'\n');
            Some(Ok(Frame::data(text.into())))
        })
    }
}

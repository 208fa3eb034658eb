//! Whether an HTTP endpoint answers with an expected status, and what.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use http_body_util::{BodyExt, Collected, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, CONNECTION, HOST, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

use super::{Deadline, FAREWELL, Phase, ProbeError, Stream, open};
use crate::config::model::SendProxyProtocol;
use crate::health::target::HttpCheck;

const AGENT: &str = concat!("mqlb/", env!("CARGO_PKG_VERSION"), " (health check)");

/// Asks once, on a connection of its own.
pub(super) async fn probe(
    address: SocketAddr,
    check: &HttpCheck,
    deadline: Deadline,
) -> Result<Duration, ProbeError> {
    let stream = open(address, SendProxyProtocol::Off, check.tls.as_ref(), deadline).await?;
    let exchange = exchange(stream, check, async |response: Response<Incoming>| {
        let (code, latency) = (response.status().as_u16(), deadline.elapsed());
        drain(response).await;
        Ok((code, latency))
    });
    let (code, latency) = deadline.limit(Phase::HttpResponse, exchange).await?;
    if check.expects(code) { Ok(latency) } else { Err(ProbeError::HttpStatus(code)) }
}

/// Asks once, on a connection of its own, and returns the answer, of at most `limit` bytes.
pub(super) async fn fetch(
    address: SocketAddr,
    request: &HttpCheck,
    limit: usize,
    deadline: Deadline,
) -> Result<Bytes, ProbeError> {
    let stream = open(address, SendProxyProtocol::Off, request.tls.as_ref(), deadline).await?;
    let exchange = exchange(stream, request, async |response: Response<Incoming>| {
        let code = response.status().as_u16();
        if !request.expects(code) {
            drain(response).await;
            return Err(ProbeError::HttpStatus(code));
        }
        let body = Limited::new(response.into_body(), limit).collect().await;
        body.map(Collected::to_bytes).map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(error) => sorted(*error),
            Err(_) => ProbeError::BodyTooLong { limit },
        })
    });
    deadline.limit(Phase::HttpResponse, exchange).await
}

async fn exchange<T>(
    stream: Box<dyn Stream>,
    check: &HttpCheck,
    read: impl AsyncFnOnce(Response<Incoming>) -> Result<T, ProbeError>,
) -> Result<T, ProbeError> {
    let (mut sender, connection) =
        http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await.map_err(sorted)?;
    let request = request(check);
    let conversation = async { read(sender.send_request(request).await.map_err(sorted)?).await };
    // The connection does the I/O of the conversation; once it has ended, the conversation has
    // what it will ever get.
    let (mut conversation, connection) = (pin!(conversation), pin!(connection));
    tokio::select! {
        result = &mut conversation => result,
        _ = connection => conversation.await,
    }
}

fn request(check: &HttpCheck) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = check.path.clone();
    let headers = request.headers_mut();
    headers.insert(HOST, check.host.clone());
    headers.insert(USER_AGENT, hyper::header::HeaderValue::from_static(AGENT));
    let optional = [(ACCEPT, &check.accept), (AUTHORIZATION, &check.authorization)];
    for (name, value) in optional {
        if let Some(value) = value {
            headers.insert(name, value.clone());
        }
    }
    headers.insert(CONNECTION, hyper::header::HeaderValue::from_static("close"));
    request
}

/// Reads the body away, so that closing is no reset; a long one is not waited for.
async fn drain(response: Response<Incoming>) {
    let mut body = response.into_body();
    let rest = async { while let Some(Ok(_)) = body.frame().await {} };
    let _ = tokio::time::timeout(FAREWELL, rest).await;
}

/// Tells an interrupted connection from an answer that is no HTTP.
fn sorted(error: hyper::Error) -> ProbeError {
    let phase = Phase::HttpResponse;
    if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        return ProbeError::Closed { phase };
    }
    let source = std::error::Error::source(&error);
    let cause = source.and_then(|source| source.downcast_ref::<std::io::Error>());
    match cause.map(std::io::Error::kind) {
        Some(ErrorKind::ConnectionReset) => ProbeError::Reset { phase },
        Some(ErrorKind::UnexpectedEof) => ProbeError::Closed { phase },
        _ => ProbeError::Http(error),
    }
}

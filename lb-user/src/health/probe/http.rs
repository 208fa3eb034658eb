//! Whether an HTTP endpoint answers with an expected status.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
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
    let exchange = exchange(stream, check, deadline);
    let status = deadline.limit(Phase::HttpResponse, exchange).await?;
    if check.expects(status.code) {
        Ok(status.latency)
    } else {
        Err(ProbeError::HttpStatus(status.code))
    }
}

struct Status {
    code: u16,
    latency: Duration,
}

async fn exchange(
    stream: Box<dyn Stream>,
    check: &HttpCheck,
    deadline: Deadline,
) -> Result<Status, ProbeError> {
    let (mut sender, connection) =
        http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await.map_err(sorted)?;
    let request = request(check);
    let conversation = async {
        let response = sender.send_request(request).await.map_err(sorted)?;
        let status = Status { code: response.status().as_u16(), latency: deadline.elapsed() };
        drain(response).await;
        Ok(status)
    };
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
    match source.and_then(|source| source.downcast_ref::<std::io::Error>()) {
        Some(cause) if cause.kind() == std::io::ErrorKind::ConnectionReset => {
            ProbeError::Reset { phase }
        }
        _ => ProbeError::Http(error),
    }
}

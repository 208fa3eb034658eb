//! Speaks to a running controller.

use std::{
    io,
    path::{Path, PathBuf},
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header,
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{net::UnixStream, task::JoinHandle};

use super::types::{
    BackendFilter, BackendReport, Changed, ErrorBody, ExplainQuery, Explanation, FlowFilter, Flows,
    Forgotten, NewBackend, NewWeight, RebalanceOrder, RebalanceReport, ReloadQuery, Reloaded,
    RingChange, RingDiffReport, ServiceReport, SessionFilter, SessionsReport, Status, TraceEnding,
    TraceLine, TraceOrder,
};

/// The way to the controller that listens at a Unix socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

/// Why there is no answer, or not the wanted one.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no mqlb is running: nobody listens at {0}")]
    NotRunning(PathBuf),
    /// The permissions of the socket do not let us in.
    #[error("no permission to speak to mqlb at {0}")]
    Permission(PathBuf),
    /// The controller refused.
    #[error("{}", .body.error)]
    Refused {
        /// What it says.
        body: ErrorBody,
        /// Whether the request, or the file it is about, is to blame, and not what there is.
        bad_request: bool,
    },
    /// The connection failed.
    #[error("speaking to mqlb at {socket}: {reason}")]
    Broken {
        /// The socket.
        socket: PathBuf,
        /// What happened.
        reason: String,
    },
}

impl ClientError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::NotRunning(_) => "start it with `mqlb run -c FILE`, or name its socket with \
                                    --socket or MQLB_SOCKET"
                .to_owned(),
            Self::Permission(_) => {
                "use sudo, or let your group in with api.mode in the configuration file".to_owned()
            }
            Self::Refused { body, .. } => body.hint.clone(),
            Self::Broken { .. } => "see the log of the running mqlb".to_owned(),
        }
    }
}

impl Client {
    /// The controller that listens at `socket`.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// The whole picture.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.get("/v1/status", &()).await
    }

    /// The services.
    pub async fn services(&self) -> Result<Vec<ServiceReport>, ClientError> {
        self.get("/v1/services", &()).await
    }

    /// The backends.
    pub async fn backends(
        &self,
        filter: &BackendFilter,
    ) -> Result<Vec<BackendReport>, ClientError> {
        self.get("/v1/backends", filter).await
    }

    /// One backend.
    pub async fn backend(&self, service: &str, name: &str) -> Result<BackendReport, ClientError> {
        self.get(&backend_path(service, name, ""), &()).await
    }

    /// Adds a backend.
    pub async fn add(&self, service: &str, new: &NewBackend) -> Result<Changed, ClientError> {
        let path = format!("/v1/services/{}/backends", escape(service));
        self.call(Method::POST, &path, Some(new)).await
    }

    /// Removes a backend.
    pub async fn remove(&self, service: &str, name: &str) -> Result<Changed, ClientError> {
        self.call(Method::DELETE, &backend_path(service, name, ""), None::<&()>).await
    }

    /// Drains a backend, or ends that.
    pub async fn drain(
        &self,
        service: &str,
        name: &str,
        drained: bool,
    ) -> Result<Changed, ClientError> {
        let verb = if drained { "/drain" } else { "/undrain" };
        self.call(Method::POST, &backend_path(service, name, verb), None::<&()>).await
    }

    /// Rebalances a service, or only says what that would move.
    pub async fn rebalance(
        &self,
        service: &str,
        order: &RebalanceOrder,
    ) -> Result<RebalanceReport, ClientError> {
        self.call(Method::POST, &rebalance_path(service), Some(order)).await
    }

    /// How the rebalancing of a service stands, which is ended if `stops`.
    pub async fn rebalancing(
        &self,
        service: &str,
        stops: bool,
    ) -> Result<RebalanceReport, ClientError> {
        let method = if stops { Method::DELETE } else { Method::GET };
        self.call(method, &rebalance_path(service), None::<&()>).await
    }

    /// The sticky sessions of a service.
    pub async fn sessions(
        &self,
        service: &str,
        filter: &SessionFilter,
    ) -> Result<SessionsReport, ClientError> {
        self.get(&format!("/v1/services/{}/sessions", escape(service)), filter).await
    }

    /// Forgets sticky sessions of a service.
    pub async fn forget_sessions(
        &self,
        service: &str,
        filter: &SessionFilter,
    ) -> Result<Forgotten, ClientError> {
        let path = format!("/v1/services/{}/sessions", escape(service));
        let path = self.with_query(&path, filter)?;
        self.call(Method::DELETE, &path, None::<&()>).await
    }

    /// Gives a backend another weight.
    pub async fn weigh(
        &self,
        service: &str,
        name: &str,
        weight: &NewWeight,
    ) -> Result<Changed, ClientError> {
        self.call(Method::PUT, &backend_path(service, name, "/weight"), Some(weight)).await
    }

    /// The connections.
    pub async fn flows(&self, filter: &FlowFilter) -> Result<Flows, ClientError> {
        self.get("/v1/flows", filter).await
    }

    /// Where a client's packets go, and why.
    pub async fn explain(&self, query: &ExplainQuery) -> Result<Explanation, ClientError> {
        self.get("/v1/explain", query).await
    }

    /// Makes the configuration file the truth again.
    pub async fn reload(&self, query: &ReloadQuery) -> Result<Reloaded, ClientError> {
        let path = self.with_query("/v1/reload", query)?;
        self.call(Method::POST, &path, None::<&()>).await
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &impl Serialize,
    ) -> Result<T, ClientError> {
        let path = self.with_query(path, query)?;
        self.call(Method::GET, &path, None::<&()>).await
    }

    fn with_query(&self, path: &str, query: &impl Serialize) -> Result<String, ClientError> {
        let query = serde_urlencoded::to_string(query).map_err(|error| self.broken(&error))?;
        Ok(if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") })
    }

    /// What a change would move.
    pub async fn ring_diff(&self, change: &RingChange) -> Result<RingDiffReport, ClientError> {
        self.call(Method::POST, "/v1/ring/diff", Some(change)).await
    }

    /// Follows packets; the lines come while they pass.
    pub async fn trace(&self, order: &TraceOrder) -> Result<TraceLines, ClientError> {
        let (status, mut answer) = self.send(Method::POST, "/v1/trace", Some(order)).await?;
        if !status.is_success() {
            return Err(self.refusal(status, &answer.whole().await?));
        }
        Ok(TraceLines { answer, rest: Vec::new() })
    }

    /// Ends the trace that runs; its last line follows.
    pub async fn end_trace(&self) -> Result<TraceEnding, ClientError> {
        self.call(Method::DELETE, "/v1/trace", None::<&()>).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, ClientError> {
        let (status, mut answer) = self.send(method, path, body).await?;
        let bytes = answer.whole().await?;
        if !status.is_success() {
            return Err(self.refusal(status, &bytes));
        }
        serde_json::from_slice(&bytes).map_err(|error| self.senseless(&error))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<(StatusCode, Answer), ClientError> {
        let broken = |error: &dyn std::fmt::Display| self.broken(error);
        let body = body.map_or_else(|| Ok(Vec::new()), serde_json::to_vec);
        let body = Full::new(Bytes::from(body.map_err(|error| broken(&error))?));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "mqlb")
            .body(body)
            .map_err(|error| broken(&error))?;
        let stream = TokioIo::new(self.connect().await?);
        let (mut sender, connection) =
            http1::handshake(stream).await.map_err(|error| broken(&error))?;
        let driver = tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
        let status = response.status();
        let client = self.clone();
        Ok((status, Answer { client, body: response.into_body(), driver, _sender: sender }))
    }

    fn refusal(&self, status: StatusCode, body: &[u8]) -> ClientError {
        let bad = [StatusCode::BAD_REQUEST, StatusCode::UNPROCESSABLE_ENTITY].contains(&status);
        match serde_json::from_slice(body) {
            Ok(body) => ClientError::Refused { body, bad_request: bad },
            Err(error) => self.senseless(&error),
        }
    }

    fn senseless(&self, error: &serde_json::Error) -> ClientError {
        self.broken(&format!("an answer that makes no sense: {error}"))
    }

    async fn connect(&self) -> Result<UnixStream, ClientError> {
        UnixStream::connect(&self.socket).await.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ClientError::NotRunning(self.socket.clone())
            }
            io::ErrorKind::PermissionDenied => ClientError::Permission(self.socket.clone()),
            _ => self.broken(&error),
        })
    }

    fn broken(&self, reason: &dyn std::fmt::Display) -> ClientError {
        ClientError::Broken { socket: self.socket.clone(), reason: reason.to_string() }
    }
}

/// An answer that is still coming in.
struct Answer {
    client: Client,
    body: Incoming,
    driver: JoinHandle<Result<(), hyper::Error>>,
    /// The connection ends with it.
    _sender: http1::SendRequest<Full<Bytes>>,
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Answer {
    /// The next part; `None` behind the last one.
    async fn part(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| self.client.broken(&error))?;
            if let Ok(part) = frame.into_data() {
                return Ok(Some(part));
            }
        }
        Ok(None)
    }

    async fn whole(&mut self) -> Result<Vec<u8>, ClientError> {
        let mut whole = Vec::new();
        while let Some(part) = self.part().await? {
            whole.extend_from_slice(&part);
        }
        Ok(whole)
    }
}

/// What a trace tells, while it tells it. Dropping it ends the trace.
pub struct TraceLines {
    answer: Answer,
    /// The beginning of the next line.
    rest: Vec<u8>,
}

impl std::fmt::Debug for TraceLines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TraceLines")
    }
}

impl TraceLines {
    /// The next line; `None` behind the last one. What was read is kept if this is cancelled.
    pub async fn next(&mut self) -> Result<Option<TraceLine>, ClientError> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                let parsed = serde_json::from_slice(&line);
                return parsed.map(Some).map_err(|error| self.answer.client.senseless(&error));
            }
            match self.answer.part().await? {
                Some(part) => self.rest.extend_from_slice(&part),
                None => return Ok(None),
            }
        }
    }
}

fn backend_path(service: &str, backend: &str, verb: &str) -> String {
    format!("/v1/services/{}/backends/{}{verb}", escape(service), escape(backend))
}

fn rebalance_path(service: &str) -> String {
    format!("/v1/services/{}/rebalance", escape(service))
}

/// Names that exist need no escaping; what was mistyped must still reach the controller, which
/// knows how to say so.
fn escape(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let escaped = |byte| if plain(byte) { char::from(byte).into() } else { format!("%{byte:02X}") };
    name.bytes().map(escaped).collect()
}

//! Speaks to a running controller.

use std::{
    io,
    path::{Path, PathBuf},
};

use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;

use super::types::{
    BackendFilter, BackendReport, Changed, ErrorBody, ExplainQuery, Explanation, FlowFilter, Flows,
    NewBackend, NewWeight, ReloadQuery, Reloaded, ServiceReport, Status,
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

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, ClientError> {
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
        // Ends with the answer, because the sender is dropped then.
        let driver = tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
        let status = response.status();
        let bytes = response.into_body().collect().await.map_err(|error| broken(&error))?;
        let bytes = bytes.to_bytes();
        drop(sender);
        driver.abort();
        self.read(status, &bytes)
    }

    fn read<T: DeserializeOwned>(&self, status: StatusCode, body: &[u8]) -> Result<T, ClientError> {
        let broken = |error| self.broken(&format!("an answer that makes no sense: {error}"));
        if status.is_success() {
            return serde_json::from_slice(body).map_err(broken);
        }
        let bad = [StatusCode::BAD_REQUEST, StatusCode::UNPROCESSABLE_ENTITY].contains(&status);
        let body = serde_json::from_slice(body).map_err(broken)?;
        Err(ClientError::Refused { body, bad_request: bad })
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

fn backend_path(service: &str, backend: &str, verb: &str) -> String {
    format!("/v1/services/{}/backends/{}{verb}", escape(service), escape(backend))
}

/// Names that exist need no escaping; what was mistyped must still reach the controller, which
/// knows how to say so.
fn escape(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let escaped = |byte| if plain(byte) { char::from(byte).into() } else { format!("%{byte:02X}") };
    name.bytes().map(escaped).collect()
}

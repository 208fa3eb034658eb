//! Requests and answers as HTTP has them.

use axum::{
    Json,
    body::Bytes,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::de::DeserializeOwned;

use super::types::ErrorBody;
use crate::control::{
    actor::Stopped,
    error::{Blame, ChangeError},
};

/// An answer, or the reason why there is none.
pub(super) type Reply<T> = Result<Json<T>, Refusal>;

/// Why a request was refused, with its status.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    body: ErrorBody,
}

impl Refusal {
    pub(super) fn new(
        status: StatusCode,
        error: &dyn std::fmt::Display,
        hint: impl Into<String>,
    ) -> Self {
        Self { status, body: ErrorBody { error: error.to_string(), hint: hint.into() } }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}

impl From<ChangeError> for Refusal {
    fn from(error: ChangeError) -> Self {
        let status = match error.blame() {
            Blame::NotFound => StatusCode::NOT_FOUND,
            Blame::Conflict => StatusCode::CONFLICT,
            Blame::Request => StatusCode::UNPROCESSABLE_ENTITY,
            Blame::Balancer => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, &error, error.hint())
    }
}

impl From<crate::control::datapath::DatapathError> for Refusal {
    fn from(error: crate::control::datapath::DatapathError) -> Self {
        ChangeError::from(error).into()
    }
}

impl From<Stopped> for Refusal {
    fn from(error: Stopped) -> Self {
        let hint = "this is a bug: look for a panic in the log, and restart mqlb";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, &error, hint)
    }
}

/// The body of a request, whatever type it claims to have: curl says it was a form.
pub(super) fn body<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, Refusal> {
    serde_json::from_slice(bytes).map_err(|error| {
        let error = format!("the body of the request is not what it must be: {error}");
        Refusal::new(StatusCode::BAD_REQUEST, &error, "send a JSON object with the named fields")
    })
}

/// The query of a request.
pub(super) fn query<T: DeserializeOwned>(query: Option<&str>) -> Result<T, Refusal> {
    serde_urlencoded::from_str(query.unwrap_or_default()).map_err(|error| {
        let error = format!("the query of the request is not what it must be: {error}");
        let hint =
            "an address is written 192.0.2.1, with a port 192.0.2.1:1883 or [2001:db8::1]:1883";
        Refusal::new(StatusCode::BAD_REQUEST, &error, hint)
    })
}

//! What a broker says of its load: one reading.

use thiserror::Error;

use super::{Deadline, ProbeError, http, mqtt};
use crate::{
    config::model::LoadValue,
    load::{
        number::{self, ValueError},
        source::{Question, Target},
    },
};

/// The longest answer by HTTP that is read, in bytes. All metrics of a broker have a few hundred kilobytes.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// The same of a document in JSON, which takes up to a hundred times as much memory when it is read.
const MAX_JSON_BYTES: usize = 1 << 18;

/// Why there is no load.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The broker did not answer.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// Its answer has no load in it.
    #[error(transparent)]
    Value(#[from] ValueError),
}

/// Asks the broker once.
pub async fn read(target: &Target) -> Result<f64, LoadError> {
    let deadline = Deadline::after(target.timeout);
    match &target.question {
        Question::Http { request, value } => {
            let limit = match value {
                LoadValue::JsonPointer(_) => MAX_JSON_BYTES,
                LoadValue::Metric(_) => MAX_ANSWER_BYTES,
            };
            let answer = http::fetch(target.address, request, limit, deadline).await?;
            Ok(match value {
                LoadValue::JsonPointer(pointer) => pointer.load(&answer)?,
                LoadValue::Metric(selector) => selector.load(&answer)?,
            })
        }
        Question::Topic { client, proxy_header, subscribe, topic } => {
            let asked = (subscribe.as_slice(), topic.as_str());
            let message =
                mqtt::fetch(target.address, *proxy_header, client, asked, deadline).await?;
            Ok(number::from_text(&message)?)
        }
    }
}

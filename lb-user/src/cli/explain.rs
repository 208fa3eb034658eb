//! `mqlb explain`

use std::{fmt::Write, net::SocketAddr};

use super::{Outcome, output::Output};
use crate::api::{
    client::Client,
    types::{ExplainQuery, Explanation},
};

/// Says where a client's packets go, and why.
pub(super) async fn explain(
    api: &Client,
    output: Output,
    client: SocketAddr,
    vip: SocketAddr,
) -> Outcome {
    let answer = api.explain(&ExplainQuery { client, vip }).await?;
    if output.json { output.data(&answer) } else { output.text(&render(&answer)) }
}

fn render(answer: &Explanation) -> String {
    let Explanation { client, vip, .. } = answer;
    let fate = match (&answer.backend, answer.broker) {
        (Some(backend), Some(broker)) => format!("goes to {backend} at {broker}"),
        _ => "goes to no backend".to_owned(),
    };
    let mut text = format!("{client} -> {vip} {fate}\n");
    for reason in &answer.why {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {reason}");
    }
    text
}

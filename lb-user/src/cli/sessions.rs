//! `mqlb service sessions`

use super::{
    Outcome,
    output::Output,
    table::{Cell, Table},
};
use crate::api::{
    client::Client,
    types::{SessionFilter, SessionReport},
};

#[derive(Debug, clap::Args)]
pub(super) struct SessionsArgs {
    /// The service
    pub service: String,
    /// Only the session of this Client Identifier
    #[arg(long, value_name = "ID")]
    pub client_id: Option<String>,
    /// Only sessions of this backend
    #[arg(long, value_name = "NAME")]
    pub backend: Option<String>,
    /// List at most so many, the last used first
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub limit: usize,
    /// Forget them instead: the policy leads their clients the next time
    #[arg(long, conflicts_with = "limit")]
    pub clear: bool,
}

/// Lists sessions, or forgets them.
pub(super) async fn sessions(client: &Client, output: Output, args: SessionsArgs) -> Outcome {
    let SessionsArgs { service, client_id, backend, limit, clear } = args;
    if clear {
        let filter = SessionFilter { client_id, backend, limit: None };
        let done = client.forget_sessions(&service, &filter).await?;
        if output.json {
            return output.data(&done);
        }
        return output.text(&format!("sessions forgotten: {}\n", done.forgotten));
    }
    let filter = SessionFilter { client_id, backend, limit: Some(limit) };
    let report = client.sessions(&service, &filter).await?;
    if output.json {
        return output.data(&report);
    }
    output.table(&table(&report.sessions))?;
    output.message(&format!("{} shown, {} remembered", report.sessions.len(), report.remembered));
    Ok(())
}

fn table(sessions: &[SessionReport]) -> Table {
    let mut table = Table::new(&["CLIENT ID", "BACKEND", "UNTIL"]);
    for session in sessions {
        let until = match (session.open, session.ends_at_s) {
            (true, _) => "connected".to_owned(),
            (false, None) => "for ever".to_owned(),
            (false, Some(time)) => {
                let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(time.into());
                humantime::format_rfc3339_seconds(time).to_string()
            }
        };
        table.row(vec![
            // Whatever a client calls itself, it shall not write to somebody's terminal.
            Cell::text(session.client_id.escape_debug()),
            Cell::text(&session.backend),
            Cell::text(until),
        ]);
    }
    table
}

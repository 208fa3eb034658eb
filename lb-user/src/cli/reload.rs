//! `mqlb reload`

use super::{Outcome, output::Output};
use crate::api::{client::Client, types::ReloadQuery};

/// Makes the configuration file the truth again, or says what that would change.
pub(super) async fn reload(client: &Client, output: Output, dry_run: bool) -> Outcome {
    let reloaded = client.reload(&ReloadQuery { dry_run }).await?;
    if output.json {
        return output.data(&reloaded);
    }
    for note in &reloaded.notes {
        output.message(&format!("note: {note}"));
    }
    if reloaded.differences.is_empty() {
        output.message("nothing differs from the file");
        return Ok(());
    }
    let lines: Vec<String> = reloaded.differences.iter().map(ToString::to_string).collect();
    output.text(&format!("{}\n", lines.join("\n")))
}

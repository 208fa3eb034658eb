//! `mqlb detach`

use std::path::Path;

use super::{Outcome, args::DetachArgs, ask, failure::Failure, output::Output};
use crate::{api::client::Client, config, datapath::Xdp, vips};

/// Takes the data plane away.
pub(super) fn detach(args: &DetachArgs, socket: &Path, output: Output) -> Outcome {
    let (pin_dir, socket) = match &args.config {
        Some(file) => {
            let config = config::load(file)?;
            (config.pin_dir, config.api.socket)
        }
        None => (args.pin_dir.clone(), socket.to_owned()),
    };
    let running =
        ask(async { Client::new(&socket).status().await.map(|_| ()).map_err(Into::into) });
    if running.is_ok() {
        let error = format!("mqlb is running: it answers at {}", socket.display());
        return Err(Failure::failed(&error, "end it first: `systemctl stop mqlb`, or SIGTERM"));
    }
    // First, so that what clients still send does not reach this host's own stack.
    let released = vips::release().map_err(|error| Failure::failed(&error, "run as root"))?;
    let there = pin_dir.exists();
    Xdp::detach_all(&pin_dir).map_err(|error| Failure::failed(&error, "run as root"))?;
    let done = if there { "detached: nothing is left in" } else { "nothing to detach in" };
    if output.json {
        output.data(&serde_json::json!({
            "detached": there, "pin_dir": pin_dir, "released_vips": released,
        }))
    } else {
        for vip in &released {
            output.text(&format!("released VIP {vip}\n"))?;
        }
        output.text(&format!("{done} {}\n", pin_dir.display()))
    }
}

//! Keeps the VIPs on this host while `mqlb run` runs, if the configuration asks for it.
//!
//! They stay when it ends, as the data plane does; `mqlb detach` removes both.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use crate::{
    config::model::Config,
    control::actor::Handle,
    vips::{self, Changes, VipError},
};

/// After this time a VIP that somebody removed is back, and neighbours are told a second time.
const INTERVAL: Duration = Duration::from_secs(1);

/// Makes this host hold what the configuration of the moment says, until the controller ends.
pub(super) async fn keep(controller: Handle) {
    let mut announce_again = false;
    // What an earlier controller held is removed even if this one is to hold nothing.
    let mut settled = None;
    let mut complained = false;
    while let Ok(wanted) = controller.with(|controller| wanted(controller.config())).await {
        let vips = wanted.vips.clone();
        if !vips.is_empty() || settled.as_ref() != Some(&vips) {
            match tokio::task::spawn_blocking(move || apply(&wanted, announce_again)).await {
                Ok(Ok(changes)) => {
                    report(&changes);
                    announce_again = !changes.added.is_empty();
                    (settled, complained) = (Some(vips), false);
                }
                Ok(Err(error)) => {
                    if !complained {
                        tracing::error!(%error, "tried again every second");
                    }
                    // Some may have been added before one was refused.
                    (announce_again, complained) = (true, true);
                }
                Err(_) => return,
            }
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

struct Wanted {
    vips: BTreeSet<IpAddr>,
    interfaces: Vec<String>,
}

fn wanted(config: &Config) -> Wanted {
    let vips = config.services.iter().filter(|_| config.hold_vips).map(|service| service.vip);
    let interfaces = config.interfaces.iter().map(|interface| interface.name.clone());
    Wanted { vips: vips.collect(), interfaces: interfaces.collect() }
}

/// Blocks for a few system calls.
fn apply(wanted: &Wanted, announce_again: bool) -> Result<Changes, VipError> {
    let changes = vips::hold(&wanted.vips, &wanted.interfaces)?;
    if announce_again || !changes.added.is_empty() {
        vips::announce()?;
    }
    Ok(changes)
}

fn report(changes: &Changes) {
    for vip in &changes.added {
        tracing::info!(%vip, "held");
    }
    for vip in &changes.removed {
        tracing::info!(%vip, "not held any more");
    }
}

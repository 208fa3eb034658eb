//! From the raw shape to the model: what the values mean, and whether they fit together.

mod admission;
mod backend;
mod ejection;
mod health;
mod http;
mod load;
mod mqtt;
mod nat;
mod passthrough;
mod proxy;
mod proxy_sources;
mod proxy_tls;
pub(super) mod report;
mod service;
mod settings;
mod tls;
mod tunnel;

use std::net::IpAddr;

use lb_common::layout::sizes;
use report::{At, Checked, Report};

use super::{
    defaults,
    error::Issue,
    fault::Fault,
    model::{Config, Mode, Prefix, Service, Sources},
    raw,
    rules::Surroundings,
    value,
};

impl TryFrom<raw::Config> for Config {
    /// Every mistake, none with its location yet.
    type Error = Vec<Issue>;

    fn try_from(raw: raw::Config) -> Result<Self, Vec<Issue>> {
        let report = Report::default();
        let config = config(&report.root(), raw);
        let issues = report.into_issues();
        match config {
            Ok(config) if issues.is_empty() => Ok(config),
            _ => Err(issues),
        }
    }
}

fn config(root: &At, raw: raw::Config) -> Checked<Config> {
    let services = raw.services.unwrap_or_default();
    let vips = vips(&services);
    let proxied_only = !services.is_empty() && services.iter().all(is_proxied);
    let interfaces = settings::interfaces(&root.key("interfaces"), raw.interfaces, !proxied_only);
    let nat = nat::nat(&root.key("nat"), raw.nat.unwrap_or_default(), &services);
    let seed = root.optional("seed", raw.seed.as_ref(), settings::seed);
    let limits = settings::limits(&root.key("limits"), &raw.limits.unwrap_or_default());
    let timeouts = settings::timeouts(&root.key("timeouts"), &raw.timeouts.unwrap_or_default());
    let api = settings::api(&root.key("api"), &raw.api.unwrap_or_default());
    let state_dir = root.defaulted(
        "state_dir",
        raw.state_dir.as_ref(),
        defaults::STATE_DIR.into(),
        value::absolute_path,
    );
    let pin_dir = root.defaulted(
        "pin_dir",
        raw.pin_dir.as_ref(),
        defaults::PIN_DIR.into(),
        settings::pin_dir,
    );
    let hold_vips =
        root.defaulted("hold_vips", raw.hold_vips.as_ref(), defaults::HOLD_VIPS, value::boolean);
    let log = settings::log(&root.key("log"), &raw.log.unwrap_or_default());
    let sources = nat.as_ref().map_or(&[][..], |nat| &nat.addresses);
    let taken = [&vips, sources].concat();
    let tunnel = tunnel::tunnel(&root.key("tunnel"), &raw.tunnel.unwrap_or_default(), &taken);
    let around = Surroundings { vips: &vips, sources, tunnel: tunnel.ok() };
    let listed = raw.sources.unwrap_or_default();
    let listed = admission::sources(&root.key("sources"), &listed, None, &[]);
    let denied = listed.as_ref().map_or(&[][..], |listed| &listed.deny);
    let services = all_services(&root.key("services"), services, around, denied);
    if let Ok(limits) = limits {
        enough_room(root, &services, limits.backends);
    }
    let listed = listed?;
    enough_room_for_lists(root, &listed, &services);
    Ok(Config {
        interfaces,
        nat: nat?,
        tunnel: tunnel?,
        sources: listed,
        seed: seed?,
        limits: limits?,
        timeouts: timeouts?,
        api: api?,
        state_dir: state_dir?,
        pin_dir: pin_dir?,
        hold_vips: hold_vips?,
        log: log?,
        services,
    })
}

/// Whether the data plane has nothing to do for a service.
fn is_proxied(service: &raw::Service) -> bool {
    let mode = service.mode.as_ref().and_then(|mode| value::forwarding_mode(&mode.0).ok());
    mode.is_some_and(Mode::is_proxied)
}

/// The VIPs of all services, as far as they can be read: what cannot is reported with its service.
fn vips(services: &[raw::Service]) -> Vec<IpAddr> {
    services.iter().filter_map(|service| value::address(&service.vip.as_ref()?.0).ok()).collect()
}

fn all_services(
    at: &At,
    raw: Vec<raw::Service>,
    around: Surroundings<'_>,
    denied: &[Prefix],
) -> Vec<Service> {
    if raw.is_empty() {
        at.reject(Fault::new(
            "there is no service",
            "add one with `name`, `vip`, `port` and `backends`; configs/minimal.yaml shows it",
        ));
    }
    if raw.len() > sizes::SERVICES {
        at.reject(Fault::new(
            format!("{} services are more than {}", raw.len(), sizes::SERVICES),
            "split them between several balancers",
        ));
    }
    let mut seen = service::Seen::default();
    let each = raw.into_iter().enumerate();
    each.filter_map(|(i, raw)| service::service(&at.index(i), raw, around, denied, &mut seen).ok())
        .collect()
}

fn enough_room(root: &At, services: &[Service], limit: u32) {
    let backends: usize = services.iter().map(|service| service.backends.len()).sum();
    if backends > limit as usize {
        root.key("limits").key("backends").reject(Fault::new(
            format!("{backends} backends are more than the limit of {limit}"),
            format!("raise the limit to {} or more", (backends * 2).next_power_of_two()),
        ));
    }
}

fn enough_room_for_lists(root: &At, sources: &Sources, services: &[Service]) {
    let lists = services.iter().map(|service| &service.sources).chain([sources]);
    let listed: usize = lists.map(|list| list.listed().count()).sum();
    if listed > sizes::LISTED {
        root.key("sources").reject(Fault::new(
            format!("{listed} prefixes in all lists are more than {}", sizes::LISTED),
            "list shorter prefixes, or list them once for all services",
        ));
    }
}

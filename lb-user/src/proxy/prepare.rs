//! Makes services ready: everything about a change that can fail, before anything changes.

use std::{
    collections::{BTreeMap, HashMap},
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::Arc,
};

use super::{
    error::PrepareError,
    loads,
    log::ConnectionLog,
    service::{Service, Settings},
    sessions::Sessions,
    sides::TlsSides,
    socket, source,
    spec::ServiceSpec,
};

/// Services made ready, with everything done that can fail.
#[derive(Debug, Default)]
pub struct Ready {
    pub(super) services: Vec<Prepared>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Prepared {
    pub settings: Settings,
    /// `None` if it is listened at already.
    pub listener: Option<TcpListener>,
}

/// Makes the services `wanted` ready, where those of `running` are served. Blocks on the disk.
pub(super) fn prepare(
    running: &BTreeMap<SocketAddr, Arc<Service>>,
    wanted: &[ServiceSpec],
    reread: bool,
) -> Result<Ready, PrepareError> {
    let mut logs: HashMap<PathBuf, ConnectionLog> = HashMap::new();
    if !reread {
        for service in running.values() {
            let Settings { spec, log, .. } = service.settings();
            logs.extend(spec.settings.connection_log.clone().zip(log));
        }
    }
    let mut ready = Ready::default();
    for spec in wanted {
        let name = &spec.name;
        let before = running.get(&spec.address);
        let log = log(spec, &mut logs)?;
        let listener = match before {
            Some(_) => None,
            None => Some(socket::listen(spec.address, &spec.settings).map_err(|source| {
                PrepareError::Listen { service: name.clone(), address: spec.address, source }
            })?),
        };
        has_addresses(spec)?;
        let tls = before.map(|service| service.settings().tls).unwrap_or_default();
        let tls = TlsSides::load(&spec.settings, &tls, reread)
            .map_err(|source| PrepareError::Tls { service: name.clone(), source })?;
        let sessions = sessions(running, spec)?;
        let load = before.and_then(|service| service.settings().load);
        let load = loads::prepare(spec, load.filter(|_| !reread))
            .map_err(|source| PrepareError::Load { service: name.clone(), source })?;
        let settings = Settings { spec: Arc::new(spec.clone()), log, sessions, tls, load };
        ready.services.push(Prepared { settings, listener });
    }
    Ok(ready)
}

/// The log that it asks for, opened once for all services that do.
fn log(
    spec: &ServiceSpec,
    logs: &mut HashMap<PathBuf, ConnectionLog>,
) -> Result<Option<ConnectionLog>, PrepareError> {
    let Some(path) = &spec.settings.connection_log else { return Ok(None) };
    if let Some(log) = logs.get(path) {
        return Ok(Some(log.clone()));
    }
    let log = ConnectionLog::open(path).map_err(|source| PrepareError::Log {
        service: spec.name.clone(),
        path: path.clone(),
        source,
    })?;
    logs.insert(path.clone(), log.clone());
    Ok(Some(log))
}

/// Fails unless this host has the addresses that connections to brokers come from.
fn has_addresses(spec: &ServiceSpec) -> Result<(), PrepareError> {
    for address in &spec.settings.addresses {
        source::check(*address).map_err(|source| PrepareError::Source {
            service: spec.name.clone(),
            address: *address,
            source,
        })?;
    }
    Ok(())
}

/// Its sticky sessions, where it has any: it may have had another address until now.
fn sessions(
    running: &BTreeMap<SocketAddr, Arc<Service>>,
    spec: &ServiceSpec,
) -> Result<Option<Arc<Sessions>>, PrepareError> {
    let mut all = running.values().filter_map(|service| service.settings().sessions);
    let known = all.find(|known| known.is_in(&spec.sessions_file));
    let sessions = spec.settings.sticky.map(|sticky| Sessions::after(known, sticky, spec));
    sessions
        .transpose()
        .map_err(|source| PrepareError::Sessions { service: spec.name.clone(), source })
}

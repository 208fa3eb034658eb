//! `mqlb run`

use std::{path::PathBuf, sync::Arc, thread, time::Instant};

use tokio::sync::oneshot;

use super::{Outcome, args::RunArgs, doctor, failure::Failure, logging, open_files, serve};
use crate::{
    config::{self, model::Config},
    control::{
        NoDataPlane,
        controller::{Controller, Origin, Start},
        datapath::Datapath,
    },
    datapath::{self, Preparation, StartError, Xdp},
    health::checker::Checker,
    privileges,
    proxy::Proxies,
};

/// News of the health checks that may wait for the controller.
const NEWS: usize = 1024;

/// Attaches, and balances until a signal ends it.
pub(super) fn run(args: &RunArgs) -> Outcome {
    let began = Instant::now();
    let file = std::path::absolute(&args.config)
        .map_err(|error| Failure::wrong(&error, "name the configuration file"))?;
    let config = config::load(&args.config)?;
    logging::start(config.log, args.log_packets)?;
    let attaches = !config.interfaces.is_empty();
    let plane = Plane {
        preparation: attaches.then(|| Preparation::begin(&config)),
        log_packets: args.log_packets,
    };
    if attaches {
        doctor::before_attaching(&config, args.force)?;
    }
    open_files::raise();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // Only this thread attaches; the others never need more.
        .on_thread_start(|| {
            if let Err(error) = privileges::drop_from_this_thread() {
                tracing::error!(%error, "a thread keeps its privileges");
            }
        })
        .build();
    let runtime =
        runtime.map_err(|error| Failure::failed(&error, "this machine is short of resources"))?;
    runtime.block_on(async {
        // Before anything is touched: whoever runs already keeps running undisturbed.
        let doors = serve::Doors::open(&config).await?;
        let (events, news) = tokio::sync::mpsc::channel(NEWS);
        let parts = Parts { checker: Arc::new(Checker::new(events)), proxies: Arc::default() };
        let proxies = Arc::clone(&parts.proxies);
        // Nothing else runs yet that this could block.
        let controller = begin(config, file, parts, plane)?;
        tracing::info!(took_ms = began.elapsed().as_millis(), "balancing");
        let given_up = give_up_privileges(controller.trace_preparation())?;
        serve::until_told(controller, news, proxies, doors, given_up).await
    })
}

/// How the data plane is loaded.
struct Plane {
    /// None if there is no interface to attach to.
    preparation: Option<Preparation>,
    log_packets: bool,
}

/// What the controller works with, beside the data plane.
struct Parts {
    checker: Arc<Checker>,
    proxies: Arc<Proxies>,
}

/// Gives up the privileges of this thread, and so of those that it starts from now on. One thread
/// keeps them, for as long as `last_use` takes, which nothing else waits for; then it makes sure that
/// no thread has any. The future tells how that went.
fn give_up_privileges(
    last_use: Box<dyn FnOnce() + Send>,
) -> Result<impl Future<Output = Outcome>, Failure> {
    let bug = "forwarding goes on without a controller; this is a bug in mqlb";
    let (done, given_up) = oneshot::channel();
    let last = thread::Builder::new().name("trace-loader".into()).spawn(move || {
        last_use();
        // Who waits for it may have been told to end meanwhile.
        let _ = done.send(privileges::drop_unneeded());
    });
    last.map_err(|error| Failure::failed(&error, "this machine is short of resources"))?;
    privileges::drop_from_this_thread().map_err(|error| Failure::failed(&error, bug))?;
    Ok(async move {
        match given_up.await {
            Ok(outcome) => outcome.map_err(|error| Failure::failed(&error, bug)),
            Err(_) => Err(Failure::failed(&"the thread that loads programs panicked", bug)),
        }
    })
}

/// With or without a log of every packet, which then is passed on as long as this process lives.
fn attach(config: &Config, preparation: Preparation, log_packets: bool) -> Result<Xdp, StartError> {
    if !log_packets {
        return Xdp::start_with(config, preparation);
    }
    let (xdp, log) = Xdp::start_logging(config, preparation)?;
    tracing::warn!("every packet is logged, which costs much: start without --log-packets soon");
    tokio::spawn(async {
        if let Err(error) = log.run().await {
            tracing::error!(%error, "packets are not logged any more");
        }
    });
    Ok(xdp)
}

/// The data plane, loaded and attached, or taken over; none if there is no interface to attach to.
fn data_plane(config: &Config, plane: Plane) -> Result<(Box<dyn Datapath>, Origin), Failure> {
    let Some(preparation) = plane.preparation else {
        let attached = datapath::attached_interfaces(&config.pin_dir).unwrap_or_default();
        if attached.is_empty() {
            return Ok((Box::new(NoDataPlane), Origin::Fresh));
        }
        let error = format!("a data plane is attached to {}", attached.join(", "));
        return Err(Failure::failed(&error, "name the interfaces, or `mqlb detach` it first"));
    };
    let xdp = attach(config, preparation, plane.log_packets).map_err(|error| {
        Failure::failed(&error, "nothing was changed; mend the cause and start again")
    })?;
    let origin = if xdp.taken_over() { Origin::TakenOver } else { Origin::Fresh };
    Ok((Box::new(xdp), origin))
}

/// Loads and attaches the data plane, or takes over the one that runs, and fills its tables.
fn begin(config: Config, file: PathBuf, parts: Parts, plane: Plane) -> Result<Controller, Failure> {
    let pin_dir = config.pin_dir.clone();
    let (datapath, origin) = data_plane(&config, plane)?;
    let Parts { checker, proxies } = parts;
    let start = Start {
        file,
        config,
        datapath,
        origin,
        checker,
        proxies,
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        clock: datapath::now,
    };
    Controller::start(start).map_err(|error| {
        // What was just made carries nothing; what was taken over goes on as it was.
        if origin == Origin::Fresh
            && let Err(error) = Xdp::detach_all(&pin_dir)
        {
            tracing::warn!(%error, "the data plane could not be taken away again");
        }
        error.into()
    })
}

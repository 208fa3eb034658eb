//! The commands that change something.

use std::net::IpAddr;

use super::{
    controller::Controller,
    difference::{Difference, differences, effective},
    error::ChangeError,
    overlay::{CommandError, Overlay},
    report::{Changed, Reloaded},
};
use crate::config::{
    self,
    model::{Backend, Config, Service, Weight},
    rules::{self, Surroundings},
};

/// What only a restart can change: the data plane was made with it, or others rely on it.
const NEEDS_RESTART: [&str; 5] = ["interfaces", "limits", "pin_dir", "state_dir", "hold_vips"];

/// What takes effect at the next start, and does no harm until then.
const LATER: [&str; 2] = ["api", "log"];

impl Controller {
    /// Adds a backend to a service.
    pub fn add_backend(&mut self, service: &str, new: &Backend) -> Result<Changed, ChangeError> {
        let mut overlay = self.overlay.clone();
        self.add_to(&mut overlay, self.service(service)?, new)?;
        let message = format!("added {service}/{} at {}", new.name, new.socket());
        self.command(overlay, service, new.name.as_str(), message)
    }

    /// Notes an added backend, if it fits.
    pub(super) fn add_to(
        &self,
        overlay: &mut Overlay,
        service: &Service,
        new: &Backend,
    ) -> Result<(), CommandError> {
        let vips: Vec<IpAddr> = self.config.services.iter().map(|service| service.vip).collect();
        let around = Surroundings {
            vips: &vips,
            sources: &self.config.nat.addresses,
            tunnel: Some(self.config.tunnel),
        };
        rules::backend_fits(new.address, Some(service.vip), Some(service.mode), around)
            .and_then(|()| rules::port_fits(new.port, service.port, service.mode))
            .map_err(CommandError::Unfit)?;
        overlay.add(service, new)
    }

    /// Removes a backend; its connections are refused from now on.
    pub fn remove_backend(&mut self, service: &str, name: &str) -> Result<Changed, ChangeError> {
        let mut overlay = self.overlay.clone();
        overlay.remove(self.service(service)?, name)?;
        self.command(overlay, service, name, format!("removed {service}/{name}"))
    }

    /// Takes a backend out of the choice for new connections, or puts it back.
    pub fn drain(
        &mut self,
        service: &str,
        name: &str,
        drained: bool,
    ) -> Result<Changed, ChangeError> {
        let mut overlay = self.overlay.clone();
        let news = overlay.drain(self.service(service)?, name, drained)?;
        let (done, nothing) =
            if drained { ("drains", "drains already") } else { ("is back", "is not drained") };
        if !news {
            return self.nothing(service, name, nothing);
        }
        self.command(overlay, service, name, format!("{service}/{name} {done}"))
    }

    /// Gives a backend another weight.
    pub fn weigh(
        &mut self,
        service: &str,
        name: &str,
        weight: Weight,
    ) -> Result<Changed, ChangeError> {
        let mut overlay = self.overlay.clone();
        let before = overlay.weigh(self.service(service)?, name, weight)?;
        if before == weight {
            return self.nothing(service, name, &format!("has weight {weight} already"));
        }
        let message = format!("weight of {service}/{name}: {before} -> {weight}");
        self.command(overlay, service, name, message)
    }

    /// Makes the configuration file the truth again, or only says what that would change.
    ///
    /// Changes made by command are dropped, but drained backends stay drained: the file cannot
    /// say so, and whoever drained them is not done.
    pub fn reload(&mut self, dry_run: bool) -> Result<Reloaded, ChangeError> {
        let result = self.read_again(dry_run);
        if !dry_run {
            self.note_read(result.is_ok());
        }
        result
    }

    fn read_again(&mut self, dry_run: bool) -> Result<Reloaded, ChangeError> {
        let new = config::load(&self.file).map_err(ChangeError::Config)?;
        let overlay = self.overlay.after_reload(&new.services);
        let before = effective(&self.config, &self.overlay);
        let differences = differences(&before, &new);
        let frozen = frozen(&differences);
        if !frozen.is_empty() {
            return Err(ChangeError::NeedsRestart(frozen));
        }
        let mut notes: Vec<String> = concerned(&differences, &LATER)
            .map(|path| format!("{path} takes effect when mqlb is started again"))
            .collect();
        notes.extend(drained(&new, &overlay));
        if dry_run {
            self.checks.prepare(&new, true)?;
            self.target(&new, &overlay)?;
        } else {
            notes.extend(self.change(new, overlay, true)?);
            for difference in &differences {
                tracing::info!(%difference, "reloaded");
            }
        }
        Ok(Reloaded { dry_run, differences, notes })
    }

    fn command(
        &mut self,
        overlay: Overlay,
        service: &str,
        backend: &str,
        message: String,
    ) -> Result<Changed, ChangeError> {
        let mut warnings: Vec<String> =
            self.change(self.config.clone(), overlay, false)?.into_iter().collect();
        tracing::info!("{message}");
        let now = self.service_report(self.service(service)?)?;
        if now.backends.iter().all(|backend| backend.slots == 0) {
            warnings.push(format!("no backend of {service} takes new connections now"));
        }
        let backend = now.backends.into_iter().find(|b| b.name == *backend);
        Ok(Changed { changed: true, message, warnings, backend })
    }

    fn nothing(&self, service: &str, name: &str, why: &str) -> Result<Changed, ChangeError> {
        let now = self.service_report(self.service(service)?)?;
        Ok(Changed {
            changed: false,
            message: format!("{service}/{name} {why}"),
            warnings: Vec::new(),
            backend: now.backends.into_iter().find(|b| b.name == *name),
        })
    }
}

/// What of these differences only a restart can bring about.
pub(super) fn frozen(differences: &[Difference]) -> Vec<String> {
    concerned(differences, &NEEDS_RESTART).map(str::to_owned).collect()
}

/// The paths of the differences in these parts of the configuration.
fn concerned<'a>(differences: &'a [Difference], parts: &[&str]) -> impl Iterator<Item = &'a str> {
    let concerns = |path: &str, part: &&str| {
        path.strip_prefix(*part).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let paths = differences.iter().map(|difference| difference.path.as_str());
    paths.filter(move |path| parts.iter().any(|part| concerns(path, part)))
}

/// Which backends of the file stay drained.
fn drained(config: &Config, overlay: &Overlay) -> Vec<String> {
    let mut notes = Vec::new();
    for service in &config.services {
        for backend in &service.backends {
            if overlay.is_drained(&service.name, &backend.name) {
                notes.push(format!("{}/{} stays drained", service.name, backend.name));
            }
        }
    }
    notes
}

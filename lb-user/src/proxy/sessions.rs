//! Which broker has the session of a client: the table of a service, and the file that outlives it.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    spec::ServiceSpec,
    sticky::{
        Ends, Lifetime, Limits, Listed, Snapshot, Sticky, WhenAway,
        file::{self, StickyFileError},
    },
};
use crate::{
    config::model::{self, StickySettings},
    mqtt::{Connack, decode::Connect},
};

/// How often a table that has changed is written: a crash forgets what is newer.
const SAVE_EVERY: Duration = Duration::from_mins(1);

/// A Client Identifier may be long, but most are not: so many bytes of them for each entry.
const ID_BYTES: usize = 64;

/// Entries that are copied while nobody else has the table: well below a millisecond.
const AT_ONCE: u32 = 1024;

/// The table, shared by all connections of a service.
#[derive(Debug)]
pub struct Sessions {
    table: Mutex<Sticky>,
    settings: StickySettings,
    file: PathBuf,
    changed: AtomicBool,
    /// Held while the file is written.
    writing: Mutex<()>,
    /// Whether somebody writes it now and then.
    kept: AtomicBool,
}

/// A session that is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The Client Identifier.
    pub client_id: String,
    /// The backend that has its session.
    pub backend: String,
    /// When it is forgotten.
    pub ends: Ends,
}

impl Sessions {
    /// The table in `file`; an empty one if there is no such file. Blocks on the disk.
    pub fn load(settings: StickySettings, file: PathBuf) -> Result<Self, StickyFileError> {
        let limits = Limits {
            entries: settings.entries,
            id_bytes: (settings.entries as usize).saturating_mul(ID_BYTES),
        };
        let table = Mutex::new(file::load(&file, limits, now())?);
        let (changed, kept) = (AtomicBool::default(), AtomicBool::default());
        Ok(Self { table, settings, file, changed, writing: Mutex::default(), kept })
    }

    /// What `settings` of the service `spec` ask for: the table `before` in the same file, if that is
    /// by the same settings, or what the file holds. Blocks on the disk.
    pub fn after(
        before: Option<Arc<Self>>,
        settings: StickySettings,
        spec: &ServiceSpec,
    ) -> Result<Arc<Self>, StickyFileError> {
        match before {
            Some(before) if before.settings == settings => return Ok(before),
            Some(before) => before.save(),
            None => {}
        }
        Self::load(settings, spec.sessions_file.clone()).map(Arc::new)
    }

    /// Whether it outlives the process in this file.
    #[must_use]
    pub fn is_in(&self, file: &Path) -> bool {
        self.file == file
    }

    /// The backend that has the session of a client, unless the client wants a new one.
    #[must_use]
    pub fn home(&self, connect: &Connect) -> Option<String> {
        if connect.clean_start() || connect.client_id().is_empty() {
            return None;
        }
        self.lock().home(connect.client_id(), now()).map(str::to_owned)
    }

    /// A broker has accepted a client. `exists` is whether the service has a backend of that name.
    pub fn opened(
        &self,
        connect: &Connect,
        connack: &Connack,
        client_id: &str,
        backend: &str,
        exists: impl Fn(&str) -> bool,
    ) {
        let granted = connack.properties.session_expiry_s;
        let lifetime = Lifetime::from_interval(granted.unwrap_or(connect.session_expiry_s()));
        let mut table = self.lock();
        let away = match self.settings.when_away {
            // The session that it had elsewhere is not what it wants.
            _ if connect.clean_start() => WhenAway::Stay,
            // Nobody comes back to what was removed.
            _ if table.home(client_id, now()).is_some_and(|home| !exists(home)) => WhenAway::Stay,
            model::WhenAway::ComeBack => WhenAway::ComeBack,
            model::WhenAway::Stay => WhenAway::Stay,
        };
        table.opened(client_id, backend, lifetime, away);
        drop(table);
        self.changed.store(true, Relaxed);
    }

    /// The connection of a client has ended.
    pub fn closed(&self, client_id: &str) {
        self.lock().closed(client_id, None, now());
        self.changed.store(true, Relaxed);
    }

    /// How many are remembered, and those of `client_id` and `backend`, at most `most`: the last used
    /// first.
    #[must_use]
    pub fn list(
        &self,
        client_id: Option<&str>,
        backend: Option<&str>,
        most: usize,
    ) -> (usize, Vec<Remembered>) {
        let table = self.lock();
        let wanted = |listed: &Listed<'_>| is_wanted(listed, client_id, backend);
        let remembered = |listed: Listed<'_>| Remembered {
            client_id: listed.client_id.to_owned(),
            backend: listed.broker.to_owned(),
            ends: listed.ends,
        };
        (table.len(), table.entries().filter(wanted).take(most).map(remembered).collect())
    }

    /// Forgets that of `client_id`; whether there was one.
    pub fn forget(&self, client_id: &str) -> bool {
        let known = self.lock().forget(client_id);
        self.changed.store(true, Relaxed);
        known
    }

    /// Forgets those of `client_id` and `backend`; how many.
    pub fn clear(&self, client_id: Option<&str>, backend: Option<&str>) -> usize {
        if let (Some(client_id), None) = (client_id, backend) {
            // Without going through all of them.
            return self.forget(client_id).into();
        }
        let forgotten = self.lock().clear(|listed| is_wanted(&listed, client_id, backend));
        self.changed.store(true, Relaxed);
        forgotten
    }

    /// Writes the table, if it has changed. Blocks on the disk, and on whoever writes it meanwhile.
    pub fn save(&self) {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.changed.swap(false, Relaxed) {
            return;
        }
        let mut snapshot = Snapshot::default();
        while snapshot.take(&mut self.lock(), AT_ONCE, now()) {
            // Whoever waits for the table has it before the next ones are taken.
            std::thread::yield_now();
        }
        if let Err(error) = file::save(&self.file, &snapshot.into_bytes()) {
            tracing::error!(%error, hint = error.hint(), "sessions would not survive a restart");
            self.changed.store(true, Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sticky> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_wanted(listed: &Listed<'_>, client_id: Option<&str>, backend: Option<&str>) -> bool {
    client_id.is_none_or(|wanted| wanted == listed.client_id)
        && backend.is_none_or(|wanted| wanted == listed.broker)
}

/// Writes the table now and then, for as long as somebody has it, unless somebody does already.
pub async fn keep(sessions: Weak<Sessions>) {
    if sessions.upgrade().is_none_or(|sessions| sessions.kept.swap(true, Relaxed)) {
        return;
    }
    loop {
        tokio::time::sleep(SAVE_EVERY).await;
        let Some(sessions) = sessions.upgrade() else { return };
        save(sessions).await;
    }
}

/// The table `before`, unless `after` has its place in the file: nobody else writes it then.
#[must_use]
pub fn left(before: Option<Arc<Sessions>>, after: Option<&Sessions>) -> Option<Arc<Sessions>> {
    before.filter(|before| after.is_none_or(|after| !after.is_in(&before.file)))
}

/// Writes the table where nobody waits for it but the caller.
pub async fn save(sessions: Arc<Sessions>) {
    if let Err(error) = tokio::task::spawn_blocking(move || sessions.save()).await {
        tracing::error!(%error, "sessions could not be written");
    }
}

/// Seconds since 1970; enough until 2106.
fn now() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::defaults::STICKY;

    #[test]
    fn who_writes_the_table_at_the_same_time_as_another_leaves_a_whole_file() {
        let dir = tempfile::tempdir().unwrap();
        let sessions = Sessions::load(STICKY, dir.path().join("sessions")).unwrap();
        for number in 0..2000 {
            let id = format!("client-{number}");
            sessions.lock().opened(&id, "b1", Lifetime::UNLIMITED, WhenAway::Stay);
        }
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..25 {
                        sessions.changed.store(true, Relaxed);
                        sessions.save();
                        let read = Sessions::load(STICKY, sessions.file.clone()).unwrap();
                        assert_eq!(read.list(None, None, 1).0, 2000);
                    }
                });
            }
        });
        assert!(!sessions.changed.load(Relaxed), "nothing failed");
    }
}

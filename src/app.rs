//! The composition root: opens the store, builds the services, hands out one `App`.

mod backup;

use crate::{
    config::{OperatorSecrets, Settings},
    data::{DataDir, Opened, Schedule},
    domain::{By, Clock, Event, Kind, Timestamp},
    failure::Failure,
    keyring::OperatorKeys,
    service::{
        Services,
        access_tokens::AccessTokens,
        accounts::Accounts,
        api_keys::{ApiKeyIndex, ApiKeys},
        audit::Audit,
        bearers::Bearers,
        denylist::DenyList,
        events::{EventLog, Refusals},
        gate::Gatekeeper,
        key_rotation::{KeyRotation, Keys},
        revocations::Revocations,
        sessions::Sessions,
    },
    store::{
        self, Counts, Report, Store,
        engine::{SledStorage, Storage},
    },
    telemetry::{Levels, Metrics},
};
use std::{path::Path, sync::Arc};
use tokio::sync::Notify;

/// Makes the storage for a data directory; the second argument is the disk space, in bytes, reserved for revocations (STO-5).
pub type MakeStorage = fn(&Path, u64) -> Box<dyn Storage>;

/// Everything a request or a command needs.
pub struct App {
    services: Services,
    store: Arc<Store>,
    /// What is measured, if somebody is to ask for it.
    metrics: Option<Arc<Metrics>>,
    /// `server.min_free_mib`, in bytes.
    min_free_bytes: u64,
    clock: Clock,
    /// Backups by the clock.
    backups: Schedule,
    settings: Settings,
    /// At the start, the database was older than the rollback marker in the data directory (STO-14).
    was_rolled_back: bool,
    /// Told when a test lets time pass.
    time_passed: Notify,
    /// Holds the lock: no other process may open the directory while the store is open (STO-10).
    _data_dir: Arc<DataDir>,
}

impl App {
    /// Opens the data directory and builds all services. The deny list and the API keys are loaded before this returns,
    /// and so before anything listens (REV-3).
    ///
    /// # Errors
    /// The data directory, its keyring or its database is unusable; the failure has an exit code.
    pub async fn open(settings: &Settings, secrets: &OperatorSecrets) -> Result<Self, Failure> {
        Self::open_on(|data_dir, min_free| Box::new(SledStorage::new(data_dir, min_free)), settings, secrets).await
    }

    /// Like [`App::open`], on another storage engine.
    ///
    /// # Errors
    /// As [`App::open`].
    pub async fn open_on(storage: MakeStorage, settings: &Settings, secrets: &OperatorSecrets) -> Result<Self, Failure> {
        let clock = Clock::default();
        let data_dir = Arc::new(DataDir::open(&settings.server.data_dir)?);
        let min_free_bytes = settings.server.min_free_mib.saturating_mul(1024 * 1024);
        let storage = storage(data_dir.path(), min_free_bytes);
        let (denylist, index) = (Arc::new(DenyList::default()), Arc::new(ApiKeyIndex::default()));
        let now = clock.now();
        // The deny list wakes the readers of its feed, whose API keys are looked up then.
        let Opened { keyring, store } = data_dir
            .open_store(&*storage, settings.tokens.algorithm, &clock, vec![index.clone(), denylist.clone(), Arc::new(EventLog)])
            .await?;
        let noted = store.issued().await?;
        let issued = AccessTokens::issued_by(now, settings, noted);
        let (void_before, forget_by) = (issued.latest.next_second(), issued.latest.plus(issued.lifetime));
        let was_rolled_back = end_what_was_rolled_back(&store, void_before, forget_by).await?;
        if store.is_outdated() {
            data_dir.back_up_before_migration(&store, &keyring, now)?;
        }
        store.migrate(void_before, forget_by).await?;
        denylist.load(store.deny_list(void_before, forget_by).await?, issued.lifetime);
        index.load(store.api_keys().await?);
        let operator = OperatorKeys::new(secrets.access.as_ref(), secrets.refresh.as_ref());
        let save = Arc::clone(&data_dir);
        let keys = Keys { keyring, operator, save: Box::new(move |keyring| save.save_keyring(keyring)) };
        let store = Arc::new(store);
        let services = Services::start(settings, keys, Arc::clone(&store), denylist, index, clock.clone(), noted)
            .map_err(|error| Failure::new(format!("no thread for hashing passwords: {error}")))?;
        let metrics = Metrics::start(&settings.metrics).inspect(|metrics| {
            store.watch(metrics.store_watch());
            services.accounts.passwords().watch(metrics.hash_watch());
        });
        let (settings, backups, time_passed) = (settings.clone(), schedule(settings, &data_dir), Notify::new());
        Ok(Self { services, store, metrics, min_free_bytes, clock, backups, settings, was_rolled_back, time_passed, _data_dir: data_dir })
    }

    /// What is measured, if anything is.
    #[must_use]
    pub const fn metrics(&self) -> Option<&Arc<Metrics>> {
        self.metrics.as_ref()
    }

    /// All metrics, as text for Prometheus; `None` where nothing is measured. It asks the disk how full it is.
    #[must_use]
    pub fn scrape(&self) -> Option<String> {
        let levels = Levels {
            hash_queue: self.services.accounts.passwords().waiting(),
            deny_list: self.services.denied(),
            is_writable: self.is_writable(),
            load: self.store.load(),
            min_free_bytes: self.min_free_bytes,
            last_backup: self.backups.last(),
            backup_every: self.backups.every(),
        };
        self.metrics.as_ref().map(|metrics| metrics.render(&levels))
    }

    /// How many users and sessions there are. Reads every row of both.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn count(&self) -> Result<Counts, store::Error> {
        self.store.count().await
    }

    /// The account service.
    #[must_use]
    pub const fn accounts(&self) -> &Accounts {
        &self.services.accounts
    }

    /// The session service.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.services.sessions
    }

    /// Who presents a token or a key.
    #[must_use]
    pub const fn bearers(&self) -> &Bearers {
        &self.services.bearers
    }

    /// The use cases of API keys.
    #[must_use]
    pub const fn api_keys(&self) -> &ApiKeys {
        &self.services.api_keys
    }

    /// The keys, and their rotation.
    #[must_use]
    pub const fn keys(&self) -> &Arc<KeyRotation> {
        &self.services.keys
    }

    /// The gate to the apps behind.
    #[must_use]
    pub const fn gate(&self) -> &Gatekeeper {
        &self.services.gate
    }

    /// The feed of revocations.
    #[must_use]
    pub const fn revocations(&self) -> &Revocations {
        &self.services.revocations
    }

    /// The audit trail.
    #[must_use]
    pub const fn audit(&self) -> &Audit {
        &self.services.audit
    }

    /// Counters of refused requests, which the log sums up.
    #[must_use]
    pub fn refusals(&self) -> &Refusals {
        &self.services.refusals
    }

    /// All use cases.
    #[must_use]
    pub const fn services(&self) -> &Services {
        &self.services
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Whether writes are accepted.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.store.is_writable()
    }

    /// Waits until a test lets time pass.
    pub async fn time_passed(&self) {
        self.time_passed.notified().await;
    }

    /// Reads every row and checks that the tables agree with each other.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn check(&self) -> Result<Report, store::Error> {
        let mut report = self.store.check().await?;
        if self.was_rolled_back {
            let why = "the database was older than when it was last seen: later changes are lost, and its sessions were ended";
            report.violations.push(why.into());
        }
        Ok(report)
    }

    /// Moves the wall clock by `by` seconds, forwards or back; with `slept`, the monotonic clock too, as if that
    /// time had passed. Returns false if the settings do not allow it.
    #[must_use]
    pub fn move_clock(&self, by: i64, slept: bool) -> bool {
        let millis = by.saturating_mul(1000);
        match (self.settings.insecure_dev, slept) {
            (false, _) => {}
            (true, true) => {
                self.clock.sleep(millis);
                self.time_passed.notify_one();
            }
            (true, false) => self.clock.shift(millis),
        }
        self.settings.insecure_dev
    }
}

/// Ends every session of a database that was rolled back. Returns whether it was.
async fn end_what_was_rolled_back(store: &Store, void_before: Timestamp, forget_by: Timestamp) -> Result<bool, store::Error> {
    if !store.was_rolled_back() {
        return Ok(false);
    }
    let why =
        "the database is older than when it was last seen: an older copy, or damaged; its sessions were ended, later accounts are lost";
    store.note(Event::new(Kind::StateRollback, By::Operator).why(why));
    store.revoke_all(void_before, forget_by).await?;
    Ok(true)
}

fn schedule(settings: &Settings, data_dir: &DataDir) -> Schedule {
    let backup = &settings.backup;
    let directory = if backup.dir.as_os_str().is_empty() { data_dir.backups() } else { backup.dir.clone() };
    Schedule::new(directory, backup.every, backup.keep, backup.pipe.clone())
}

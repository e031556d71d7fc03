//! The composition root: opens the store, builds the services, hands out one `App`.

use crate::{
    config::{OperatorSecrets, Settings},
    data::{DataDir, Unlocked},
    domain::Clock,
    failure::Failure,
    service::{
        access_tokens::AccessTokens,
        accounts::{self, Accounts},
        csrf::Csrf,
        devices::Devices,
        events::{By, Event, Kind, Refusals},
        passwords::Passwords,
        refresh_tokens::{OneTimeCodes, RefreshTokens},
        revocation::Revocation,
        sessions::{self, Sessions},
        throttle::Throttle,
    },
    store::{Store, engine},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// How often what has expired is swept (STO-15: within a minute).
const SWEEP_EVERY: Duration = Duration::from_secs(30);

/// How often it is noted how far the database has come.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// Everything a request or a command needs.
pub struct App {
    /// The settings.
    pub settings: Settings,
    /// The clock.
    pub clock: Clock,
    /// The store.
    pub store: Arc<Store>,
    /// Accounts.
    pub accounts: Accounts,
    /// Sessions.
    pub sessions: Arc<Sessions>,
    /// Access tokens.
    pub access: Arc<AccessTokens>,
    /// Refusals, summed for the log.
    pub refusals: Arc<Refusals>,
    throttle: Arc<Throttle>,
    /// Held as long as the store is open: nobody else gets in (STO-10).
    data_dir: DataDir,
    /// The database was older at the start than when it was last seen.
    pub was_rolled_back: bool,
    /// How far the database has come.
    count: AtomicU64,
}

impl App {
    /// Opens the data directory and puts everything together. What is revoked is in memory before
    /// this returns, so before anything listens (REV-3).
    ///
    /// # Errors
    /// What is wrong with the data directory, its keyring or its database, with an exit code.
    pub async fn open(settings: Settings, secrets: &OperatorSecrets) -> Result<Self, Failure> {
        Self::open_on(engine::sled::open, settings, secrets).await
    }

    /// The same on another engine.
    ///
    /// # Errors
    /// As [`App::open`].
    pub async fn open_on(engine: engine::Open, settings: Settings, secrets: &OperatorSecrets) -> Result<Self, Failure> {
        let clock = Clock::default();
        let data_dir = DataDir::open(&settings.server.data_dir, settings.server.min_free_mib.saturating_mul(1024 * 1024), engine)?;
        let revocation = Arc::new(Revocation::default());
        let now = clock.now();
        let forget_by = now.plus(AccessTokens::longest_memory(&settings.tokens));
        let Unlocked { keyring, store, revocations, count, was_rolled_back } = data_dir.unlock(now, forget_by, revocation.clone()).await?;
        if was_rolled_back {
            let why = "the database is older than when it was last seen: an older copy, or damaged; its sessions were ended, later accounts are lost";
            Event::new(Kind::StateRollback, By::Operator).why(why).write();
            // The standings that were loaded are those from before.
            revocation.load(store.revocations(forget_by)?);
        } else {
            revocation.load(revocations);
        }
        let keyring = keyring.with_operator_secrets(secrets.access.as_ref(), secrets.refresh.as_ref());
        let store = Arc::new(store);
        let throttle = Arc::new(Throttle::new(&settings.limits));
        let access = Arc::new(AccessTokens::new(&keyring, settings.tokens.clone(), clock.clone(), revocation.clone()));
        let refusals = Arc::new(Refusals::default());
        let sessions = Arc::new(Sessions::new(sessions::Parts {
            store: store.clone(),
            access: access.clone(),
            refresh: RefreshTokens::new(&keyring),
            csrf: Csrf::new(&keyring),
            revocation,
            throttle: throttle.clone(),
            roles: settings.roles.clone(),
            tokens: settings.tokens.clone(),
            policy: settings.sessions.clone(),
            refusals: refusals.clone(),
            clock: clock.clone(),
        }));
        let passwords =
            Passwords::start(&settings.passwords).map_err(|error| Failure::new(format!("no thread for hashing passwords: {error}")))?;
        let accounts = Accounts::new(accounts::Parts {
            store: store.clone(),
            sessions: sessions.clone(),
            passwords,
            codes: OneTimeCodes::new(&keyring),
            devices: Devices::new(&keyring, settings.tokens.session_max_age),
            throttle: throttle.clone(),
            roles: settings.roles.clone(),
            registration: settings.registration.clone(),
            mode: settings.registration_mode(),
            clock: clock.clone(),
        });
        Ok(Self {
            settings,
            clock,
            store,
            accounts,
            sessions,
            access,
            refusals,
            throttle,
            data_dir,
            was_rolled_back,
            count: AtomicU64::new(count),
        })
    }

    /// Notes each second how far the database has come, for ever: what is lost of it later, but for
    /// the last second, is noticed (STO-14).
    pub async fn keep_counted(&self) {
        let mut ticks = tokio::time::interval(COUNT_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.count().await;
        }
    }

    /// Notes how far the database has come, if anything has changed since it was last noted.
    pub async fn count(&self) {
        if self.store.has_changed() {
            let count = self.count.fetch_add(1, Relaxed) + 1;
            if let Err(error) = self.data_dir.count_on(&self.store, count).await {
                tracing::debug!(%error, "progress could not be counted");
            }
        }
    }

    /// Sweeps what has expired, for ever.
    pub async fn keep_swept(&self) {
        let mut ticks = tokio::time::interval(SWEEP_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.throttle.sweep();
            self.refusals.tell();
            if let Err(error) = self.sessions.sweep().await {
                tracing::warn!(%error, "sweeping failed; it is tried again");
            }
            tracing::debug!("swept");
        }
    }
}

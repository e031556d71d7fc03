//! Sets up all use cases from the settings.

use super::{
    access_tokens::AccessTokens,
    accounts::Accounts,
    csrf::Csrf,
    denylist::DenyList,
    devices::Devices,
    events::Refusals,
    passwords::Passwords,
    refresh_tokens::{OneTimeCodes, RefreshTokens},
    sessions::Sessions,
    throttle::Throttle,
};
use crate::{
    config::Settings,
    domain::{Clock, SteadyClock},
    keyring::Keyring,
    store::Store,
};
use std::{io, sync::Arc};

/// All use cases.
pub struct Services {
    /// The use cases of accounts.
    pub accounts: Accounts,
    /// The use cases of sessions.
    pub sessions: Arc<Sessions>,
    /// Counts of refusals, for the log.
    pub refusals: Arc<Refusals>,
    throttle: Arc<Throttle>,
}

impl Services {
    /// Sets up the use cases and starts the threads that hash passwords.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(settings: &Settings, keyring: &Keyring, store: Arc<Store>, denylist: Arc<DenyList>, clock: Clock) -> io::Result<Self> {
        let throttle = Arc::new(Throttle::new(&settings.limits));
        let refusals = Arc::new(Refusals::default());
        let sessions = Arc::new(Sessions {
            store: Arc::clone(&store),
            access: Arc::new(AccessTokens::new(keyring, settings.tokens.clone(), clock.clone(), Arc::clone(&denylist))),
            refresh_tokens: RefreshTokens::new(keyring),
            csrf: Csrf::new(keyring),
            denylist,
            throttle: Arc::clone(&throttle),
            roles: settings.roles.clone(),
            tokens: settings.tokens.clone(),
            policy: settings.sessions.clone(),
            refusals: Arc::clone(&refusals),
            steady: SteadyClock::new(clock.clone()),
            clock: clock.clone(),
        });
        let accounts = Accounts {
            store,
            sessions: Arc::clone(&sessions),
            passwords: Passwords::start(&settings.passwords)?,
            codes: OneTimeCodes::new(keyring),
            devices: Devices::new(keyring, settings.tokens.session_max_age),
            throttle: Arc::clone(&throttle),
            policy: settings.roles.policy(&settings.registration.default_role),
            roles: settings.roles.clone(),
            mode: settings.registration_mode(),
            registration: settings.registration.clone(),
            clock,
        };
        Ok(Self { accounts, sessions, refusals, throttle })
    }

    /// Forgets the limits that no longer limit anybody, and logs the counts of refusals.
    pub fn tidy(&self) {
        self.throttle.sweep();
        self.refusals.log_counts();
    }
}

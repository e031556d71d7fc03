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
    store::{Issued, Store},
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
    /// Sets up the use cases and starts the threads that hash passwords. `noted` is which access tokens an earlier run has
    /// noted in the store.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        settings: &Settings,
        keyring: &Keyring,
        store: Arc<Store>,
        denylist: Arc<DenyList>,
        clock: Clock,
        noted: Option<Issued>,
    ) -> io::Result<Self> {
        let earlier = AccessTokens::issued_by(clock.now(), &settings.tokens, noted);
        let throttle = Arc::new(Throttle::new(&settings.limits));
        let refusals = Arc::new(Refusals::default());
        let sessions = Arc::new(Sessions {
            store: Arc::clone(&store),
            access: Arc::new(AccessTokens::new(keyring, settings.tokens.clone(), clock.clone(), Arc::clone(&denylist), earlier)),
            refresh_tokens: RefreshTokens::new(keyring),
            csrf: Csrf::new(keyring),
            denylist,
            throttle: Arc::clone(&throttle),
            roles: settings.roles.clone(),
            tokens: settings.tokens.clone(),
            policy: settings.sessions.clone(),
            refusals: Arc::clone(&refusals),
            steady: SteadyClock::since(clock.clone(), noted.map_or_else(|| clock.now(), |noted| noted.latest)),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{Session, Timestamp, User},
        store::engine::memory::Memory,
    };
    use secrecy::ExposeSecret;

    async fn services() -> Services {
        let (keyring, denylist, memory) = (Keyring::generate(), Arc::new(DenyList::default()), Memory::default());
        Store::initialise(&memory, keyring.instance, Timestamp::default()).await.expect("empty");
        let store = Arc::new(Store::open(Box::new(memory), keyring.instance, vec![denylist.clone()]).await.expect("just made"));
        Services::start(&Settings::default(), &keyring, store, denylist, Clock::default(), None).expect("threads")
    }

    #[tokio::test]
    async fn i5_what_carries_tokens_is_printed_without_them() {
        let services = services().await;
        let client = Session::example().client;
        let session = services.sessions.new_session(User::example().id, crate::domain::Transport::Body, client);
        let tokens = services.sessions.issue_first_tokens(User::example(), session).expect("its key is there");
        let printed = format!("{tokens:?} {:?}", services.sessions.verify_refresh_token(&tokens.refresh_token).expect("ours"));
        assert!(printed.contains("REDACTED"), "{printed}");
        for secret in [&tokens.access.token, &tokens.refresh_token, &tokens.csrf_token] {
            assert!(!printed.contains(secret.expose_secret()), "{printed}");
        }
        assert!(!printed.contains("$scrypt$"), "{printed}");
    }
}

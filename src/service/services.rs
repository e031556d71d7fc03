//! Sets up all use cases from the settings.

use super::{
    access_tokens::{AccessTokens, TokenSettings},
    accounts::Accounts,
    api_keys::{ApiKeyIndex, ApiKeys},
    audit::Audit,
    bearers::Bearers,
    csrf::Csrf,
    denylist::DenyList,
    devices::Devices,
    events::Refusals,
    gate::Gatekeeper,
    key_rotation::{KeyRotation, Keys, KeysInUse},
    mac::MacRings,
    passwords::Passwords,
    refresh_tokens::{OneTimeCodes, RefreshTokens},
    revocations::Revocations,
    sessions::Sessions,
    throttle::Throttle,
};
use crate::{
    config::Settings,
    domain::{
        Clock, SteadyClock,
        gate::{App, Gate},
    },
    keyring::RotationPolicy,
    store::{Issued, Store},
};
use std::{io, sync::Arc};

/// All use cases.
pub struct Services {
    /// The use cases of accounts.
    pub accounts: Accounts,
    /// The use cases of sessions.
    pub sessions: Arc<Sessions>,
    /// Who presents a token or a key.
    pub bearers: Bearers,
    /// The use cases of API keys.
    pub api_keys: ApiKeys,
    /// The keys, and their rotation.
    pub keys: Arc<KeyRotation>,
    /// Who passes to the apps behind the gate.
    pub gate: Gatekeeper,
    /// The feed of revocations.
    pub revocations: Revocations,
    /// The audit trail.
    pub audit: Audit,
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
        keys: Keys,
        store: Arc<Store>,
        denylist: Arc<DenyList>,
        index: Arc<ApiKeyIndex>,
        clock: Clock,
        noted: Option<Issued>,
    ) -> io::Result<Self> {
        let apps = settings.apps().unwrap_or_default();
        let earlier = AccessTokens::issued_by(clock.now(), settings, noted);
        let steady = Arc::new(SteadyClock::since(clock.clone(), noted.map_or_else(|| clock.now(), |noted| noted.latest)));
        let keyring = keys.in_use();
        let (rings, token_settings) = (MacRings::new(&keyring), TokenSettings::new(settings));
        let access = Arc::new(AccessTokens::new(&keyring.access, token_settings, clock.clone(), Arc::clone(&denylist), earlier));
        let in_use = KeysInUse::new(&keyring, Arc::clone(&access), rings.clone(), Arc::clone(denylist.feed()));
        let (revocations, policy) = (Revocations::new(Arc::clone(&denylist)), rotation_policy(settings, earlier));
        let keys = KeyRotation::new(keys, in_use, policy, Arc::clone(&store), clock.clone(), Arc::clone(&steady));
        let (throttle, refusals) = (Arc::new(Throttle::new(&settings.limits)), Arc::new(Refusals::default()));
        let sessions = Arc::new(Sessions {
            store,
            access,
            refresh_tokens: RefreshTokens::new(&rings),
            csrf: Csrf::new(&rings),
            denylist,
            keys: Arc::clone(&index),
            throttle: Arc::clone(&throttle),
            roles: settings.roles.clone(),
            tokens: settings.tokens.clone(),
            policy: settings.sessions.clone(),
            refusals: Arc::clone(&refusals),
            steady,
            clock,
        });
        let accounts = accounts(settings, Arc::clone(&sessions), &rings)?;
        let (bearers, api_keys) = (bearers(&sessions, &index, &rings), api_keys(settings, &apps, &sessions, index, &rings));
        let gate = Gatekeeper::new(Gate::new(apps), rings.gate.clone(), settings.gate.pass_ttl, &sessions);
        let audit = Audit::new(&settings.audit, &sessions.store, &sessions.steady);
        Ok(Self { accounts, sessions, bearers, api_keys, gate, keys: Arc::new(keys), revocations, audit, refusals, throttle })
    }

    /// How many entries the deny list has.
    #[must_use]
    pub fn denied(&self) -> usize {
        self.sessions.denylist.len()
    }

    /// Forgets the limits that no longer limit anybody, and logs the counts of refusals.
    pub fn tidy(&self) {
        self.throttle.sweep();
        self.sessions.access.sweep();
        self.refusals.take_counts().into_iter().for_each(|sum| self.audit.note(sum));
    }
}

fn accounts(settings: &Settings, sessions: Arc<Sessions>, rings: &MacRings) -> io::Result<Accounts> {
    Ok(Accounts {
        store: Arc::clone(&sessions.store),
        passwords: Passwords::start(&settings.passwords)?,
        codes: OneTimeCodes::new(rings),
        devices: Devices::new(rings, settings.tokens.session_max_age),
        throttle: Arc::clone(&sessions.throttle),
        policy: settings.roles.policy(&settings.registration.default_role),
        roles: settings.roles.clone(),
        mode: settings.registration_mode(),
        registration: settings.registration.clone(),
        clock: sessions.clock.clone(),
        sessions,
    })
}

fn bearers(sessions: &Sessions, index: &Arc<ApiKeyIndex>, rings: &MacRings) -> Bearers {
    Bearers {
        store: Arc::clone(&sessions.store),
        access: Arc::clone(&sessions.access),
        api_keys: Arc::clone(index),
        hash_keys: rings.hash.clone(),
        throttle: Arc::clone(&sessions.throttle),
        roles: sessions.roles.clone(),
        clock: sessions.clock.clone(),
    }
}

fn api_keys(settings: &Settings, apps: &[App], sessions: &Arc<Sessions>, index: Arc<ApiKeyIndex>, rings: &MacRings) -> ApiKeys {
    ApiKeys {
        store: Arc::clone(&sessions.store),
        sessions: Arc::clone(sessions),
        access: Arc::clone(&sessions.access),
        index,
        hash_keys: rings.hash.clone(),
        settings: settings.keys.clone(),
        roles: sessions.roles.clone(),
        apps: apps.iter().filter(|app| app.takes_keys).map(|app| app.name.clone()).collect(),
        policy: settings.roles.policy(&settings.registration.default_role),
        clock: sessions.clock.clone(),
        steady: Arc::clone(&sessions.steady),
    }
}

fn rotation_policy(settings: &Settings, issued: Issued) -> RotationPolicy {
    let tokens = &settings.tokens;
    RotationPolicy { algorithm: tokens.algorithm, every: tokens.rotate_every, token_lifetime: issued.lifetime }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{Algorithm, Session, Timestamp, User},
        keyring::{Keyring, OperatorKeys},
        store::engine::memory::Memory,
    };
    use secrecy::ExposeSecret;

    async fn services() -> Services {
        let keyring = Keyring::generate(Algorithm::HS256, Timestamp::default());
        let (denylist, memory) = (Arc::new(DenyList::default()), Memory::default());
        Store::initialise(&memory, keyring.instance, Timestamp::default()).await.expect("empty");
        let store =
            Arc::new(Store::open(Box::new(memory), keyring.instance, Clock::default(), vec![denylist.clone()]).await.expect("just made"));
        let keys = Keys { keyring, operator: OperatorKeys::default(), save: Box::new(|_| Ok(())) };
        Services::start(&Settings::default(), keys, store, denylist, Arc::default(), Clock::default(), None).expect("threads")
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

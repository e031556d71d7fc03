//! The keys of the installation while it runs: which there are, and how they are replaced.

use super::{
    access_tokens::AccessTokens,
    feed::{Change as FeedChange, Feed},
    mac::MacRings,
};
use crate::{
    domain::{Algorithm, By, Clock, Event, Kind, SteadyClock, Timestamp},
    keyring::{Change, Jwk, Keyring, OperatorKeys, Ring, RotationPolicy, Stage, TokenKey, TokenRing},
    store::{self, Store},
};
use parking_lot::Mutex;
use secrecy::SecretString;
use serde::Serialize;
use std::{io, sync::Arc, time::Duration};

/// Writes a keyring durably in place of the present one.
pub type SaveKeyring = Box<dyn Fn(&Keyring) -> io::Result<()> + Send + Sync>;

/// The furthest that the two clocks may differ for a rotation by itself. A clock that was just set is given time to prove
/// right: how long a key was published cannot be made up for.
const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_secs(60);

/// Replaces keys, in the keyring's file first and then in memory. All but [`KeyRotation::public_keys`] may block for a
/// second: an RSA key is made, a file is synced.
pub struct KeyRotation {
    /// The keys as the file has them.
    keyring: Mutex<Keyring>,
    operator: OperatorKeys,
    save: SaveKeyring,
    policy: RotationPolicy,
    in_use: KeysInUse,
    store: Arc<Store>,
    clock: Clock,
    steady: Arc<SteadyClock>,
}

/// The keys of an installation, and where changes of them are kept.
pub struct Keys {
    /// The keyring as its file has it.
    pub keyring: Keyring,
    /// The operator's own keys.
    pub operator: OperatorKeys,
    /// Writes the keyring's file.
    pub save: SaveKeyring,
}

impl Keys {
    /// The keys that are used: an operator's own take the place of generated ones.
    pub(super) fn in_use(&self) -> Keyring {
        self.keyring.clone().with_operator_keys(&self.operator)
    }
}

/// What works with the keys. It is told when they are replaced.
pub(super) struct KeysInUse {
    pub access: Arc<AccessTokens>,
    pub rings: MacRings,
    published: Mutex<Arc<[Jwk]>>,
    feed: Arc<Feed>,
}

impl KeysInUse {
    pub fn new(keyring: &Keyring, access: Arc<AccessTokens>, rings: MacRings, feed: Arc<Feed>) -> Self {
        Self { access, rings, published: Mutex::new(published(keyring)), feed }
    }

    fn replace(&self, keyring: &Keyring) {
        self.access.replace_keys(&keyring.access);
        self.rings.replace(keyring);
        *self.published.lock() = published(keyring);
        self.feed.push(FeedChange::Keys);
    }
}

/// Why keys were not replaced.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// There is nothing to be done, or it would not help.
    #[error("{0}")]
    Refused(String),
    /// The keyring's file could not be written. The keys are what they were.
    #[error("the keyring cannot be written, and nothing was changed: {0}")]
    NotSaved(#[from] io::Error),
    /// The keys are new, but the database does not say yet that all from before is void.
    #[error("the keys are replaced, but the sessions and tokens from before could not be ended in the database: {0}: run it again")]
    NotVoided(#[from] store::Error),
}

/// A key, as it is listed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyView {
    /// What it is for.
    pub purpose: &'static str,
    /// Its id, the `kid` of tokens.
    pub id: String,
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// `next`, `current`, `retired`, or `operator` for one from the environment.
    pub state: &'static str,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it changes its state by itself: a `next` key is in use from then on, a `retired` one is removed. A `next` key
    /// of another algorithm waits for the setting.
    pub until: Option<Timestamp>,
}

impl KeyRotation {
    pub(super) fn new(
        keys: Keys,
        in_use: KeysInUse,
        policy: RotationPolicy,
        store: Arc<Store>,
        clock: Clock,
        steady: Arc<SteadyClock>,
    ) -> Self {
        let Keys { keyring, operator, save } = keys;
        Self { keyring: Mutex::new(keyring), operator, save, policy, in_use, store, clock, steady }
    }

    /// The public keys that verify tokens, the latest first.
    #[must_use]
    pub fn public_keys(&self) -> Arc<[Jwk]> {
        Arc::clone(&self.in_use.published.lock())
    }

    /// The keyring as its file has it: every key but an operator's own.
    ///
    /// # Errors
    /// None that is known: a keyring can be written.
    pub fn to_file(&self) -> Result<SecretString, serde_json::Error> {
        self.keyring.lock().to_file()
    }

    /// All keys, by purpose.
    #[must_use]
    pub fn list(&self) -> Vec<KeyView> {
        let keyring = self.keyring.lock();
        let mut keys = match &self.operator.access {
            Some(key) => vec![KeyView::secret("access", &key.id, "operator", key.created_at)],
            None => keyring.access.iter().map(|key| KeyView::token("access", key, self.policy.algorithm)).collect(),
        };
        keys.extend(keyring.oidc.iter().flat_map(TokenRing::iter).map(|key| KeyView::token("oidc", key, key.algorithm)));
        match &self.operator.refresh {
            Some(key) => keys.push(KeyView::secret("refresh", &key.id, "operator", key.created_at)),
            None => keys.extend(KeyView::ring("refresh", &keyring.refresh)),
        }
        keys.extend(KeyView::ring("hash", &keyring.hash));
        keys.extend(KeyView::ring("csrf", &keyring.csrf));
        keys.extend(keyring.gate.iter().flat_map(|ring| KeyView::ring("gate", ring)));
        keys
    }

    /// Does what is due: publishes the next key, lets it sign, forgets those whose tokens are over. A clock that was just
    /// set far ahead is not believed.
    ///
    /// # Errors
    /// [`KeyError::NotSaved`].
    pub fn settle(&self) -> Result<(), KeyError> {
        let (now, wall) = (self.steady.now(), self.clock.now());
        if self.operator.access.is_some() || wall.since(now) > MAX_CLOCK_DIFFERENCE {
            return Ok(());
        }
        self.change(By::Server, None, |keyring| Ok(keyring.access.settle(now, &self.policy))).map(drop)
    }

    /// At the start: signs with the algorithm of the settings, if they were changed, and makes the keys of the gate, if it
    /// has its first app.
    ///
    /// # Errors
    /// [`KeyError::NotSaved`].
    pub fn follow_settings(&self, has_apps: bool) -> Result<(), KeyError> {
        let now = self.steady.now();
        if has_apps {
            self.change(By::Server, None, |keyring| Ok(keyring.begin_gate(now)))?;
        }
        if self.operator.access.is_some() {
            return Ok(());
        }
        let follow = |keyring: &mut Keyring| {
            let is_followed = keyring.access.current().algorithm == self.policy.algorithm;
            Ok(if is_followed { Vec::new() } else { keyring.access.settle(now, &self.policy) })
        };
        self.change(By::Server, None, follow).map(drop)
    }

    /// Starts the rotation of the keys that sign access tokens: to the algorithm they have, or to another one that they are
    /// to have later. Nobody is logged out.
    ///
    /// # Errors
    /// [`KeyError::Refused`] and [`KeyError::NotSaved`].
    pub fn rotate(&self, algorithm: Option<Algorithm>) -> Result<Vec<Change>, KeyError> {
        self.require_own_access_keys()?;
        let now = self.clock.now();
        self.change(By::Operator, None, |keyring| {
            // As the server last signed: a command may run without its settings.
            let present = keyring.access.current().algorithm;
            keyring.access.rotate(algorithm.unwrap_or(present), now, &self.policy.of(present)).map_err(KeyError::Refused)
        })
    }

    /// Replaces the keys that sign access tokens now, as somebody else may have them: the former ones are gone, and every
    /// token from before is void. Sessions go on.
    ///
    /// # Errors
    /// [`KeyError`].
    pub async fn replace_access_keys(self: Arc<Self>) -> Result<Vec<Change>, KeyError> {
        self.require_own_access_keys()?;
        let changes =
            self.replace(|keyring, now, policy| keyring.access.replace(now, &policy.of(keyring.access.current().algorithm))).await?;
        let (moment, until) = self.in_use.access.void_before();
        self.store.void_all_before(moment, until).await?;
        Ok(changes)
    }

    /// Replaces all keys now, as somebody else may have all of them. Every session, token, invitation and link from before
    /// is void: with the keys, anybody could have made them.
    ///
    /// # Errors
    /// [`KeyError`].
    pub async fn replace_all_keys(self: Arc<Self>) -> Result<Vec<Change>, KeyError> {
        self.require_own_access_keys()?;
        if self.operator.refresh.is_some() {
            return Err(operators("DOORWARD_REFRESH_SECRET"));
        }
        let everything = |keyring: &mut Keyring, now, policy: &RotationPolicy| {
            let mut changes = keyring.access.replace(now, &policy.of(keyring.access.current().algorithm));
            changes.extend(keyring.oidc.iter_mut().flat_map(|ring| ring.replace(now, &policy.of(ring.current().algorithm))));
            for ring in [&mut keyring.refresh, &mut keyring.hash, &mut keyring.csrf].into_iter().chain(&mut keyring.gate) {
                changes.extend(ring.replace(now));
            }
            changes
        };
        let changes = self.replace(everything).await?;
        let (moment, until) = self.in_use.access.void_before();
        self.store.end_everything(moment, until).await?;
        Ok(changes)
    }

    fn require_own_access_keys(&self) -> Result<(), KeyError> {
        if self.operator.access.is_some() { Err(operators("DOORWARD_ACCESS_SECRET")) } else { Ok(()) }
    }

    /// Replaces keys in an emergency, on a thread that may block.
    async fn replace(
        self: &Arc<Self>,
        edit: impl FnOnce(&mut Keyring, Timestamp, &RotationPolicy) -> Vec<Change> + Send + 'static,
    ) -> Result<Vec<Change>, KeyError> {
        let keys = Arc::clone(self);
        let replaced = tokio::task::spawn_blocking(move || {
            let now = keys.clock.now();
            keys.change(By::Operator, Some("emergency"), |keyring| Ok(edit(keyring, now, &keys.policy)))
        });
        replaced.await.expect("replacing keys does not panic")
    }

    /// Changes the keyring: first its file, then what is in use.
    fn change(
        &self,
        actor: By,
        why: Option<&'static str>,
        edit: impl FnOnce(&mut Keyring) -> Result<Vec<Change>, KeyError>,
    ) -> Result<Vec<Change>, KeyError> {
        let mut keyring = self.keyring.lock();
        let mut edited = keyring.clone();
        let changes = edit(&mut edited)?;
        if changes.is_empty() {
            return Ok(changes);
        }
        (self.save)(&edited)?;
        *keyring = edited;
        self.in_use.replace(&keyring.clone().with_operator_keys(&self.operator));
        for change in &changes {
            let (kind, id) = match change {
                Change::Published(id) => (Kind::KeyPublished, id),
                Change::InUse(id) => (Kind::KeyInUse, id),
                Change::Removed(id) => (Kind::KeyRemoved, id),
            };
            let event = Event::new(kind, actor).key(id.clone());
            self.store.note(match why {
                Some(why) => event.why(why),
                None => event,
            });
        }
        Ok(changes)
    }
}

/// The public keys of a keyring, the latest first. There is nothing to publish of a secret.
fn published(keyring: &Keyring) -> Arc<[Jwk]> {
    let oidc = keyring.oidc.iter().flat_map(TokenRing::iter);
    keyring.access.iter().chain(oidc).filter_map(TokenKey::jwk).collect()
}

fn operators(variable: &str) -> KeyError {
    KeyError::Refused(format!("{variable} is set: replace it where it is set, and start the server anew"))
}

impl KeyView {
    /// A key of a ring whose tokens are to be signed with `algorithm`.
    fn token(purpose: &'static str, key: &TokenKey, algorithm: Algorithm) -> Self {
        let (state, until) = match key.stage {
            Stage::Next { from } => ("next", (key.algorithm == algorithm).then_some(from)),
            Stage::Current { .. } => ("current", None),
            Stage::Retired { until } => ("retired", Some(until)),
        };
        Self { purpose, id: key.id.clone(), algorithm: key.algorithm, state, created_at: key.created_at, until }
    }

    fn secret(purpose: &'static str, id: &str, state: &'static str, created_at: Timestamp) -> Self {
        Self { purpose, id: id.to_owned(), algorithm: Algorithm::HS256, state, created_at, until: None }
    }

    fn ring(purpose: &'static str, ring: &Ring) -> impl Iterator<Item = Self> {
        let states = std::iter::once("current").chain(std::iter::repeat("retired"));
        ring.iter().zip(states).map(move |(key, state)| Self::secret(purpose, &key.id, state, key.created_at))
    }
}

//! Keys that sign tokens, and their rotation.
//!
//! A key is published before it signs, so that verifiers that fetch the keys once a day have it by then; and it stays
//! published until the last token that it signed is over, so that a rotation signs nobody out. Its private part is
//! erased from the file as soon as it no longer signs.

use super::{
    jwk::Jwk,
    pair,
    ring::{Change, Key},
};
use crate::domain::{Algorithm, Timestamp};
use secrecy::SecretSlice;
use std::time::Duration;

/// How long a key is published before it signs, and after its last token is over. Some verifiers fetch keys once a day,
/// whatever they were told about caching.
pub const PUBLISHED_AHEAD: Duration = Duration::from_secs(48 * 3600);

/// A key that signs tokens, in one algorithm.
#[derive(Debug, Clone)]
pub struct TokenKey {
    /// The `kid`: for a pair, the thumbprint of its public key (RFC 7638).
    pub id: String,
    /// The algorithm, which is the key's and never the token's (RFC 8725 §3.1).
    pub algorithm: Algorithm,
    /// The key itself.
    pub material: Material,
    /// When it was made.
    pub created_at: Timestamp,
    /// Whether it signs.
    pub stage: Stage,
}

/// What a key consists of.
#[derive(Debug, Clone)]
pub enum Material {
    /// The secret of an HMAC.
    Secret(SecretSlice<u8>),
    /// A pair.
    Pair {
        /// PKCS#8, erased once the key no longer signs.
        private: Option<SecretSlice<u8>>,
        /// The public key, in its algorithm's form.
        public: Vec<u8>,
    },
}

/// Where a key is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Published; signs nothing yet.
    Next {
        /// When it is to sign.
        from: Timestamp,
    },
    /// Signs.
    Current {
        /// Since when.
        since: Timestamp,
    },
    /// Only verifies what it has signed.
    Retired {
        /// When it is forgotten.
        until: Timestamp,
    },
}

impl RotationPolicy {
    /// The same policy for another algorithm.
    #[must_use]
    pub const fn of(&self, algorithm: Algorithm) -> Self {
        Self { algorithm, ..*self }
    }
}

impl TokenKey {
    /// Makes a new key. For RSA that takes half a second or more.
    ///
    /// # Panics
    /// When the operating system provides no randomness.
    #[must_use]
    pub fn generate(algorithm: Algorithm, created_at: Timestamp, stage: Stage) -> Self {
        let Some(pair::Generated { private, public }) = pair::generate(algorithm) else {
            return Self { stage, ..Self::of_secret(Key::generate(created_at)) };
        };
        let id = Jwk::new(algorithm, &public).expect("a key that was just made").kid;
        Self { id, algorithm, material: Material::Pair { private: Some(private), public }, created_at, stage }
    }

    /// A secret, which signs from its beginning.
    fn of_secret(Key { id, secret, created_at }: Key) -> Self {
        let stage = Stage::Current { since: created_at };
        Self { id, algorithm: Algorithm::HS256, material: Material::Secret(secret), created_at, stage }
    }

    /// The public key for verifiers, if there is one.
    #[must_use]
    pub fn jwk(&self) -> Option<Jwk> {
        match &self.material {
            Material::Secret(_) => None,
            Material::Pair { public, .. } => Jwk::new(self.algorithm, public),
        }
    }

    const fn is_current(&self) -> bool {
        matches!(self.stage, Stage::Current { .. })
    }

    /// Whether this key waits to replace one of the same algorithm.
    fn is_next(&self, algorithm: Algorithm) -> bool {
        self.algorithm == algorithm && matches!(self.stage, Stage::Next { .. })
    }
}

/// The keys of one kind of token. Exactly one of them signs.
#[derive(Debug, Clone)]
pub struct TokenRing(Vec<TokenKey>);

/// How the keys of a ring are replaced.
#[derive(Debug, Clone, Copy)]
pub struct RotationPolicy {
    /// What tokens are to be signed with.
    pub algorithm: Algorithm,
    /// How long a key signs; `None` means until somebody rotates it.
    pub every: Option<Duration>,
    /// The longest that a token can be accepted after it was issued.
    pub token_lifetime: Duration,
}

impl TokenRing {
    /// A ring with one new key.
    #[must_use]
    pub fn generate(algorithm: Algorithm, now: Timestamp) -> Self {
        Self(vec![TokenKey::generate(algorithm, now, Stage::Current { since: now })])
    }

    /// A ring with one given secret.
    #[must_use]
    pub fn of_secret(key: Key) -> Self {
        Self(vec![TokenKey::of_secret(key)])
    }

    /// A ring of these keys, if exactly one of them signs and no two have the same id.
    #[must_use]
    pub fn new(keys: Vec<TokenKey>) -> Option<Self> {
        let one_signs = keys.iter().filter(|key| key.is_current()).count() == 1;
        let are_distinct = keys.iter().enumerate().all(|(i, key)| keys[..i].iter().all(|other| other.id != key.id));
        (one_signs && are_distinct).then_some(Self(keys))
    }

    /// All keys.
    pub fn iter(&self) -> impl Iterator<Item = &TokenKey> {
        self.0.iter()
    }

    /// The key that signs.
    ///
    /// # Panics
    /// Never: a ring always has one.
    #[must_use]
    pub fn current(&self) -> &TokenKey {
        self.0.iter().find(|key| key.is_current()).expect("one key of a ring signs")
    }

    /// Does what is due at `now`: forgets keys whose tokens are over, lets a published key sign once its time has come,
    /// publishes the next one ahead of that, and follows a change of the algorithm.
    pub fn settle(&mut self, now: Timestamp, policy: &RotationPolicy) -> Vec<Change> {
        let mut changes = self.remove(|key| matches!(key.stage, Stage::Retired { until } if until <= now));
        let Stage::Current { since } = self.current().stage else { return changes };
        if self.current().algorithm != policy.algorithm {
            let former = self.current().algorithm;
            changes.extend(self.sign_with_next(now, policy));
            // Nobody is to sign with what was published for the former algorithm.
            changes.extend(self.remove(|key| key.is_next(former)));
            return changes;
        }
        let next = self.0.iter().find(|key| key.is_next(policy.algorithm)).map(|key| key.stage);
        let due = policy.every.map(|every| since.plus(every));
        match (next, due) {
            (Some(Stage::Next { from }), _) if from <= now => changes.extend(self.sign_with_next(now, policy)),
            (None, Some(due)) if policy.algorithm.is_asymmetric() && due <= now.plus(PUBLISHED_AHEAD) => {
                changes.push(self.publish(policy.algorithm, now, due.max(now.plus(PUBLISHED_AHEAD))));
            }
            _ => {}
        }
        changes
    }

    /// Starts a rotation to a new key. A public key is published first and signs after [`PUBLISHED_AHEAD`]; a secret,
    /// which nobody fetches, signs at once. A key of another algorithm than the tokens' is only published, for when the
    /// setting is changed.
    ///
    /// # Errors
    /// When there is nothing to be done, why.
    pub fn rotate(&mut self, algorithm: Algorithm, now: Timestamp, policy: &RotationPolicy) -> Result<Vec<Change>, String> {
        if let Some(TokenKey { id, stage: Stage::Next { from }, .. }) = self.0.iter().find(|key| key.is_next(algorithm)) {
            let from =
                if algorithm == policy.algorithm { format!("from {from}") } else { format!("once tokens.algorithm = \"{algorithm}\"") };
            return Err(format!("key {id} is published already, and signs {from}"));
        }
        match (algorithm.is_asymmetric(), algorithm == policy.algorithm) {
            (true, _) => Ok(vec![self.publish(algorithm, now, now.plus(PUBLISHED_AHEAD))]),
            (false, true) => Ok(self.sign_with_next(now, policy)),
            (false, false) => Err(format!("nothing to publish for {algorithm}: set tokens.algorithm = \"{algorithm}\" instead")),
        }
    }

    /// Replaces all keys by a new one. Every token that they signed is void at once.
    pub fn replace(&mut self, now: Timestamp, policy: &RotationPolicy) -> Vec<Change> {
        let mut changes = self.remove(|_| true);
        *self = Self::generate(policy.algorithm, now);
        changes.push(Change::InUse(self.current().id.clone()));
        changes
    }

    /// Lets the published key of the policy's algorithm sign, or a new one if there is none; retires the current one.
    fn sign_with_next(&mut self, now: Timestamp, policy: &RotationPolicy) -> Vec<Change> {
        for key in self.0.iter_mut().filter(|key| key.is_current()) {
            let remembered = if key.algorithm.is_asymmetric() { PUBLISHED_AHEAD } else { Duration::ZERO };
            key.stage = Stage::Retired { until: now.plus(policy.token_lifetime + remembered) };
            if let Material::Pair { private, .. } = &mut key.material {
                *private = None;
            }
        }
        let current = Stage::Current { since: now };
        let id = match self.0.iter_mut().find(|key| key.is_next(policy.algorithm)) {
            Some(next) => {
                next.stage = current;
                next.id.clone()
            }
            None => {
                self.0.insert(0, TokenKey::generate(policy.algorithm, now, current));
                self.0[0].id.clone()
            }
        };
        vec![Change::InUse(id)]
    }

    fn publish(&mut self, algorithm: Algorithm, now: Timestamp, from: Timestamp) -> Change {
        self.0.insert(0, TokenKey::generate(algorithm, now, Stage::Next { from }));
        Change::Published(self.0[0].id.clone())
    }

    /// Removes the keys that `which` names; the caller sees to it that one still signs.
    fn remove(&mut self, which: impl Fn(&TokenKey) -> bool) -> Vec<Change> {
        self.0.extract_if(.., |key| which(key)).map(|key| Change::Removed(key.id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const START: Timestamp = Timestamp::from_secs(1_000_000);

    const fn policy(algorithm: Algorithm, days: Option<u32>) -> RotationPolicy {
        let every = match days {
            Some(days) => Some(HOUR.saturating_mul(24).saturating_mul(days)),
            None => None,
        };
        RotationPolicy { algorithm, every, token_lifetime: HOUR }
    }

    fn has_private(key: &TokenKey) -> bool {
        matches!(key.material, Material::Pair { private: Some(_), .. })
    }

    #[test]
    fn a_pair_is_published_ahead_signs_and_is_kept_until_its_tokens_are_over() {
        let policy = policy(Algorithm::EdDSA, Some(180));
        let mut ring = TokenRing::generate(Algorithm::EdDSA, START);
        let first = ring.current().id.clone();
        let day = |n: u32| START.plus(HOUR * 24 * n);
        assert_eq!(ring.settle(day(177), &policy), []);
        let published = ring.settle(day(178), &policy);
        let [Change::Published(second)] = &published[..] else { panic!("{published:?}") };
        assert_eq!(ring.current().id, first, "the new key signs nothing yet");
        assert_eq!(ring.settle(day(179), &policy), [], "one at a time");
        assert_eq!(ring.settle(day(180), &policy), [Change::InUse(second.clone())]);
        assert_eq!(&ring.current().id, second);
        let retired = ring.iter().find(|key| key.id == first).expect("kept");
        assert!(!has_private(retired) && has_private(ring.current()), "the private part is erased at once");
        assert_eq!(ring.settle(day(182).plus(HOUR / 2), &policy), []);
        assert_eq!(ring.settle(day(180).plus(HOUR + PUBLISHED_AHEAD), &policy), [Change::Removed(first)]);
        assert_eq!(ring.iter().count(), 1);
    }

    #[test]
    fn after_years_switched_off_a_key_is_still_published_ahead() {
        let policy = policy(Algorithm::ES256, Some(180));
        let mut ring = TokenRing::generate(Algorithm::ES256, START);
        let late = START.plus(HOUR * 24 * 1000);
        let published = ring.settle(late, &policy);
        assert!(matches!(&published[..], [Change::Published(_)]), "{published:?}");
        assert!(ring.iter().any(|key| key.stage == Stage::Next { from: late.plus(PUBLISHED_AHEAD) }));
    }

    #[test]
    fn a_secret_is_rotated_by_hand_alone_and_at_once() {
        let policy = policy(Algorithm::HS256, Some(1));
        let mut ring = TokenRing::generate(Algorithm::HS256, START);
        let first = ring.current().id.clone();
        assert_eq!(ring.settle(START.plus(HOUR * 24 * 1000), &policy), []);
        let changes = ring.rotate(Algorithm::HS256, START, &policy).expect("rotated");
        assert_eq!(changes, [Change::InUse(ring.current().id.clone())]);
        assert_ne!(ring.current().id, first);
        assert_eq!(ring.settle(START.plus(HOUR), &policy), [Change::Removed(first)]);
    }

    #[test]
    fn a_switch_of_the_algorithm_keeps_the_former_key_until_its_tokens_are_over() {
        let mut ring = TokenRing::generate(Algorithm::HS256, START);
        let mut former = vec![ring.current().id.clone()];
        for algorithm in [Algorithm::EdDSA, Algorithm::ES256] {
            let policy = policy(algorithm, None);
            let changes = ring.settle(START, &policy);
            assert_eq!(changes, [Change::InUse(ring.current().id.clone())]);
            assert_eq!(ring.current().algorithm, algorithm);
            assert!(former.iter().all(|id| ring.iter().any(|key| &key.id == id)), "kept");
            assert_eq!(ring.settle(START, &policy), []);
            former.push(ring.current().id.clone());
        }
    }

    #[test]
    fn a_key_for_another_algorithm_is_published_for_the_switch() {
        let mut ring = TokenRing::generate(Algorithm::EdDSA, START);
        let now = policy(Algorithm::EdDSA, None);
        let changes = ring.rotate(Algorithm::ES256, START, &now).expect("published");
        let [Change::Published(next)] = &changes[..] else { panic!("{changes:?}") };
        assert!(ring.rotate(Algorithm::ES256, START, &now).is_err_and(|why| why.contains("published already")));
        assert!(ring.rotate(Algorithm::HS256, START, &now).is_err_and(|why| why.contains("tokens.algorithm")));
        let later = START.plus(PUBLISHED_AHEAD * 2);
        assert_eq!(ring.settle(later, &now), [], "it does not sign by itself");
        assert_eq!(ring.settle(later, &policy(Algorithm::ES256, None)), [Change::InUse(next.clone())]);
    }

    #[test]
    fn an_emergency_leaves_one_new_key() {
        let policy = policy(Algorithm::EdDSA, None);
        let mut ring = TokenRing::generate(Algorithm::EdDSA, START);
        let first = ring.current().id.clone();
        ring.rotate(Algorithm::EdDSA, START, &policy).expect("published");
        let changes = ring.replace(START, &policy);
        assert_eq!(changes.len(), 3);
        assert!(changes.contains(&Change::Removed(first)) && changes.contains(&Change::InUse(ring.current().id.clone())));
        assert_eq!(ring.iter().count(), 1);
    }
}

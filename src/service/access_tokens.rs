//! Access tokens: JWTs (RFC 7519, RFC 9068) that live for minutes.
//!
//! The claims and the header are checked here, because jsonwebtoken ignores `typ` and `crit`, and treats a claim of
//! the wrong type as absent.

mod claims;
mod parts;
mod verified;

pub use claims::TokenHolder;
pub use parts::inspect;

use super::{
    denylist::{DenyList, TokenStatus},
    events::OncePerMinute,
    keys::{SigningKey, SigningKeys},
};
use crate::{
    config::{Settings, Tokens},
    domain::{Algorithm, ApiKey, Clock, Permission, Session, SessionId, Timestamp, TokenId, TokenIds, User},
    keyring::TokenRing,
    store::{Deny, Issued, NOTING_INTERVAL},
};
use claims::{API_KEY_METHOD, Claims, IssuedToken};
use parking_lot::RwLock;
use parts::Parts;
use secrecy::SecretString;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use verified::VerifiedTokens;

/// `typ` (RFC 9068 §2.1).
const MEDIA_TYPE: &str = "at+jwt";
/// How many seconds the clock may have been ahead when it dated a token (TOK-5).
const MAX_SKEW: u64 = 60;

/// Issues and verifies access tokens.
pub struct AccessTokens {
    /// Replaced as a whole at a key rotation.
    keys: RwLock<Arc<KeysAndTokens>>,
    settings: TokenSettings,
    clock: Clock,
    denylist: Arc<DenyList>,
    /// The latest `iat` of any token issued, in seconds. After the clock was set back, deny-list entries must be kept
    /// until the tokens from before have expired too (OPS-7).
    latest_iat: AtomicU64,
    /// The longest that any token issued so far can be accepted after its `iat`.
    lifetime: Duration,
    full_warning: OncePerMinute,
}

/// The keys, and what they have verified.
struct KeysAndTokens {
    keys: SigningKeys,
    /// None as long as there is no key pair: what an HMAC costs is not worth being kept.
    verified: Option<VerifiedTokens>,
}

impl KeysAndTokens {
    fn new(ring: &TokenRing) -> Arc<Self> {
        let has_pair = ring.iter().any(|key| key.algorithm.is_asymmetric());
        Arc::new(Self { keys: SigningKeys::new(ring, MEDIA_TYPE), verified: has_pair.then(VerifiedTokens::new) })
    }
}

/// What access tokens say, and how long they live.
#[derive(Debug, Clone)]
pub struct TokenSettings {
    /// The `iss` of tokens that an HMAC signs.
    pub issuer_of_secrets: String,
    /// The `iss` of tokens that a key pair signs.
    pub issuer_of_pairs: String,
    /// `aud`
    pub audience: String,
    /// The lifetime of a token.
    pub access_ttl: Duration,
    /// The leeway on time claims.
    pub clock_tolerance: Duration,
}

impl TokenSettings {
    /// Those of the configuration.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let Tokens { audience, access_ttl, clock_tolerance, .. } = settings.tokens.clone();
        let (issuer_of_secrets, issuer_of_pairs) = (settings.issuer(Algorithm::HS256), settings.issuer(Algorithm::EdDSA));
        Self { issuer_of_secrets, issuer_of_pairs, audience, access_ttl, clock_tolerance }
    }

    fn issuer(&self, algorithm: Algorithm) -> &str {
        if algorithm.is_asymmetric() { &self.issuer_of_pairs } else { &self.issuer_of_secrets }
    }
}

/// The furthest ahead of the present clock that an earlier run's is believed to have been. Without a bound, a clock that was
/// years ahead once would keep revocations for years.
const MAX_BELIEVED_AHEAD: Duration = Duration::from_secs(24 * 3600);

/// The claims of a token that we issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedToken {
    /// What identifies it.
    pub ids: TokenIds,
    /// Whom it was issued for.
    pub holder: TokenHolder,
    /// What it is signed with.
    pub algorithm: Algorithm,
    /// `exp`
    pub expires_at: Timestamp,
    /// The whole seconds until it expires.
    pub expires_in: u64,
}

/// Why a bearer token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyError {
    /// We did not issue it.
    Invalid,
    /// We issued it, and it expired at this moment.
    Expired(Timestamp),
    /// We issued it, and it was revoked.
    Revoked,
}

/// What a new access token is issued for.
#[derive(Debug)]
pub struct NewToken<'a> {
    /// The user it is for (`sub`).
    pub user: &'a User,
    /// The permissions of the user's role.
    pub permissions: &'a [Permission],
    /// What it is issued for. The token expires no later.
    pub of: TokenFor<'a>,
    /// The token's `iat`: when the transaction that it follows from was prepared, before it was submitted.
    pub issued_at: Timestamp,
}

/// What a token is issued for.
#[derive(Debug, Clone, Copy)]
pub enum TokenFor<'a> {
    /// A session of the user.
    Session(&'a Session),
    /// An API key of the user. Its id stands in place of a session's.
    ApiKey(&'a ApiKey),
}

impl TokenFor<'_> {
    fn session(&self) -> SessionId {
        match self {
            Self::Session(session) => session.id,
            Self::ApiKey(key) => SessionId::from_bytes(*key.id.as_bytes()),
        }
    }

    const fn ends_at(&self) -> Option<Timestamp> {
        match self {
            Self::Session(session) => Some(session.ends_at),
            Self::ApiKey(key) => key.expires_at,
        }
    }
}

/// An access token and how long it lives.
#[derive(Debug)]
pub struct AccessToken {
    /// The JWT.
    pub token: SecretString,
    /// The whole seconds until it expires.
    pub expires_in: u64,
}

impl VerifiedToken {
    /// The token with what is left of it at `now`, in seconds.
    fn new(token: IssuedToken, now: u64) -> Self {
        let IssuedToken { ids, holder, algorithm, exp, .. } = token;
        Self { ids, holder, algorithm, expires_at: Timestamp::from_secs(exp), expires_in: exp.saturating_sub(now) }
    }
}

impl AccessTokens {
    /// Sets up the keys. `earlier` is which tokens earlier runs may have issued.
    #[must_use]
    pub fn new(ring: &TokenRing, settings: TokenSettings, clock: Clock, denylist: Arc<DenyList>, earlier: Issued) -> Self {
        let latest_iat = AtomicU64::new(earlier.latest.secs());
        Self {
            keys: RwLock::new(KeysAndTokens::new(ring)),
            settings,
            clock,
            denylist,
            latest_iat,
            lifetime: earlier.lifetime,
            full_warning: OncePerMinute::default(),
        }
    }

    /// Signs and verifies with these keys from now on.
    pub fn replace_keys(&self, ring: &TokenRing) {
        *self.keys.write() = KeysAndTokens::new(ring);
    }

    /// Forgets what is kept of tokens that are over.
    pub fn sweep(&self) {
        if let Some(verified) = &self.keys().verified {
            verified.forget_expired(self.clock.now().secs());
        }
    }

    fn keys(&self) -> Arc<KeysAndTokens> {
        Arc::clone(&self.keys.read())
    }

    /// Which tokens there may be at a start, from what an earlier run has noted. Its clock may have been ahead, and its
    /// tokens may have had a longer life.
    #[must_use]
    pub fn issued_by(now: Timestamp, settings: &Settings, noted: Option<Issued>) -> Issued {
        let lifetime = Self::max_token_lifetime(settings);
        let Some(noted) = noted else { return Issued { latest: now, lifetime } };
        let latest = if noted.latest > now { noted.latest.plus(NOTING_INTERVAL).min(now.plus(MAX_BELIEVED_AHEAD)) } else { now };
        let is_over = now.since(noted.latest) > noted.lifetime + NOTING_INTERVAL;
        Issued { latest, lifetime: if is_over { lifetime } else { lifetime.max(noted.lifetime) } }
    }

    /// The current time for a transaction that tokens may follow from; the caller reads it before it submits the
    /// transaction. If all tokens before a moment were voided, it is not earlier than that moment.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now().max(self.denylist.not_before())
    }

    /// Issues a token. Its `iat` is [`NewToken::issued_at`] and not the current time, so that the entry of a revocation
    /// which the transaction did not see outlives the token (see [`super::denylist`]).
    #[must_use]
    pub fn issue(&self, new: &NewToken<'_>) -> AccessToken {
        let NewToken { user, permissions, of, issued_at } = *new;
        let iat = issued_at.secs();
        let latest = self.latest_iat.fetch_max(iat, Relaxed);
        if latest > iat + MAX_SKEW {
            tracing::warn!(seconds = latest - iat, "the clock was set back: tokens from before are refused until it has caught up");
        }
        let ttl = self.settings.access_ttl.as_secs();
        let exp = iat + of.ends_at().map_or(ttl, |end| ttl.min(end.secs().saturating_sub(iat)));
        let (role, amr) = match of {
            TokenFor::Session(_) => (Some(&user.role), None),
            TokenFor::ApiKey(_) => (None, Some([API_KEY_METHOD])),
        };
        let keys = self.keys();
        let key = keys.keys.current();
        let claims = Claims {
            iss: self.settings.issuer(key.algorithm),
            aud: &self.settings.audience,
            sub: user.id,
            iat,
            exp,
            jti: TokenId::random(),
            sid: of.session(),
            ver: user.token_version,
            role,
            permissions,
            amr,
        };
        let token = key.sign(&claims).into();
        AccessToken { token, expires_in: exp.saturating_sub(self.clock.now().secs()) }
    }

    /// Verifies that we issued a bearer token and that it is neither expired nor revoked.
    ///
    /// # Errors
    /// [`VerifyError`]; anything unforeseen is [`VerifyError::Invalid`] (REV-9).
    pub fn verify(&self, token: &str) -> Result<VerifiedToken, VerifyError> {
        let (keys, parts) = (self.keys(), Parts::of(token).ok_or(VerifyError::Invalid)?);
        let key = keys.keys.for_header(parts.header).ok_or(VerifyError::Invalid)?;
        let Some(verified) = keys.verified.as_ref().filter(|_| key.algorithm.is_asymmetric()) else {
            return self.judge(self.decode_issued(key, &parts).ok_or(VerifyError::Invalid)?);
        };
        let digest = VerifiedTokens::digest(token);
        if let Some(known) = verified.get(&digest) {
            return self.judge(known);
        }
        let issued = self.decode_issued(key, &parts).ok_or(VerifyError::Invalid)?;
        let judged = self.judge(issued.clone())?;
        verified.insert(digest, issued);
        Ok(judged)
    }

    /// Whether a token that we issued is in force now.
    fn judge(&self, token: IssuedToken) -> Result<VerifiedToken, VerifyError> {
        let now = self.clock.now().secs();
        let leeway = self.settings.clock_tolerance.as_secs();
        // A voiding of all tokens may date the new ones ahead of the clock, see [`AccessTokens::now`].
        if token.ids.issued_at.secs() > self.now().secs() + MAX_SKEW || token.nbf > now + leeway {
            return Err(VerifyError::Invalid);
        }
        // RFC 7519 §4.1.4: a token has expired on `exp` itself, not only after it.
        if now >= token.exp + leeway {
            return Err(VerifyError::Expired(Timestamp::from_secs(token.exp)));
        }
        if self.denylist.check(&token.ids) == TokenStatus::Revoked {
            return Err(VerifyError::Revoked);
        }
        Ok(VerifiedToken::new(token, now))
    }

    /// Verifies that we issued a token for a session, even if it has expired or was revoked: it still proves which session
    /// its bearer had.
    #[must_use]
    pub fn verify_ignoring_expiry(&self, token: &str) -> Option<VerifiedToken> {
        let (keys, parts) = (self.keys(), Parts::of(token)?);
        let token = self.decode_issued(keys.keys.for_header(parts.header)?, &parts)?;
        (token.holder != TokenHolder::ApiKey).then(|| VerifiedToken::new(token, self.clock.now().secs()))
    }

    /// What a token says that we issued at any time: signed by us, with our issuer, audience and lifetime.
    fn decode_issued(&self, key: &SigningKey, parts: &Parts<'_>) -> Option<IssuedToken> {
        let (claims, algorithm) = (parts.decode_signed(key)?, key.algorithm);
        let life = claims.exp.checked_sub(claims.iat)?;
        let is_ours = claims.iss == self.settings.issuer(algorithm) && claims.aud == self.settings.audience;
        let holder = claims.holder()?;
        let token = IssuedToken { ids: claims.ids(), holder, algorithm, nbf: claims.nbf, exp: claims.exp };
        (is_ours && life <= self.settings.access_ttl.as_secs()).then_some(token)
    }

    /// How long the deny list must keep an entry made now: until every token issued so far has expired.
    #[must_use]
    pub fn deny(&self) -> Deny {
        // After the clock was set back there are tokens dated later than now.
        let latest = self.clock.now().max(Timestamp::from_secs(self.latest_iat.load(Relaxed)));
        let not_before = self.denylist.is_full().then(|| {
            if self.full_warning.is_due() {
                tracing::warn!("the deny list is full: every access token issued so far is void, and clients refresh once");
            }
            latest.next_second()
        });
        Deny { until: latest.plus(self.lifetime), lifetime: self.lifetime, not_before }
    }

    /// The issuer and the audience of tokens that this algorithm signs.
    #[must_use]
    pub fn issuer_and_audience(&self, algorithm: Algorithm) -> (&str, &str) {
        (self.settings.issuer(algorithm), &self.settings.audience)
    }

    /// The moment that is later than every token issued so far, and until when that must be remembered.
    #[must_use]
    pub fn void_before(&self) -> (Timestamp, Timestamp) {
        let latest = self.clock.now().max(Timestamp::from_secs(self.latest_iat.load(Relaxed)));
        (latest.next_second(), latest.next_second().plus(self.lifetime))
    }

    /// The longest that a token, or a pass to an app, can be accepted after it was issued.
    #[must_use]
    pub fn max_token_lifetime(settings: &Settings) -> Duration {
        let Tokens { access_ttl, clock_tolerance, .. } = settings.tokens;
        let longest = if settings.gate.app.is_empty() { access_ttl } else { access_ttl.max(settings.gate.pass_ttl) };
        longest + clock_tolerance + Duration::from_secs(MAX_SKEW)
    }

    /// Notes that a pass of this date is issued: the deny list must keep entries until it has expired.
    pub fn note_pass(&self, issued_at: Timestamp) {
        self.latest_iat.fetch_max(issued_at.secs(), Relaxed);
    }

    /// Whether a pass that we issued is in force now, by the rules for tokens (TOK-5).
    #[must_use]
    pub fn is_pass_in_force(&self, ids: &TokenIds, expires_at: Timestamp) -> bool {
        let is_dated_ahead = ids.issued_at.secs() > self.now().secs() + MAX_SKEW;
        !is_dated_ahead && self.clock.now() < expires_at && self.denylist.check(ids) == TokenStatus::Active
    }
}

#[cfg(test)]
mod tests;

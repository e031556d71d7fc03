//! Access tokens: JWTs (RFC 7519, RFC 9068) that live for minutes.
//!
//! What a token must say is checked here: jsonwebtoken ignores `typ` and `crit`, and takes a missing or
//! wrong-typed claim for an absent one.

use super::{
    denylist::{DenyList, TokenIds, TokenStatus},
    keys::{SigningKeys, is_object},
};
use crate::{
    config,
    domain::{Clock, Permission, Role, Session, SessionId, Timestamp, TokenId, User, UserId},
    keyring::Keyring,
    store::Deny,
};
use data_encoding::BASE64URL_NOPAD;
use secrecy::SecretString;
use serde::{Deserialize, Serialize, de::IgnoredAny};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// Longest token, in bytes (TOK-6).
const MAX_LEN: usize = 4096;
/// `typ` (RFC 9068 §2.1).
const TYPE: &str = "at+jwt";
/// How far ahead of us the issuing clock, which is our own, may have been (TOK-5).
const MAX_SKEW: u64 = 60;

/// Issues and verifies access tokens.
pub struct AccessTokens {
    keys: SigningKeys,
    settings: config::Tokens,
    clock: Clock,
    denylist: Arc<DenyList>,
    /// The latest `iat` there was, in seconds: after the clock was set back, what is revoked must be
    /// remembered until tokens from before have expired too (OPS-7).
    latest: AtomicU64,
}

/// What a token says that we issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedToken {
    /// `sub`
    pub user: UserId,
    /// `sid`
    pub session: SessionId,
    /// `jti`
    pub token: TokenId,
    /// `ver`
    pub version: u32,
    /// `role`, of which nobody believes more than that it is what the user's record says.
    pub role: Role,
    /// `exp`
    pub expires_at: Timestamp,
    /// Whole seconds left of the token.
    pub expires_in: u64,
}

/// Why a bearer token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyError {
    /// Not one of ours.
    Invalid,
    /// Ours, and over since this moment.
    Expired(Timestamp),
    /// Ours, and revoked.
    Revoked,
}

/// What an access token is issued for.
#[derive(Debug)]
pub struct NewToken<'a> {
    /// Its subject.
    pub user: &'a User,
    /// What their role permits.
    pub permissions: &'a [Permission],
    /// Its session, which it never outlives.
    pub session: &'a Session,
    /// The moment that was given, before it was submitted, to the verb that this token follows from.
    pub issued_at: Timestamp,
}

/// An access token and how long it lives.
#[derive(Debug)]
pub struct AccessToken {
    /// The JWT.
    pub token: SecretString,
    /// Whole seconds left of it.
    pub expires_in: u64,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: UserId,
    iat: u64,
    exp: u64,
    jti: TokenId,
    sid: SessionId,
    ver: u32,
    role: &'a Role,
    permissions: &'a [Permission],
}

/// The claims of a token that was presented: all required, each of its type, none twice (TOK-4).
#[derive(Deserialize)]
struct PresentedClaims {
    iss: String,
    aud: String,
    sub: UserId,
    iat: u64,
    exp: u64,
    #[serde(default)]
    nbf: u64,
    jti: TokenId,
    sid: SessionId,
    ver: u32,
    role: Role,
    /// What a role permits is looked up: the configuration may have changed since.
    #[serde(rename = "permissions")]
    _permissions: IgnoredAny,
}

impl PresentedClaims {
    /// What they say at this moment, in seconds.
    fn at(self, now: u64) -> VerifiedToken {
        VerifiedToken {
            user: self.sub,
            session: self.sid,
            token: self.jti,
            version: self.ver,
            role: self.role,
            expires_at: Timestamp::from_secs(self.exp),
            expires_in: self.exp.saturating_sub(now),
        }
    }
}

impl AccessTokens {
    /// Sets up the keys.
    #[must_use]
    pub fn new(keyring: &Keyring, settings: config::Tokens, clock: Clock, denylist: Arc<DenyList>) -> Self {
        Self { keys: SigningKeys::new(&keyring.access, TYPE), settings, clock, denylist, latest: AtomicU64::new(0) }
    }

    /// The moment for a verb that tokens may follow from, to be taken before it is submitted. After
    /// everything issued so far was voided it is the moment of that, if the clock has not come so far.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now().max(self.denylist.not_before())
    }

    /// Issues a token. It is dated by when its verb was given its moment, not by now: whatever was revoked
    /// after the verb has read it is then remembered for longer than the token lives (see
    /// [`super::denylist`]).
    #[must_use]
    pub fn issue(&self, new: &NewToken<'_>) -> AccessToken {
        let NewToken { user, permissions, session, issued_at } = *new;
        let iat = issued_at.secs();
        let latest = self.latest.fetch_max(iat, Relaxed);
        if latest > iat + MAX_SKEW {
            tracing::warn!(seconds = latest - iat, "the clock was set back: tokens from before are refused until it has caught up");
        }
        let exp = iat + self.settings.access_ttl.as_secs().min(session.ends_at.secs().saturating_sub(iat));
        let claims = Claims {
            iss: &self.settings.issuer,
            aud: &self.settings.audience,
            sub: user.id,
            iat,
            exp,
            jti: TokenId::random(),
            sid: session.id,
            ver: user.token_version,
            role: &user.role,
            permissions,
        };
        let token = self.keys.current().sign(&claims).into();
        AccessToken { token, expires_in: exp.saturating_sub(self.clock.now().secs()) }
    }

    /// What a bearer token says, if it is ours, in time and not revoked.
    ///
    /// # Errors
    /// [`VerifyError`]; anything unforeseen is [`VerifyError::Invalid`] (REV-9).
    pub fn verify(&self, token: &str) -> Result<VerifiedToken, VerifyError> {
        let claims = self.genuine(token).ok_or(VerifyError::Invalid)?;
        let now = self.clock.now().secs();
        let leeway = self.settings.clock_tolerance.as_secs();
        if claims.iat > now + MAX_SKEW || claims.nbf > now + leeway {
            return Err(VerifyError::Invalid);
        }
        // RFC 7519 §4.1.4: on or after `exp` it is over.
        if now >= claims.exp + leeway {
            return Err(VerifyError::Expired(Timestamp::from_secs(claims.exp)));
        }
        let ids = TokenIds {
            user: claims.sub,
            version: claims.ver,
            session: claims.sid,
            token: claims.jti,
            issued_at: Timestamp::from_secs(claims.iat),
        };
        if self.denylist.check(&ids) == TokenStatus::Revoked {
            return Err(VerifyError::Revoked);
        }
        Ok(claims.at(now))
    }

    /// What a token of ours says, even one that is over or revoked: it proves which session it is of.
    #[must_use]
    pub fn verify_origin(&self, token: &str) -> Option<VerifiedToken> {
        Some(self.genuine(token)?.at(self.clock.now().secs()))
    }

    /// The claims of a token that we can have issued, whenever that was.
    fn genuine(&self, token: &str) -> Option<PresentedClaims> {
        let claims = self.signed(token)?;
        let life = claims.exp.checked_sub(claims.iat)?;
        let is_ours = claims.iss == self.settings.issuer && claims.aud == self.settings.audience;
        (is_ours && life <= self.settings.access_ttl.as_secs()).then_some(claims)
    }

    /// How what is revoked now is to be remembered: until every token issued so far has expired.
    #[must_use]
    pub fn deny(&self) -> Deny {
        let now = self.clock.now();
        // After the clock was set back, tokens are dated ahead of it.
        let latest = now.max(Timestamp::from_secs(self.latest.load(Relaxed)));
        let not_before = self.denylist.is_full().then(|| {
            tracing::warn!("the deny list is full: every access token issued so far is void, and clients refresh once");
            now.next_second()
        });
        Deny { until: latest.plus(Self::longest_memory(&self.settings)), not_before }
    }

    /// How long a token issued now can be of use to anybody.
    #[must_use]
    pub fn longest_memory(settings: &config::Tokens) -> Duration {
        settings.access_ttl + settings.clock_tolerance + Duration::from_secs(MAX_SKEW)
    }

    /// The claims of a token that one of our keys signed. Size and parts come first, then the header
    /// and the signature; nothing else is decoded of a token that is not ours (TOK-6). Each part is
    /// held to the base64url alphabet, without padding, by its decoder.
    fn signed(&self, token: &str) -> Option<PresentedClaims> {
        let (message, signature) = token.rsplit_once('.').filter(|_| token.len() <= MAX_LEN)?;
        let (header, claims) = message.split_once('.').filter(|(_, claims)| !claims.contains('.'))?;
        let key = self.keys.of_header(header)?;
        let claims = key.has_signed(message, signature).then(|| BASE64URL_NOPAD.decode(claims.as_bytes()).ok())??;
        is_object(&claims).then(|| serde_json::from_slice(&claims).ok())?
    }
}

/// What a token says, for a person to read. Nothing of it is verified.
///
/// # Errors
/// When it is not made of two base64url parts of JSON and a signature.
pub fn inspect(token: &str) -> Result<(serde_json::Value, serde_json::Value), &'static str> {
    let parts: Vec<_> = token.trim().split('.').collect();
    let [header, claims, _signature] = parts[..] else { return Err("a JWT has three parts with dots between them") };
    let decode = |part: &str| {
        let bytes = BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| "a part is not base64url")?;
        serde_json::from_slice(&bytes).map_err(|_| "a part is not JSON")
    };
    Ok((decode(header)?, decode(claims)?))
}

#[cfg(test)]
mod tests;

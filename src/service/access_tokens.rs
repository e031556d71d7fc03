//! Access tokens: JWTs (RFC 7519, RFC 9068) that live for minutes. The only place that names
//! jsonwebtoken (I1).
//!
//! jsonwebtoken issues them. What a token must say is checked here, because the crate ignores `typ`
//! and `crit`, and takes a missing or wrong-typed claim for an absent one; and its signature by a key
//! that was set up once, which the crate has no way to keep.

use super::{
    mac::MacKey,
    revocation::{Claim, Revocation, Verdict},
};
use crate::{
    config,
    domain::{Clock, Permission, Role, Session, SessionId, Timestamp, TokenId, User, UserId},
    keyring::{self, Keyring},
};
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{EncodingKey, Header};
use secrecy::ExposeSecret;
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
/// Longest encoded header: ours have some 80 bytes.
const MAX_HEADER_LEN: usize = 256;
/// `typ` (RFC 9068 §2.1).
const TYPE: &str = "at+jwt";
/// How far ahead of us the issuing clock, which is our own, may have been (TOK-5).
const MAX_SKEW: u64 = 60;

/// Issues and verifies access tokens.
pub struct AccessTokens {
    keys: Vec<SigningKey>,
    settings: config::Tokens,
    clock: Clock,
    revocation: Arc<Revocation>,
    /// The latest `iat` there was, in seconds: after the clock was set back, what is revoked must be
    /// remembered until tokens from before have expired too (OPS-7).
    latest: AtomicU64,
}

struct SigningKey {
    header: Header,
    /// The header as it stands in every token.
    encoded_header: String,
    encoding: EncodingKey,
    mac: MacKey,
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
pub enum Rejected {
    /// Not one of ours.
    Invalid,
    /// Ours, and over since this moment.
    Expired(Timestamp),
    /// Ours, and revoked.
    Revoked,
}

/// An access token and how long it lives.
#[derive(Debug)]
pub struct Issued {
    /// The JWT.
    pub token: String,
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
    /// What a role permits is looked up: the configuration may have changed since (SPEC §7).
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

/// A header with nothing in it that we do not write: no `crit`, `b64`, `jku`, `jwk`, `x5u` … (TOK-3).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PresentedHeader {
    alg: String,
    typ: String,
    kid: String,
}

impl AccessTokens {
    /// Sets up the keys.
    #[must_use]
    pub fn new(keyring: &Keyring, settings: config::Tokens, clock: Clock, revocation: Arc<Revocation>) -> Self {
        Self { keys: keyring.access.iter().map(SigningKey::new).collect(), settings, clock, revocation, latest: AtomicU64::new(0) }
    }

    /// Issues a token for a session. It never outlives the session.
    ///
    /// # Panics
    /// Never: an HMAC key signs anything.
    #[must_use]
    pub fn issue(&self, user: &User, permissions: &[Permission], session: &Session) -> Issued {
        let now = self.clock.now().secs();
        let latest = self.latest.fetch_max(now, Relaxed);
        if latest > now + MAX_SKEW {
            tracing::warn!(seconds = latest - now, "the clock was set back: tokens from before are refused until it has caught up");
        }
        let exp = now + self.settings.access_ttl.as_secs().min(session.ends_at.secs().saturating_sub(now));
        let claims = Claims {
            iss: &self.settings.issuer,
            aud: &self.settings.audience,
            sub: user.id,
            iat: now,
            exp,
            jti: TokenId::random(),
            sid: session.id,
            ver: user.version,
            role: &user.role,
            permissions,
        };
        let key = self.keys.first().expect("a ring has at least one key");
        let token = jsonwebtoken::encode(&key.header, &claims, &key.encoding).expect("an HMAC key signs any claims");
        Issued { token, expires_in: exp.saturating_sub(now) }
    }

    /// What a bearer token says, if it is ours, in time and not revoked.
    ///
    /// # Errors
    /// [`Rejected`]; anything unforeseen is [`Rejected::Invalid`] (REV-9).
    pub fn verify(&self, token: &str) -> Result<VerifiedToken, Rejected> {
        let claims = self.genuine(token).ok_or(Rejected::Invalid)?;
        let now = self.clock.now().secs();
        let leeway = self.settings.clock_tolerance.as_secs();
        if claims.iat > now + MAX_SKEW || claims.nbf > now + leeway {
            return Err(Rejected::Invalid);
        }
        // RFC 7519 §4.1.4: on or after `exp` it is over.
        if now >= claims.exp + leeway {
            return Err(Rejected::Expired(Timestamp::from_secs(claims.exp)));
        }
        match self.revocation.judge(&Claim { user: claims.sub, version: claims.ver, session: claims.sid, token: claims.jti }) {
            Verdict::Good => {}
            Verdict::Revoked => return Err(Rejected::Revoked),
            Verdict::Unheard => return Err(Rejected::Invalid),
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

    /// Until when a revocation must be remembered: when every token issued so far has expired.
    #[must_use]
    pub fn last_expiry(&self) -> Timestamp {
        // After the clock was set back, tokens are dated ahead of it.
        let latest = self.clock.now().max(Timestamp::from_secs(self.latest.load(Relaxed)));
        latest.plus(Self::longest_memory(&self.settings))
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
        let key = self.key_of(header)?;
        let claims = key.has_signed(message, signature).then(|| BASE64URL_NOPAD.decode(claims.as_bytes()).ok())??;
        is_object(&claims).then(|| serde_json::from_slice(&claims).ok())?
    }

    /// The key that an encoded header names, if the header says no more than ours do.
    fn key_of(&self, header: &str) -> Option<&SigningKey> {
        // Those we issue are known by sight.
        if let Some(key) = self.keys.iter().find(|key| key.encoded_header == header) {
            return Some(key);
        }
        let short = (header.len() <= MAX_HEADER_LEN).then_some(header)?;
        let json = BASE64URL_NOPAD.decode(short.as_bytes()).ok().filter(|json| is_object(json))?;
        let header: PresentedHeader = serde_json::from_slice(&json).ok()?;
        let media_type = header.typ.to_ascii_lowercase();
        let typed = media_type.strip_prefix("application/").unwrap_or(&media_type) == TYPE;
        // The key says the algorithm, never the token (TOK-1); the token may only agree.
        self.keys.iter().find(|key| typed && key.header.kid.as_ref() == Some(&header.kid) && header.alg == format!("{:?}", key.header.alg))
    }
}

impl SigningKey {
    fn new(key: &keyring::Key) -> Self {
        let mut header = Header::new(jsonwebtoken::Algorithm::HS256);
        header.typ = Some(TYPE.into());
        header.kid = Some(key.id.clone());
        let json = serde_json::to_vec(&header).expect("a header of text is JSON");
        Self {
            encoded_header: BASE64URL_NOPAD.encode(&json),
            header,
            encoding: EncodingKey::from_secret(key.secret.expose_secret()),
            mac: MacKey::new(key),
        }
    }

    /// Whether this is our signature, in base64url, of a message. The crate's `decode` would set up the
    /// key for each token, read its header three times and its claims twice (ADR 12).
    fn has_signed(&self, message: &str, signature: &str) -> bool {
        BASE64URL_NOPAD.decode(signature.as_bytes()).is_ok_and(|tag| self.mac.verify(&[message.as_bytes()], &tag))
    }
}

/// Whether JSON is an object: serde takes an array of the right length for a struct too.
fn is_object(json: &[u8]) -> bool {
    json.trim_ascii_start().starts_with(b"{")
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

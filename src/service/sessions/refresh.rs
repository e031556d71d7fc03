//! The refresh: from the tokens that a request carries to new ones, or to what else they are evidence of.

use super::{Sessions, TokenSet};
use crate::{
    domain::{AddressPrefix, By, Client, Event, Kind, Session, SessionId, Transport, UserId},
    service::{Error, events, refresh_tokens::VerifiedRefreshToken},
    store::{Rotate, Rotated},
};
use secrecy::{ExposeSecret, SecretString};
use std::time::{Duration, Instant};

/// What a request proves of where it comes from, beside its cookies (COK-7).
#[derive(Debug, Clone, Copy)]
pub enum CsrfProof<'a> {
    /// It is not asked: no browser made the request, and the settings ask browsers alone.
    NotAsked,
    /// It is asked, and header and cookie do not agree on a token.
    Missing,
    /// The token that header and cookie agree on, and whether a browser sent it.
    Token {
        /// The token.
        text: &'a str,
        /// Whether a browser made the request.
        is_browser: bool,
    },
}

/// A request's `Idempotency-Key`.
#[derive(Debug, Clone, Copy)]
pub enum RetryKey<'a> {
    /// There is none.
    Absent,
    /// It is none that excuses anything.
    Malformed,
    /// It.
    Key(&'a str),
}

/// The refresh tokens that a request carries, and what else speaks for it.
#[derive(Debug)]
pub struct RequestTokens<'a> {
    /// Those in cookies. Of two, a neighbour has planted one.
    pub cookies: Vec<SecretString>,
    /// That in the body.
    pub body: Option<SecretString>,
    /// Whether a browser made the request.
    pub is_browser: bool,
    /// Whether it comes from a page that is allowed.
    pub csrf: CsrfProof<'a>,
    /// Its `Idempotency-Key`.
    pub retry_key: RetryKey<'a>,
    /// Where it comes from.
    pub client: Client,
    /// When it arrived.
    pub arrived: Instant,
}

impl RequestTokens<'_> {
    /// The one token, and how it came.
    fn single(&self) -> Result<(&SecretString, Transport), Error> {
        match (self.cookies.as_slice(), &self.body) {
            ([_, _, ..], _) => Err(Error::TwoRefreshCookies),
            ([_], Some(_)) => Err(Error::AmbiguousRefreshToken),
            ([token], None) => Ok((token, Transport::Cookie)),
            ([], Some(token)) => Ok((token, Transport::Body)),
            ([], None) => Err(Error::MissingRefreshToken),
        }
    }

    fn all(&self) -> impl Iterator<Item = (&SecretString, Transport)> {
        let cookies = self.cookies.iter().map(|token| (token, Transport::Cookie));
        cookies.chain(self.body.iter().map(|token| (token, Transport::Body)))
    }

    fn key(&self) -> Option<&str> {
        match self.retry_key {
            RetryKey::Key(key) => Some(key),
            RetryKey::Absent | RetryKey::Malformed => None,
        }
    }

    fn from(&self) -> AddressPrefix {
        self.client.ip.into()
    }
}

impl Sessions {
    /// The refresh token in a text, if we issued it, whatever has become of its session.
    #[must_use]
    pub fn verify_refresh_token(&self, token: &SecretString) -> Option<VerifiedRefreshToken> {
        self.refresh_tokens.verify(token.expose_secret())
    }

    /// Whether a request with this token comes from an allowed page, as far as that is asked. Answers whether a
    /// browser has proved it.
    ///
    /// # Errors
    /// [`Error::CsrfFailed`].
    pub fn check_csrf(&self, request: &RequestTokens<'_>, token: &VerifiedRefreshToken) -> Result<bool, Error> {
        match request.csrf {
            CsrfProof::NotAsked => Ok(false),
            CsrfProof::Token { text, is_browser } if self.csrf.verify(token.session, text) => Ok(is_browser),
            CsrfProof::Missing | CsrfProof::Token { .. } => Err(Error::CsrfFailed),
        }
    }

    /// Rotates the refresh token of a request. No limit stands before the verdict on one that is not current:
    /// it is evidence, and ends what it is about (REF-1).
    ///
    /// # Errors
    /// One for each thing a request's tokens can be other than one that is current.
    pub async fn refresh(&self, request: &RequestTokens<'_>) -> Result<TokenSet, Error> {
        let (text, transport) = match request.single() {
            Ok(single) => single,
            Err(error) => {
                self.examine_all(request).await?;
                return Err(error);
            }
        };
        let token = self.verify_refresh_token(text).ok_or(Error::InvalidRefreshToken)?;
        // Only a browser that carried a valid CSRF token is told 409 instead of being treated as a thief when
        // it comes with an old token inside `conflict_window`: its other tab won the race.
        let csrf_verified = match transport {
            Transport::Cookie => self.check_csrf(request, &token)?,
            Transport::Body => false,
        };
        let window = if csrf_verified { self.policy.conflict_window } else { Duration::ZERO };
        let session = match self.live(&token).await {
            Err(Error::SessionEnded) if self.was_just_replaced(request, &token, window) => {
                return Err(self.conflict(token.session, request.from()));
            }
            session => session?,
        };
        if session.generation == token.generation {
            self.check_current(request, &token, &session)?;
        }
        let mut rotate = self.rotation(&session, &token, transport, request)?;
        rotate.conflict_window = window;
        rotate.grace = self.policy.refresh_grace;
        let given = rotate.now;
        match self.store.rotate(rotate).await? {
            Rotated::Rotated(session, user) | Rotated::Replayed(session, user) => self.issue_tokens(user, session, given),
            // A password change put another session in the place of this one while the token was on its way.
            Rotated::Revoked if self.was_just_replaced(request, &token, window) => Err(self.conflict(token.session, request.from())),
            Rotated::Conflict => Err(self.conflict(token.session, request.from())),
            Rotated::Reused => Err(Error::RefreshTokenReused),
            Rotated::Expired => Err(Error::RefreshTokenExpired),
            Rotated::Ahead | Rotated::Revoked => Err(Error::SessionEnded),
            Rotated::OtherTransport => Err(Error::InvalidRefreshToken),
        }
    }

    /// What is asked of a token that is current alone: only who has a good one is told that the key beside it is
    /// none, which excuses nothing.
    fn check_current(&self, request: &RequestTokens<'_>, token: &VerifiedRefreshToken, session: &Session) -> Result<(), Error> {
        if matches!(request.retry_key, RetryKey::Malformed) && self.refresh_tokens.is_current(token, session) {
            return Err(Error::MalformedRetryKey);
        }
        Ok(self.throttle.charge_refresh(session.id)?)
    }

    /// Looks at a refresh token that came along with something else than a refresh. One that was replaced
    /// is evidence wherever it turns up: what it can reach is revoked as if it had been used (REF-1), unless
    /// it is of a race or of a lost answer. Answers with its session, if that goes on.
    ///
    /// # Errors
    /// The store's.
    pub async fn examine(
        &self,
        request: &RequestTokens<'_>,
        token: &VerifiedRefreshToken,
        transport: Transport,
        is_honest: bool,
    ) -> Result<Option<Session>, Error> {
        let Some(session) = self.store.session(token.session).await? else { return Ok(None) };
        if session.generation == token.generation {
            return Ok(Some(session).filter(|session| self.refresh_tokens.is_current(token, session)));
        }
        let mut rotate = self.rotation(&session, token, transport, request)?;
        // One tab may still hold the cookie that another has just replaced.
        rotate.conflict_window = if is_honest { self.policy.conflict_window } else { Duration::ZERO };
        match self.store.rotate(rotate).await? {
            Rotated::Replayed(session, _) => Ok(Some(session)),
            Rotated::Conflict => {
                let _ = self.conflict(session.id, request.from());
                Ok(self.store.session(token.session).await?)
            }
            _ => Ok(None),
        }
    }

    /// Looks at every refresh token of a request that will be refused: each may be evidence.
    async fn examine_all(&self, request: &RequestTokens<'_>) -> Result<(), Error> {
        for (text, transport) in request.all() {
            if let Some(token) = self.verify_refresh_token(text) {
                let csrf_verified = transport == Transport::Cookie && self.check_csrf(request, &token).unwrap_or(false);
                self.examine(request, &token, transport, csrf_verified).await?;
            }
        }
        Ok(())
    }

    /// The session that a login from this browser takes the place of (REF-13), after a look at every cookie.
    /// Cookies that somebody planted do not stop it.
    ///
    /// # Errors
    /// The store's.
    pub async fn replaced_by_login(&self, request: &RequestTokens<'_>) -> Result<Option<SessionId>, Error> {
        let mut replaced = None;
        for text in &request.cookies {
            if let Some(token) = self.verify_refresh_token(text) {
                let session = self.examine(request, &token, Transport::Cookie, request.is_browser).await?;
                replaced = replaced.or(session.map(|session| session.id));
            }
        }
        Ok(replaced)
    }

    /// Whose the session of a refresh token is, current or not.
    ///
    /// # Errors
    /// The store's.
    pub async fn owner_of(&self, token: &VerifiedRefreshToken) -> Result<Option<UserId>, Error> {
        Ok(self.store.session(token.session).await?.map(|session| session.user))
    }

    /// A CSRF token for the session of the request's cookie, if that goes on, and for how many seconds.
    ///
    /// # Errors
    /// [`Error::SessionEnded`], [`Error::RefreshTokenExpired`], [`Error::InvalidRefreshToken`], the store's.
    pub async fn csrf_token(
        &self,
        request: &RequestTokens<'_>,
        token: &VerifiedRefreshToken,
        is_honest: bool,
    ) -> Result<(SecretString, Session, u64), Error> {
        if self.clock.now() >= self.live(token).await?.expires_at {
            return Err(Error::RefreshTokenExpired);
        }
        match self.examine(request, token, Transport::Cookie, is_honest).await? {
            Some(session) => {
                let seconds = session.expires_at.since(self.clock.now()).as_secs();
                Ok((self.csrf.issue(session.id).into(), session, seconds))
            }
            None => self.live(token).await.and(Err(Error::InvalidRefreshToken)),
        }
    }

    /// The rotation that a genuine token of this session asks for, with nothing forgiven but a refresh that is
    /// sent again.
    fn rotation(
        &self,
        session: &Session,
        token: &VerifiedRefreshToken,
        transport: Transport,
        request: &RequestTokens<'_>,
    ) -> Result<Rotate, Error> {
        let is_current = session.generation == token.generation;
        if is_current && !self.refresh_tokens.is_current(token, session) {
            events::write(&Event::new(Kind::PlantedSession, By::Anyone).session(session.id).from(request.from()));
            return Err(Error::InvalidRefreshToken);
        }
        let now = self.access.now();
        let child_expires_at = self.child_expiry(now, session.ends_at);
        // For a token that is not current the child is never written.
        let next = token.generation.checked_add(1).ok_or(Error::SessionEnded)?;
        let child = self.refresh_tokens.hash(&session.token_key, session.id, next, child_expires_at).ok_or(Error::SessionEnded)?;
        Ok(Rotate {
            session: session.id,
            user: session.user,
            generation: token.generation,
            arrived: request.arrived,
            was_current: is_current,
            transport,
            child_expires_at,
            child_hash: child.hash,
            hash_key: child.key,
            client: request.client.clone(),
            now,
            conflict_window: Duration::ZERO,
            grace: Duration::ZERO,
            retry_key: request.key().and_then(|key| self.refresh_tokens.retry_hash(session, token.generation, key)),
            on_reuse: self.policy.on_reuse,
            deny: self.deny(),
        })
    }

    fn was_just_replaced(&self, request: &RequestTokens<'_>, token: &VerifiedRefreshToken, window: Duration) -> bool {
        self.store.was_just_replaced(token.session, token.generation, request.arrived, window, self.clock.now())
    }

    /// A race that was lost. Anybody who holds a token that was replaced just now can lose races without end:
    /// for the log, they are summed.
    fn conflict(&self, session: SessionId, from: AddressPrefix) -> Error {
        if self.refusals.is_first(Kind::RefreshConflict, from) {
            events::write(&Event::new(Kind::RefreshConflict, By::Anyone).session(session).from(from));
        }
        Error::RefreshConflict
    }
}

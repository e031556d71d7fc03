//! The refresh: rotates the refresh token of a request, and detects tokens that are used again (REF-1).

use super::{Sessions, TokenSet};
use crate::{
    domain::{AddressPrefix, By, Client, Event, Kind, Session, SessionId, Transport, User, UserId},
    service::{Error, refresh_tokens::VerifiedRefreshToken},
    store::{Authority, KeyRequest, MADE_BY_A_THIEF, Rotate, Rotated},
};
use secrecy::{ExposeSecret, SecretString};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// The CSRF token of a request, which proves that it comes from an allowed page (COK-7).
#[derive(Clone, Copy)]
pub enum CsrfProof<'a> {
    /// None is required: no browser made the request, and the settings require one of browsers only.
    NotRequired,
    /// One is required, but header and cookie do not agree on a token.
    Missing,
    /// Header and cookie agree on this token.
    Token {
        /// The token.
        text: &'a str,
        /// Whether a browser made the request.
        is_browser: bool,
    },
}

/// A request's `Idempotency-Key`.
#[derive(Clone, Copy)]
pub enum RetryKey<'a> {
    /// There is none.
    Absent,
    /// It does not have the required form.
    Malformed,
    /// The key.
    Key(&'a str),
}

/// The refresh tokens of a request, and what the decision on them depends on.
pub struct RequestTokens<'a> {
    /// The refresh tokens in cookies. If there are two, a site on a neighbouring domain has planted one.
    pub cookies: Vec<SecretString>,
    /// The refresh token in the body.
    pub body: Option<SecretString>,
    /// Whether a browser made the request.
    pub is_browser: bool,
    /// Whether it proves that it comes from an allowed page.
    pub csrf: CsrfProof<'a>,
    /// Its `Idempotency-Key`.
    pub retry_key: RetryKey<'a>,
    /// The client that made it.
    pub client: Client,
    /// When it arrived.
    pub arrived: Instant,
}

impl RequestTokens<'_> {
    /// The only token of the request and how it was sent; an error if there is none or more than one.
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

    fn client_prefix(&self) -> AddressPrefix {
        self.client.ip.into()
    }
}

impl Sessions {
    /// Verifies by its tag that we issued a refresh token, whether or not its session goes on.
    #[must_use]
    pub fn verify_refresh_token(&self, token: &SecretString) -> Option<VerifiedRefreshToken> {
        self.refresh_tokens.verify(token.expose_secret())
    }

    /// The session and the user of a refresh token that could be used now; `None` for any other text. Looking at a token that
    /// was replaced proves no theft: it rotates nothing.
    ///
    /// # Errors
    /// The store's.
    pub async fn introspect(&self, token: &SecretString) -> Result<Option<(Session, Arc<User>)>, Error> {
        let Some(token) = self.verify_refresh_token(token) else { return Ok(None) };
        let Some(session) = self.store.session(token.session).await? else { return Ok(None) };
        if !self.refresh_tokens.is_current(&token, &session) || self.clock.now() >= session.expires_at {
            return Ok(None);
        }
        let user = self.store.user(session.user).await?.filter(|user| !user.disabled);
        Ok(user.map(|user| (session, user)))
    }

    /// Checks the CSRF token of a request, if one is required. True if a browser sent a valid one.
    ///
    /// # Errors
    /// [`Error::CsrfFailed`].
    pub fn check_csrf(&self, request: &RequestTokens<'_>, token: &VerifiedRefreshToken) -> Result<bool, Error> {
        match request.csrf {
            CsrfProof::NotRequired => Ok(false),
            CsrfProof::Token { text, is_browser } if self.csrf.verify(token.session, text) => Ok(is_browser),
            CsrfProof::Missing | CsrfProof::Token { .. } => Err(Error::CsrfFailed),
        }
    }

    /// Rotates the refresh token of a request. A token that is not current is decided on before any limit is charged:
    /// it may show a theft, and then its session must end (REF-1).
    ///
    /// # Errors
    /// An error of its own for each reason why the request does not carry exactly one current token.
    pub async fn refresh(&self, request: &RequestTokens<'_>) -> Result<TokenSet, Error> {
        let (text, transport) = match request.single() {
            Ok(single) => single,
            Err(error) => {
                self.detect_reuse_in_all(request).await?;
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
        let session = self.load_unless_replaced(request, &token, window).await?;
        if session.generation == token.generation {
            self.check_current(request, &token, &session)?;
        }
        let mut rotate = self.rotation(&session, &token, transport, request)?;
        (rotate.conflict_window, rotate.grace) = (window, self.policy.refresh_grace);
        let issued_at = rotate.now;
        match self.store.rotate(rotate).await? {
            Rotated::Rotated(session, user) => self.issue_tokens(user, session, issued_at),
            Rotated::Replayed(session, user) => {
                // Each repeat has an access token of its own, so it counts like a refresh; but only once it is known to be
                // no reuse, which no limit may hide.
                self.throttle.charge_refresh(session.id)?;
                self.issue_tokens(user, session, issued_at)
            }
            // A password change replaced this session by another after the request had arrived.
            Rotated::Revoked if self.was_just_replaced(request, &token, window) => Err(self.log_conflict(&token, request)),
            Rotated::Conflict => Err(self.log_conflict(&token, request)),
            Rotated::Reused => Err(Error::RefreshTokenReused),
            Rotated::Expired => Err(Error::RefreshTokenExpired),
            Rotated::Ahead | Rotated::Revoked => Err(Error::SessionEnded),
            Rotated::OtherTransport => Err(Error::InvalidRefreshToken),
        }
    }

    /// The session of a token. If another has just replaced the session, the refresh has lost a race.
    async fn load_unless_replaced(
        &self,
        request: &RequestTokens<'_>,
        token: &VerifiedRefreshToken,
        window: Duration,
    ) -> Result<Session, Error> {
        match self.load(token).await {
            Err(Error::SessionEnded) if self.was_just_replaced(request, token, window) => Err(self.log_conflict(token, request)),
            Err(Error::SessionEnded) => {
                self.end_keys_of_a_thief(token, request).await?;
                Err(Error::SessionEnded)
            }
            session => session,
        }
    }

    /// Checks that apply to the current token only. A malformed `Idempotency-Key` is an error only beside a current
    /// token; beside an old one it is ignored, so that reuse is still detected.
    fn check_current(&self, request: &RequestTokens<'_>, token: &VerifiedRefreshToken, session: &Session) -> Result<(), Error> {
        if matches!(request.retry_key, RetryKey::Malformed) && self.refresh_tokens.is_current(token, session) {
            return Err(Error::MalformedRetryKey);
        }
        Ok(self.throttle.charge_refresh(session.id)?)
    }

    /// Checks a refresh token that came with a request other than a refresh. If the token was replaced, this counts as
    /// reuse and revokes what a refresh with it would revoke (REF-1), except when another refresh has just won a race
    /// (`allow_conflict`) or an answer was lost. Returns the session if it goes on.
    ///
    /// # Errors
    /// The store's.
    pub async fn detect_reuse(
        &self,
        request: &RequestTokens<'_>,
        token: &VerifiedRefreshToken,
        transport: Transport,
        allow_conflict: bool,
    ) -> Result<Option<Session>, Error> {
        let Some(session) = self.store.session(token.session).await? else {
            self.end_keys_of_a_thief(token, request).await?;
            return Ok(None);
        };
        if session.generation == token.generation {
            return Ok(Some(session).filter(|session| self.refresh_tokens.is_current(token, session)));
        }
        let mut rotate = self.rotation(&session, token, transport, request)?;
        // One tab may still hold the cookie that another has just replaced.
        rotate.conflict_window = if allow_conflict { self.policy.conflict_window } else { Duration::ZERO };
        match self.store.rotate(rotate).await? {
            Rotated::Replayed(session, _) => Ok(Some(session)),
            Rotated::Conflict => {
                let _ = self.log_conflict(token, request);
                Ok(self.store.session(token.session).await?)
            }
            _ => Ok(None),
        }
    }

    /// A session that was ended shows no reuse of its tokens any more: a thief could sign out and keep the API keys that they
    /// have made. So a token that was replaced before a key was made in its session ends that key (REF-1).
    async fn end_keys_of_a_thief(&self, token: &VerifiedRefreshToken, request: &RequestTokens<'_>) -> Result<(), Error> {
        for key in self.keys.made_after(token.session, token.generation) {
            let event = Event::new(Kind::ApiKeyRevoked, By::Anyone).target(key.owner).session(token.session).key(key.id.to_string());
            let event = event.why(MADE_BY_A_THIEF).from(request.client_prefix());
            let request = KeyRequest { owner: key.owner, key: key.id, authority: Authority::Operator, event };
            self.store.revoke_api_key(request, self.deny()).await?;
        }
        Ok(())
    }

    /// Checks every refresh token of a request that will be refused: each may show a theft.
    async fn detect_reuse_in_all(&self, request: &RequestTokens<'_>) -> Result<(), Error> {
        for (text, transport) in request.all() {
            if let Some(token) = self.verify_refresh_token(text) {
                let csrf_verified = transport == Transport::Cookie && self.check_csrf(request, &token).unwrap_or(false);
                self.detect_reuse(request, &token, transport, csrf_verified).await?;
            }
        }
        Ok(())
    }

    /// The session of this browser that a login replaces (REF-13). Every cookie is checked for reuse; cookies that
    /// somebody planted do not stop the login.
    ///
    /// # Errors
    /// The store's.
    pub async fn replaced_by_login(&self, request: &RequestTokens<'_>) -> Result<Option<SessionId>, Error> {
        let mut replaced = None;
        for text in &request.cookies {
            if let Some(token) = self.verify_refresh_token(text) {
                let session = self.detect_reuse(request, &token, Transport::Cookie, request.is_browser).await?;
                replaced = replaced.or(session.map(|session| session.id));
            }
        }
        Ok(replaced)
    }

    /// The owner of a refresh token's session, whether or not the token is current.
    ///
    /// # Errors
    /// The store's.
    pub async fn owner_of(&self, token: &VerifiedRefreshToken) -> Result<Option<UserId>, Error> {
        Ok(self.store.session(token.session).await?.map(|session| session.user))
    }

    /// A new CSRF token for the session of the request's cookie, the session, and the seconds until it expires.
    ///
    /// # Errors
    /// [`Error::SessionEnded`], [`Error::RefreshTokenExpired`], [`Error::InvalidRefreshToken`], the store's.
    pub async fn csrf_token(
        &self,
        request: &RequestTokens<'_>,
        token: &VerifiedRefreshToken,
        allow_conflict: bool,
    ) -> Result<(SecretString, Session, u64), Error> {
        if self.clock.now() >= self.load(token).await?.expires_at {
            return Err(Error::RefreshTokenExpired);
        }
        match self.detect_reuse(request, token, Transport::Cookie, allow_conflict).await? {
            Some(session) => {
                let seconds = session.expires_at.since(self.clock.now()).as_secs();
                Ok((self.csrf.issue(session.id).into(), session, seconds))
            }
            None => self.load(token).await.and(Err(Error::InvalidRefreshToken)),
        }
    }

    /// The rotation for a verified token of this session. It has no conflict window and no grace period, which the
    /// caller adds. A refresh that is sent again with the same `Idempotency-Key` is answered again even so (REF-4).
    fn rotation(
        &self,
        session: &Session,
        token: &VerifiedRefreshToken,
        transport: Transport,
        request: &RequestTokens<'_>,
    ) -> Result<Rotate, Error> {
        let is_current = session.generation == token.generation;
        if is_current && !self.refresh_tokens.is_current(token, session) {
            self.store.note(Event::new(Kind::PlantedSession, By::Anyone).session(session.id).from(request.client_prefix()));
            return Err(Error::InvalidRefreshToken);
        }
        let now = self.access.now();
        let child_expires_at = self.child_expiry(now, session.ends_at);
        // For a token that is not current the child is computed but never stored.
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

    /// Logs a lost race and returns its error. The holder of a token that was just replaced can cause these without
    /// end, so only the first of a minute has a line of its own.
    fn log_conflict(&self, token: &VerifiedRefreshToken, request: &RequestTokens<'_>) -> Error {
        let (session, from) = (token.session, request.client_prefix());
        if self.refusals.is_first(Kind::RefreshConflict, from) {
            self.store.note(Event::new(Kind::RefreshConflict, By::Anyone).session(session).from(from));
        }
        Error::RefreshConflict
    }
}

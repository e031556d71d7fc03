//! The gate: who may pass to which app, and the way from the sign-in page to an app's own host.
//!
//! A browser without a pass is sent to `/.doorward/enter` at the app's host, which gives it a nonce and sends it on to the
//! sign-in page with a sealed request. That page asks [`Gatekeeper::enter`] as the user, which answers with a code; at the
//! app's host the code becomes a pass, in the browser with that nonce alone.

mod pass;
mod seal;
mod ticket;

pub use pass::Pass;
pub use ticket::{CODE_TTL, EntryRequest, Nonce, REQUEST_TTL};

use super::{Error, access_tokens::AccessTokens, events::Actor, mac::MacRing, principal::Principal, sessions::Sessions};
use crate::{
    domain::{
        Clock, Kind, Roles, SessionId, User, UserId,
        gate::{App, Gate, Missing, Standing},
        random,
    },
    store::{self, Entry, Store},
};
use parking_lot::Mutex;
use pass::NewPass;
use seal::Seals;
use secrecy::{ExposeSecret, SecretString};
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};
use ticket::{Code, NonceHash};

/// How many passes in a minute a browser is given that keeps none.
const MAX_ROUNDS: usize = 5;

/// Judges who passes the gate.
pub struct Gatekeeper {
    gate: Gate,
    seals: Seals,
    store: Arc<Store>,
    access: Arc<AccessTokens>,
    sessions: Arc<Sessions>,
    roles: Roles,
    pass_ttl: Duration,
    clock: Clock,
    redeemed: Redeemed,
}

/// Who has a pass that is in force.
#[derive(Debug, Clone)]
pub struct Holder {
    /// The user, as their record is now.
    pub user: Arc<User>,
    /// The session that the pass follows from.
    pub session: SessionId,
}

/// The outcome of a request to enter.
#[derive(Debug)]
pub enum Entered {
    /// Go to this address: the app's own host makes a pass of the code in it.
    Go(String),
    /// They may not.
    Missing(Missing, Arc<App>),
    /// The request was not made by us, has expired, or names an app that is no more.
    BadRequest,
    /// The session has ended meanwhile.
    SessionEnded,
}

/// A pass that was just issued.
#[derive(Debug)]
pub struct Issued {
    /// The pass.
    pub pass: SecretString,
    /// The whole seconds that it is good for.
    pub expires_in: u64,
    /// Where at the app to go.
    pub to: String,
}

/// Why a code became no pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotRedeemed {
    /// We did not make it, it was for another app, it has expired or was used before, or its session has ended.
    Invalid,
    /// It is another browser's, or this browser's from before its nonce was replaced. It wanted to go there.
    OtherBrowser(String),
}

impl Gatekeeper {
    /// A gate to these apps.
    #[must_use]
    pub(super) fn new(gate: Gate, keys: MacRing, pass_ttl: Duration, sessions: &Arc<Sessions>) -> Self {
        Self {
            gate,
            seals: Seals(keys),
            store: Arc::clone(&sessions.store),
            access: Arc::clone(&sessions.access),
            sessions: Arc::clone(sessions),
            roles: sessions.roles.clone(),
            pass_ttl,
            clock: sessions.clock.clone(),
            redeemed: Redeemed::default(),
        }
    }

    /// The apps.
    #[must_use]
    pub const fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The roles, by which rules are judged.
    #[must_use]
    pub const fn roles(&self) -> &Roles {
        &self.roles
    }

    /// Who has this pass to an app, if it is in force: judged in memory, like an access token.
    ///
    /// # Errors
    /// The store's, if the user's record is not in memory and cannot be read.
    pub async fn holder_of(&self, app: &App, text: &str) -> Result<Option<Holder>, store::Error> {
        let Some(pass) = Pass::open(&self.seals, app.origin.as_str(), text) else { return Ok(None) };
        // A shorter `gate.pass_ttl` counts for passes from before, too.
        let is_too_long = pass.expires_at.since(pass.ids.issued_at) > self.pass_ttl;
        if is_too_long || !self.access.is_pass_in_force(&pass.ids, pass.expires_at) {
            return Ok(None);
        }
        let user = self.current_user(pass.ids.user, pass.ids.version).await?;
        Ok(user.map(|user| Holder { user, session: pass.ids.session }))
    }

    /// A sealed request to enter an app at `to`, for the browser with this nonce; without one it only says what somebody was
    /// refused.
    #[must_use]
    pub fn request(&self, app: &App, to: String, nonce: Option<&Nonce>) -> String {
        let origin = app.origin.as_str().to_owned();
        let expires_at = self.clock.now().plus(REQUEST_TTL);
        EntryRequest { origin, nonce: nonce.map(Nonce::hash), to, expires_at }.seal(&self.seals)
    }

    /// The app that a request is for and the request, if it is one of ours and has not expired.
    #[must_use]
    pub fn open_request(&self, text: &str) -> Option<(Arc<App>, EntryRequest)> {
        let request = EntryRequest::open(&self.seals, text).filter(|request| self.clock.now() < request.expires_at)?;
        let app = self.gate.apps().iter().find(|app| app.origin.as_str() == request.origin)?;
        Some((Arc::clone(app), request))
    }

    /// Lets a user enter, as their browser has asked at an app. The user's session is looked up in a transaction, so that
    /// what ends it later ends the pass that follows (see [`super::denylist`]).
    ///
    /// # Errors
    /// [`Error::Limited`], and the store's.
    pub async fn enter(&self, actor: Actor<'_>, principal: &Principal, request: &str) -> Result<Entered, Error> {
        let Some((app, request)) = self.open_request(request) else { return Ok(Entered::BadRequest) };
        let user = principal.user();
        if let Err(missing) = app.admit(Standing::of(user), &self.roles) {
            return Ok(Entered::Missing(missing, app));
        }
        let Some(nonce) = request.nonce else {
            // Who was refused at the app has no nonce: what they lack may be a part's to ask for, and the way begins there.
            let path = request.to.split('?').next().unwrap_or_default();
            return Ok(match app.admit_to(path, Standing::of(user), &self.roles) {
                Err(refused) => Entered::Missing(refused.missing, Arc::clone(&app)),
                Ok(()) => Entered::Go(enter_address(&app, &request.to)),
            });
        };
        self.sessions.throttle.charge_entry(user.id)?;
        let issued_at = self.access.now();
        let event = actor.event(Kind::AppEntered).target(user.id).session(principal.session).app(app.name.as_str());
        let lifetime = self.sessions.deny().lifetime;
        let entry = Entry { session: principal.session, user: user.id, version: user.token_version, now: issued_at, lifetime, event };
        let Some(session) = self.store.enter(entry).await? else { return Ok(Entered::SessionEnded) };
        let expires_at = issued_at.plus(self.pass_ttl).min(session.ends_at).min(session.expires_at);
        let pass = NewPass { session: session.id, user: user.id, version: user.token_version, issued_at, expires_at };
        let code = Code { id: random::bytes(), expires_at: self.clock.now().plus(CODE_TTL), nonce, pass, to: request.to };
        let origin = app.origin.as_str();
        Ok(Entered::Go(format!("{origin}/.doorward/done?code={}", code.seal(&self.seals, origin))))
    }

    /// Makes a pass of a code, once, in the browser that began.
    ///
    /// # Errors
    /// [`NotRedeemed`].
    pub async fn redeem(&self, app: &App, code: &str, nonce: Option<&Nonce>) -> Result<Issued, NotRedeemed> {
        let origin = app.origin.as_str();
        let code = Code::open(&self.seals, origin, code).ok_or(NotRedeemed::Invalid)?;
        let now = self.clock.now();
        if now >= code.expires_at || code.expires_at.since(now) > CODE_TTL {
            return Err(NotRedeemed::Invalid);
        }
        if nonce.map(Nonce::hash) != Some(code.nonce) {
            // Whoever began may be another than who has signed in: the code is for neither.
            self.redeemed.is_first(code.id, None);
            return Err(if nonce.is_some() { NotRedeemed::OtherBrowser(code.to) } else { NotRedeemed::Invalid });
        }
        self.access.note_pass(code.pass.issued_at);
        let pass = code.pass.seal(&self.seals, origin);
        // The session may have ended since the code was made.
        let holder = self.holder_of(app, pass.expose_secret()).await.ok().flatten();
        if holder.is_none() || !self.redeemed.is_first(code.id, Some(code.nonce)) {
            return Err(NotRedeemed::Invalid);
        }
        Ok(Issued { pass, expires_in: code.pass.expires_at.secs().saturating_sub(now.secs()), to: code.to })
    }

    /// Whether a browser got one pass after the other in the last minute and kept none.
    #[must_use]
    pub fn is_going_round(&self, nonce: &Nonce) -> bool {
        self.redeemed.count(nonce.hash()) >= MAX_ROUNDS
    }

    async fn current_user(&self, id: UserId, version: u32) -> Result<Option<Arc<User>>, store::Error> {
        let user = self.store.user(id).await?;
        Ok(user.filter(|user| user.token_version == version && !user.disabled))
    }
}

/// Where the way into an app begins.
#[must_use]
pub fn enter_address(app: &App, to: &str) -> String {
    let to: String = url::form_urlencoded::byte_serialize(to.as_bytes()).collect();
    format!("{}/.doorward/enter?to={to}", app.origin.as_str())
}

/// Codes that have become passes, or that another browser has shown, for as long as they would be good. After a restart one might be good again: in the same
/// browser, for the rest of its minute.
#[derive(Default)]
struct Redeemed(Mutex<Codes>);

#[derive(Default)]
struct Codes {
    /// Each with the browser that was given a pass for it, if one was.
    seen: HashMap<[u8; 16], (Option<NonceHash>, Instant)>,
    /// How many there may be before those that are over are forgotten.
    sweep_at: usize,
}

impl Redeemed {
    /// Notes a code. False if it was noted before.
    fn is_first(&self, id: [u8; 16], nonce: Option<NonceHash>) -> bool {
        let mut codes = self.0.lock();
        if codes.seen.len() >= codes.sweep_at {
            codes.seen.retain(|_, (_, at)| at.elapsed() <= CODE_TTL);
            codes.sweep_at = 1024.max(2 * codes.seen.len());
        }
        codes.seen.insert(id, (nonce, Instant::now())).is_none()
    }

    /// How many codes of a browser have become passes in the last minute.
    fn count(&self, nonce: NonceHash) -> usize {
        self.0.lock().seen.values().filter(|(of, at)| *of == Some(nonce) && at.elapsed() <= CODE_TTL).count()
    }
}

#[cfg(test)]
mod tests;

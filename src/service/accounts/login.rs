//! Logging in, and the devices that an account is known by.

use super::Accounts;
use crate::{
    domain::{AddressPrefix, By, Client, Email, Event, Kind, Password, SessionId, Transport, User, UserId},
    service::{
        Error,
        caller::{AccountKey, LoginSource},
        devices::Device,
        events,
        passwords::PasswordMatch,
        sessions::TokenSet,
    },
    store::{SignIn, SignedIn},
};
use secrecy::{ExposeSecret, SecretString};

/// An address in a domain that cannot exist (RFC 2606).
const NOBODY: &str = "nobody@doorward.invalid";

/// Where a login comes from and how its refresh token shall travel.
#[derive(Debug, Clone)]
pub struct LoginContext {
    /// Its client.
    pub client: Client,
    /// How its refresh token shall travel.
    pub transport: Transport,
    /// The session its browser holds already, which a new one replaces (REF-13).
    pub replaces: Option<SessionId>,
    /// The device tokens it holds, of whoever signed in there before.
    pub devices: Vec<SecretString>,
}

/// What a login with the right password comes to.
#[derive(Debug)]
#[non_exhaustive]
pub enum LoginOutcome {
    /// The user is signed in.
    Tokens(Box<TokenSet>),
}

impl Accounts {
    /// Logs a user in. Whatever is wrong, the work and the answer are the same (AUT-1, AUT-2).
    ///
    /// # Errors
    /// [`Error::InvalidCredentials`], [`Error::Limited`], [`Error::Overloaded`], the store's.
    pub async fn login(&self, email: &str, password: &SecretString, context: LoginContext) -> Result<LoginOutcome, Error> {
        let from = AddressPrefix::from(context.client.ip);
        let parsed: Option<Email> = email.parse().ok();
        let name = parsed.as_ref().map_or(email, Email::as_str);
        // What is no address is looked up as one that nobody can have: that takes as long.
        let sought = parsed.clone().unwrap_or_else(|| Email::from_canonical(NOBODY.into()));
        let user = self.store.user_by_email(&sought).await?.filter(|_| parsed.is_some());
        let target = user.as_ref().map(|user| user.id);
        let origin = self.origin(user.as_ref(), from, &context.devices).await?;
        let attempt = self.throttle.charge_login(AccountKey::of(name), origin)?;
        let stored = user.as_ref().map(|user| user.password_hash.clone());
        let matches = self.passwords.verify(attempt.caller(), Password::new(password).ok(), stored).await?;
        if let (Some(user), PasswordMatch::Yes { rehashed }) = (user, matches)
            && !user.disabled
        {
            let session = self.sessions.prepare(user.id, context.transport, context.client);
            let sign_in = SignIn {
                event: Event::new(Kind::LoggedIn, By::User(user.id)).target(user.id).session(session.id).from(from),
                verified_hash: user.password_hash,
                rehashed,
                session: session.clone(),
                replaces: context.replaces,
                max_sessions: self.sessions.max_per_user(),
                deny: self.sessions.deny(),
            };
            if let SignedIn::User(user) = self.store.sign_in(sign_in).await? {
                attempt.refund();
                return Ok(LoginOutcome::Tokens(Box::new(self.sessions.issue_first_tokens(user, session)?)));
            }
        }
        attempt.count_failure();
        // The hash tells the tries on one account together, whether there is such an account or not.
        let account = self.codes.name_hash(name);
        events::write(&Event::new(Kind::LoginFailed, By::Anyone).maybe_target(target).account(account).from(from));
        Err(Error::InvalidCredentials)
    }

    /// Whether one of these device tokens is of this user, in whatever epoch.
    #[must_use]
    pub fn is_device_of(&self, user: UserId, held: &[SecretString]) -> bool {
        self.verified_devices(held).any(|device| device.user == user)
    }

    /// The token of the device that somebody signed in from, and for how many seconds to keep it. In a cookie it
    /// stands with those of others who use that browser; what a body says is for one user alone.
    #[must_use]
    pub fn device_token(&self, user: &User, held: &[SecretString], transport: Transport) -> (SecretString, u64) {
        let now = self.clock.now();
        let token = match transport {
            Transport::Cookie => {
                let lists: Vec<_> = held.iter().map(ExposeSecret::expose_secret).collect();
                self.devices.issue_into(&lists, user.id, user.epoch, now)
            }
            Transport::Body => {
                self.devices.issue(user.id, user.epoch, self.verified_devices(held).find(|device| device.user == user.id), now)
            }
        };
        (token, self.devices.lifetime().as_secs())
    }

    /// Where a try on this account comes from, as the account sees it (LIM-3).
    async fn origin(&self, user: Option<&User>, from: AddressPrefix, held: &[SecretString]) -> Result<LoginSource, Error> {
        let Some(user) = user else {
            // Looking for what nobody has takes as long (AUT-2).
            let _ = self.store.is_used_from(UserId::from_bytes([0; 16]), from, self.clock.now()).await?;
            return Ok(LoginSource::Stranger(from));
        };
        if let Some(device) = self.verified_devices(held).find(|device| device.user == user.id && device.epoch == user.epoch) {
            return Ok(LoginSource::KnownDevice(device, from));
        }
        let is_known = self.store.is_used_from(user.id, from, self.clock.now()).await?;
        Ok(if is_known { LoginSource::KnownPrefix(from) } else { LoginSource::Stranger(from) })
    }

    fn verified_devices(&self, held: &[SecretString]) -> impl Iterator<Item = Device> {
        let now = self.clock.now();
        held.iter().flat_map(move |list| self.devices.verify_all(list.expose_secret(), now))
    }
}

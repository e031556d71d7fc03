//! Logging in, and the devices that an account knows.

use super::Accounts;
use crate::{
    domain::{AddressPrefix, By, Client, Email, Event, Kind, Password, SessionId, Transport, User, UserId},
    service::{
        Error,
        caller::{AccountKey, LoginSource},
        devices::Device,
        passwords::PasswordMatch,
        sessions::TokenSet,
    },
    store::{LoggedIn, Login},
};
use secrecy::{ExposeSecret, SecretString};

/// An address that no account can have: its domain cannot exist (RFC 2606).
const ABSENT_ADDRESS: &str = "nobody@doorward.invalid";

/// Where a login comes from and how its refresh token is to be sent.
#[derive(Debug, Clone)]
pub struct LoginContext {
    /// The client that logs in.
    pub client: Client,
    /// How the refresh token is to be sent.
    pub transport: Transport,
    /// The session that the browser has already, which the new one replaces (REF-13).
    pub replaces: Option<SessionId>,
    /// The client's device tokens, of all users who have logged in from it before.
    pub devices: Vec<SecretString>,
}

/// The outcome of a login with the right password.
#[derive(Debug)]
#[non_exhaustive]
pub enum LoginOutcome {
    /// The user is logged in.
    Tokens(Box<TokenSet>),
}

impl Accounts {
    /// Logs a user in. Every refusal takes the same work and has the same answer, whatever is wrong (AUT-1, AUT-2).
    ///
    /// # Errors
    /// [`Error::InvalidCredentials`], [`Error::Limited`], [`Error::Overloaded`], the store's.
    pub async fn login(&self, email: &str, password: &SecretString, context: LoginContext) -> Result<LoginOutcome, Error> {
        let from = AddressPrefix::from(context.client.ip);
        let parsed: Option<Email> = email.parse().ok();
        let name = parsed.as_ref().map_or(email, Email::as_str);
        // A name that is no e-mail address is replaced by one that nobody can have, parsed and looked up like any other.
        let lookup = parsed.clone().or_else(|| ABSENT_ADDRESS.parse().ok()).ok_or(Error::InvalidCredentials)?;
        let user = self.store.user_by_email(&lookup).await?.filter(|user| parsed.is_some() && user.is_person());
        let target = user.as_ref().map(|user| user.id);
        let source = self.login_source(user.as_ref(), from, &context.devices).await?;
        let attempt = self.throttle.charge_login(AccountKey::of(name), source)?;
        let stored = user.as_ref().map(|user| user.password_hash.clone());
        let matches = self.passwords.verify(attempt.caller(), Password::new(password).ok(), stored).await?;
        if let (Some(user), PasswordMatch::Yes { rehashed }) = (user, matches)
            && !user.disabled
        {
            let session = self.sessions.new_session(user.id, context.transport, context.client);
            let login = Login {
                event: Event::new(Kind::LoggedIn, By::User(user.id)).target(user.id).session(session.id).from(from),
                verified_hash: user.password_hash,
                rehashed,
                session: session.clone(),
                replaces: context.replaces,
                max_sessions: self.sessions.max_per_user(),
                deny: self.sessions.deny(),
            };
            if let LoggedIn::User(user) = self.store.login(login).await? {
                attempt.refund();
                return Ok(LoginOutcome::Tokens(Box::new(self.sessions.issue_first_tokens(user, session)?)));
            }
        }
        attempt.count_failure();
        // The hash lets the log show which failures were on the same account, whether or not it exists.
        let account = self.codes.name_hash(name);
        self.store.note(Event::new(Kind::LoginFailed, By::Anyone).maybe_target(target).account(account).from(from));
        Err(Error::InvalidCredentials)
    }

    /// Whether one of these device tokens is of this user. One from an earlier epoch counts too.
    #[must_use]
    pub fn is_device_of(&self, user: UserId, device_tokens: &[SecretString]) -> bool {
        self.verified_devices(device_tokens).any(|device| device.user == user)
    }

    /// A token for the device that a user logged in from, and for how many seconds to keep it. A cookie also keeps
    /// the tokens of other users of that browser; the token in a body is for one user only.
    #[must_use]
    pub fn device_token(&self, user: &User, device_tokens: &[SecretString], transport: Transport) -> (SecretString, u64) {
        let now = self.clock.now();
        let token = match transport {
            Transport::Cookie => {
                let lists: Vec<_> = device_tokens.iter().map(ExposeSecret::expose_secret).collect();
                self.devices.issue_into(&lists, user.id, user.epoch, now)
            }
            Transport::Body => {
                self.devices.issue(user.id, user.epoch, self.verified_devices(device_tokens).find(|device| device.user == user.id), now)
            }
        };
        (token, self.devices.lifetime().as_secs())
    }

    /// Whether the account knows the client of a login, and by what (LIM-3).
    async fn login_source(&self, user: Option<&User>, from: AddressPrefix, device_tokens: &[SecretString]) -> Result<LoginSource, Error> {
        let Some(user) = user else {
            // Without a user the same look-up is made for one that does not exist, so that it takes as long (AUT-2).
            let _ = self.store.is_used_from(UserId::from_bytes([0; 16]), from, self.clock.now()).await?;
            return Ok(LoginSource::Stranger(from));
        };
        if let Some(device) = self.verified_devices(device_tokens).find(|device| device.user == user.id && device.epoch == user.epoch) {
            return Ok(LoginSource::KnownDevice(device, from));
        }
        let is_known = self.store.is_used_from(user.id, from, self.clock.now()).await?;
        Ok(if is_known { LoginSource::KnownPrefix(from) } else { LoginSource::Stranger(from) })
    }

    fn verified_devices(&self, device_tokens: &[SecretString]) -> impl Iterator<Item = Device> {
        let now = self.clock.now();
        device_tokens.iter().flat_map(move |list| self.devices.verify_all(list.expose_secret(), now))
    }
}

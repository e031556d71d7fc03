//! Accounts: registering, signing in, set-up, and one's own password.

mod manage;

pub use super::events::Actor;
use super::{
    Error,
    caller::{AccountKey, Caller, Origin},
    devices::{Device, Devices},
    events::{By, Event, Kind},
    passwords::{Passwords, Verdict, Weakness},
    refresh_tokens::OneTimeCodes,
    sessions::{Grant, Principal, Sessions},
    throttle::{Attempt, Throttle},
};
use crate::{
    config::{self, RegistrationMode},
    domain::{AddressPrefix, Client, Clock, Email, Password, Role, RolePolicy, Roles, SessionId, Transport, User, UserId},
    store::{Admission, Created, NewAccount, PasswordChange, SignIn, SignedIn, Store},
};
use secrecy::{ExposeSecret, SecretString};
use std::{sync::Arc, time::Duration};

/// How long a set-up link is good (AUT-11).
const SETUP_TTL: Duration = Duration::from_secs(60 * 60);

/// An address in a domain that cannot exist (RFC 2606).
const NOBODY: &str = "nobody@doorward.invalid";

/// The use cases of accounts.
pub struct Accounts {
    store: Arc<Store>,
    sessions: Arc<Sessions>,
    passwords: Passwords,
    codes: OneTimeCodes,
    devices: Devices,
    throttle: Arc<Throttle>,
    roles: Roles,
    /// Who may give which role.
    policy: RolePolicy,
    mode: RegistrationMode,
    registration: config::Registration,
    clock: Clock,
}

/// What accounts are made of.
pub struct Parts {
    /// The store.
    pub store: Arc<Store>,
    /// Sessions.
    pub sessions: Arc<Sessions>,
    /// Passwords.
    pub passwords: Passwords,
    /// Set-up tokens and invitation codes.
    pub codes: OneTimeCodes,
    /// Device tokens.
    pub devices: Devices,
    /// The limits.
    pub throttle: Arc<Throttle>,
    /// `[roles]`
    pub roles: Roles,
    /// `[registration]`
    pub registration: config::Registration,
    /// Who may register.
    pub mode: RegistrationMode,
    /// The clock.
    pub clock: Clock,
}

/// Where a request comes from and how its refresh token shall travel.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// Its client.
    pub client: Client,
    /// How its refresh token shall travel.
    pub transport: Transport,
    /// The session its browser holds already, which a new one replaces (REF-13).
    pub replaces: Option<SessionId>,
    /// The device tokens it holds, of whoever signed in there before.
    pub devices: Vec<SecretString>,
}

impl Accounts {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { store, sessions, passwords, codes, devices, throttle, roles, registration, mode, clock } = parts;
        let policy = roles.policy(&registration.default_role);
        Self { store, sessions, passwords, codes, devices, throttle, roles, policy, mode, registration, clock }
    }

    /// Registers a user and signs them in.
    ///
    /// # Errors
    /// [`Error::RegistrationClosed`], [`Error::WeakPassword`], [`Error::EmailTaken`] (after the work of
    /// a hash, AUT-2), [`Error::Limited`], [`Error::Overloaded`], the store's.
    pub async fn register(
        &self,
        email: Email,
        password: Password,
        invite: Option<&SecretString>,
        arrival: Arrival,
    ) -> Result<Grant, Error> {
        let admission = match (self.mode, invite) {
            (RegistrationMode::Closed, _) | (RegistrationMode::Invite, None) => return Err(Error::RegistrationClosed),
            (RegistrationMode::Open, None) => Admission::Open,
            (_, Some(code)) => {
                let (id, hash) = self.codes.invite_hash(code).ok_or(Error::RegistrationClosed)?;
                Admission::Invite(id, hash, self.policy.clone())
            }
        };
        self.passwords.check(&password, &email).map_err(Error::WeakPassword)?;
        let from = AddressPrefix::from(arrival.client.ip);
        let attempt = self.throttle.register(AccountKey::of(email.as_str()), from)?;
        // No hash for a code that was made up; whether it is good is decided when the account is made.
        if let Admission::Invite(id, _, _) = &admission
            && self.store.invite(*id)?.is_none()
        {
            refused(Kind::RegistrationRefused, "the invitation is not good", from);
            return Err(Error::RegistrationClosed);
        }
        self.create(email, password, self.registration.default_role.clone(), admission, arrival, attempt).await
    }

    /// Makes the first admin from a set-up link and signs them in.
    ///
    /// # Errors
    /// [`Error::InvalidSetupToken`], and those of [`Accounts::register`].
    pub async fn set_up(&self, token: &SecretString, email: Email, password: Password, arrival: Arrival) -> Result<Grant, Error> {
        let hash = self.codes.setup_hash(token).ok_or(Error::InvalidSetupToken)?;
        self.passwords.check(&password, &email).map_err(Error::WeakPassword)?;
        let from = AddressPrefix::from(arrival.client.ip);
        let attempt = self.throttle.register(AccountKey::of(email.as_str()), from)?;
        if self.store.has_admin()? {
            refused(Kind::SetUpRefused, "the link is not good", from);
            return Err(Error::InvalidSetupToken);
        }
        self.create(email, password, Role::admin(), Admission::Setup(hash), arrival, attempt).await
    }

    async fn create(
        &self,
        email: Email,
        password: Password,
        role: Role,
        admission: Admission,
        arrival: Arrival,
        attempt: Attempt<'_>,
    ) -> Result<Grant, Error> {
        let user = self.new_user(email, password, role, attempt.caller()).await?;
        let from = AddressPrefix::from(arrival.client.ip);
        let is_setup = matches!(admission, Admission::Setup(_));
        let session = self.sessions.prepare(user.id, arrival.transport, arrival.client);
        let new =
            NewAccount { user, session: Some(session.clone()), replaces: arrival.replaces, admission, remember: self.sessions.remember() };
        match self.store.create_account(new).await? {
            Created::User(user) => {
                let kind = if is_setup { Kind::SetUp } else { Kind::Registered };
                Event::new(kind, By::User(user.id)).target(user.id).session(session.id).role(&user.role).from(from).write();
                self.sessions.grant(user, session)
            }
            Created::EmailTaken => {
                refused(if is_setup { Kind::SetUpRefused } else { Kind::RegistrationRefused }, "the address is taken", from);
                Err(Error::EmailTaken)
            }
            Created::NotAdmitted if is_setup => {
                refused(Kind::SetUpRefused, "the link is not good", from);
                Err(Error::InvalidSetupToken)
            }
            Created::NotAdmitted => {
                refused(Kind::RegistrationRefused, "the invitation is not good", from);
                Err(Error::RegistrationClosed)
            }
        }
    }

    /// Signs a user in. Whatever is wrong, the work and the answer are the same (AUT-1, AUT-2).
    ///
    /// # Errors
    /// [`Error::InvalidCredentials`], [`Error::Limited`], [`Error::Overloaded`], the store's.
    pub async fn sign_in(&self, email: &str, password: &SecretString, arrival: Arrival) -> Result<Grant, Error> {
        let from = AddressPrefix::from(arrival.client.ip);
        let parsed: Option<Email> = email.parse().ok();
        let account = AccountKey::of(parsed.as_ref().map_or(email, Email::as_str));
        // What is no address is looked up as one that nobody can have: that takes as long.
        let sought = parsed.clone().or_else(|| NOBODY.parse().ok());
        let user = sought.map(|email| self.store.user_by_email(&email)).transpose()?.flatten().filter(|_| parsed.is_some());
        let target = user.as_ref().map(|user| user.id);
        let attempt = self.throttle.sign_in(account, self.origin(user.as_ref(), from, &arrival.devices)?)?;
        let stored = user.as_ref().map(|user| user.password_hash.clone());
        let verdict = self.passwords.verify(attempt.caller(), Password::new(password).ok(), stored).await?;
        if let (Some(user), Verdict::Right { rehashed }) = (user, verdict)
            && !user.disabled
        {
            let session = self.sessions.prepare(user.id, arrival.transport, arrival.client);
            let sign_in = SignIn {
                verified_hash: user.password_hash,
                rehashed,
                session: session.clone(),
                replaces: arrival.replaces,
                max_sessions: self.sessions.max_per_user(),
                remember: self.sessions.remember(),
            };
            if let SignedIn::User(user) = self.store.sign_in(sign_in).await? {
                attempt.succeeded();
                Event::new(Kind::LoggedIn, By::User(user.id)).target(user.id).session(session.id).from(from).write();
                return self.sessions.grant(user, session);
            }
        }
        attempt.failed();
        // The hash tells the tries on one account together, whether there is such an account or not.
        let name = self.codes.name_hash(parsed.as_ref().map_or(email, Email::as_str));
        Event::new(Kind::LoginFailed, By::Anyone).maybe_target(target).account(name).from(from).write();
        Err(Error::InvalidCredentials)
    }

    /// Replaces the password of somebody signed in. Every session of theirs ends, whatever they handed out
    /// is void, and a new session begins for who asked (REF-11).
    ///
    /// # Errors
    /// [`Error::InvalidCredentials`] for a wrong current password, which is limited like a sign-in
    /// (AUT-9), but never by what others do; [`Error::WeakPassword`], [`Error::Limited`], [`Error::Overloaded`],
    /// the store's.
    pub async fn change_password(
        &self,
        principal: &Principal,
        current: &SecretString,
        new: Password,
        client: Client,
    ) -> Result<Grant, Error> {
        let user = &principal.user;
        let from = AddressPrefix::from(client.ip);
        let transport = self.store.session(principal.session)?.ok_or(Error::SessionEnded)?.transport;
        self.passwords.check(&new, &user.email).map_err(Error::WeakPassword)?;
        let current = Password::new(current).ok();
        if current.as_ref().is_some_and(|current| current.expose() == new.expose()) {
            return Err(Error::WeakPassword(Weakness::InUse));
        }
        let attempt = self.throttle.change_password(user.id, from)?;
        let caller = attempt.caller();
        match self.passwords.verify(caller.clone(), current, Some(user.password_hash.clone())).await? {
            Verdict::Right { .. } => attempt.succeeded(),
            Verdict::Wrong => {
                attempt.failed();
                Event::new(Kind::PasswordChangeFailed, By::User(user.id)).target(user.id).session(principal.session).from(from).write();
                return Err(Error::InvalidCredentials);
            }
        }
        let new_hash = self.passwords.hash(caller, new).await?;
        let successor = self.sessions.prepare(user.id, transport, client);
        let change = PasswordChange { session: principal.session, verified_hash: user.password_hash.clone(), new_hash, successor };
        let (session, user) = self.store.change_password(change).await?.ok_or(Error::InvalidCredentials)?;
        Event::new(Kind::PasswordChanged, By::User(user.id)).target(user.id).session(session.id).from(from).write();
        self.sessions.grant(user, session)
    }

    /// Whether one of these device tokens is of this user, in whatever epoch.
    #[must_use]
    pub fn is_device_of(&self, user: UserId, held: &[SecretString]) -> bool {
        self.recognised(held).any(|device| device.user == user)
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
            Transport::Body => self.devices.issue(user.id, user.epoch, self.recognised(held).find(|device| device.user == user.id), now),
        };
        (token, self.devices.life().as_secs())
    }

    /// Where a try on this account comes from, as the account sees it (LIM-3).
    fn origin(&self, user: Option<&User>, from: AddressPrefix, held: &[SecretString]) -> Result<Origin, Error> {
        let Some(user) = user else {
            // Looking for what nobody has takes as long (AUT-2).
            let _ = self.store.is_used_from(UserId::from_bytes([0; 16]), from, self.clock.now())?;
            return Ok(Origin::Stranger(from));
        };
        if let Some(device) = self.recognised(held).find(|device| device.user == user.id && device.epoch == user.epoch) {
            return Ok(Origin::KnownDevice(device, from));
        }
        let is_known = self.store.is_used_from(user.id, from, self.clock.now())?;
        Ok(if is_known { Origin::KnownPrefix(from) } else { Origin::Stranger(from) })
    }

    fn recognised(&self, held: &[SecretString]) -> impl Iterator<Item = Device> {
        let now = self.clock.now();
        held.iter().flat_map(move |list| self.devices.recognise_all(list.expose_secret(), now))
    }

    async fn new_user(&self, email: Email, password: Password, role: Role, caller: Caller) -> Result<User, Error> {
        let password_hash = self.passwords.hash(caller, password).await?;
        Ok(User {
            id: UserId::random(),
            email,
            password_hash,
            role,
            disabled: false,
            email_verified: false,
            version: 1,
            epoch: 0,
            created_at: self.clock.now(),
        })
    }
}

fn refused(kind: Kind, why: &'static str, from: AddressPrefix) {
    Event::new(kind, By::Anyone).why(why).from(from).write();
}

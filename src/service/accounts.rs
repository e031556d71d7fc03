//! Accounts: registering, signing in, set-up, passwords, and what admins do to others.

use super::{
    Error,
    access_tokens::Principal,
    devices::{Device, Devices},
    passwords::{Passwords, Verdict},
    refresh_tokens::OneTimeCodes,
    sessions::{Grant, Sessions},
    throttle::{AccountKey, Throttle},
};
use crate::{
    config::{self, RegistrationMode},
    domain::{
        AddressPrefix, Client, Clock, Email, Invite, InviteId, Password, Role, Roles, Session, SessionId, Timestamp, Transport, User,
        UserId,
    },
    store::{Admission, Created, Ended, NewAccount, Permit, SignIn, SignedIn, Store, UserChange},
};
use secrecy::SecretString;
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
    /// The device it says it is.
    pub device: Option<Device>,
}

/// On whose behalf an account is changed.
#[derive(Debug, Clone, Copy)]
pub enum Actor<'a> {
    /// Whoever can run commands on this machine.
    Operator,
    /// Somebody signed in, with this role.
    Role(&'a Role),
}

impl Accounts {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { store, sessions, passwords, codes, devices, throttle, roles, registration, clock } = parts;
        Self { store, sessions, passwords, codes, devices, throttle, roles, registration, clock }
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
        let admission = match (self.registration.mode, invite) {
            (RegistrationMode::Closed, _) | (RegistrationMode::Invite, None) => return Err(Error::RegistrationClosed),
            (RegistrationMode::Open, None) => Admission::Open,
            (_, Some(code)) => {
                let (id, hash) = self.codes.invite_hash(code).ok_or(Error::RegistrationClosed)?;
                Admission::Invite(id, hash)
            }
        };
        self.passwords.check(&password, &email).map_err(Error::WeakPassword)?;
        self.throttle.register(AddressPrefix::from(arrival.client.ip))?;
        self.create(email, password, self.registration.default_role.clone(), admission, arrival).await
    }

    /// Makes the first admin from a set-up link and signs them in.
    ///
    /// # Errors
    /// [`Error::InvalidSetupToken`], and those of [`Accounts::register`].
    pub async fn set_up(&self, token: &SecretString, email: Email, password: Password, arrival: Arrival) -> Result<Grant, Error> {
        let hash = self.codes.setup_hash(token).ok_or(Error::InvalidSetupToken)?;
        self.passwords.check(&password, &email).map_err(Error::WeakPassword)?;
        self.throttle.register(AddressPrefix::from(arrival.client.ip))?;
        self.create(email, password, Role::admin(), Admission::Setup(hash), arrival).await
    }

    async fn create(&self, email: Email, password: Password, role: Role, admission: Admission, arrival: Arrival) -> Result<Grant, Error> {
        let user = self.new_user(email, password, role).await?;
        let from = AddressPrefix::from(arrival.client.ip);
        let session = self.sessions.prepare(user.id, arrival.transport, arrival.client);
        let new =
            NewAccount { user, session: Some(session.clone()), replaces: arrival.replaces, admission, remember: self.sessions.remember() };
        match self.store.create_account(new).await? {
            Created::User(user) => {
                let event = if matches!(admission, Admission::Setup(_)) { "setup" } else { "register" };
                tracing::info!(event, user = %user.id, role = %user.role, %from);
                self.sessions.grant(user, session)
            }
            Created::EmailTaken => Err(Error::EmailTaken),
            Created::NotAdmitted if matches!(admission, Admission::Setup(_)) => Err(Error::InvalidSetupToken),
            Created::NotAdmitted => Err(Error::RegistrationClosed),
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
        let device = arrival.device.filter(|device| user.as_ref().is_some_and(|user| user.id == device.user));
        let attempt = self.throttle.sign_in(account, from, device.as_ref())?;
        let stored = user.as_ref().map(|user| user.password_hash.clone());
        let verdict = self.passwords.verify(Password::new(password).ok(), stored).await?;
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
                tracing::info!(event = "login_ok", user = %user.id, session = %session.id, %from);
                return self.sessions.grant(user, session);
            }
        }
        attempt.failed();
        tracing::info!(event = "login_failed", %from);
        Err(Error::InvalidCredentials)
    }

    /// Replaces the password of somebody signed in; their other sessions end (REF-11).
    ///
    /// # Errors
    /// [`Error::InvalidCredentials`] for a wrong current password, which is limited like a sign-in
    /// (AUT-9); [`Error::WeakPassword`], [`Error::Limited`], [`Error::Overloaded`], the store's.
    pub async fn change_password(
        &self,
        principal: &Principal,
        current: &SecretString,
        new: Password,
        client: Client,
    ) -> Result<Grant, Error> {
        let user = self.store.user(principal.user)?.ok_or(Error::InvalidCredentials)?;
        let session = self.store.session(principal.session)?.ok_or(Error::SessionEnded)?;
        self.passwords.check(&new, &user.email).map_err(Error::WeakPassword)?;
        let attempt = self.throttle.sign_in(AccountKey::of(user.email.as_str()), AddressPrefix::from(client.ip), None)?;
        match self.passwords.verify(Password::new(current).ok(), Some(user.password_hash.clone())).await? {
            Verdict::Right { .. } => attempt.succeeded(),
            Verdict::Wrong => {
                attempt.failed();
                return Err(Error::InvalidCredentials);
            }
        }
        let new_hash = self.passwords.hash(new).await?;
        // The session may have been refreshed meanwhile: it goes on from where it is now.
        loop {
            let session: Session = self.store.session(session.id)?.ok_or(Error::SessionEnded)?;
            let rotate = self.sessions.next_generation(&session, session.generation, session.transport, client.clone())?;
            match self.store.change_password(user.password_hash.clone(), new_hash.clone(), rotate).await? {
                Some((session, user)) => {
                    tracing::info!(event = "password_changed", user = %user.id);
                    return self.sessions.grant(user, session);
                }
                None if self.store.user(user.id)?.is_none_or(|now| now.disabled || now.password_hash != user.password_hash) => {
                    return Err(Error::InvalidCredentials);
                }
                None => {}
            }
        }
    }

    /// The device a token stands for, if it is one of ours.
    #[must_use]
    pub fn device(&self, token: &str) -> Option<Device> {
        self.devices.recognise(token, self.clock.now())
    }

    /// The token of the device that somebody signed in from.
    #[must_use]
    pub fn device_token(&self, user: UserId, known: Option<Device>) -> SecretString {
        self.devices.issue(user, known, self.clock.now())
    }

    /// Adds a user as an operator does: no session, no limit, any role.
    ///
    /// # Errors
    /// [`Error::InvalidRole`], [`Error::WeakPassword`], [`Error::EmailTaken`], [`Error::Overloaded`], the store's.
    pub async fn add(&self, email: Email, password: Password, role: Option<Role>) -> Result<User, Error> {
        let role = role.unwrap_or_else(|| self.registration.default_role.clone());
        self.known(&role)?;
        self.passwords.check(&password, &email).map_err(Error::WeakPassword)?;
        let user = self.new_user(email, password, role).await?;
        let new = NewAccount { user, session: None, replaces: None, admission: Admission::Open, remember: None };
        match self.store.create_account(new).await? {
            Created::User(user) => {
                tracing::info!(event = "user_added", user = %user.id, role = %user.role);
                Ok(user)
            }
            Created::EmailTaken | Created::NotAdmitted => Err(Error::EmailTaken),
        }
    }

    /// Replaces a user's password as an operator does; all their sessions end.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::WeakPassword`], [`Error::Overloaded`], the store's.
    pub async fn reset_password(&self, id: UserId, password: Password) -> Result<User, Error> {
        let user = self.user(id)?;
        self.passwords.check(&password, &user.email).map_err(Error::WeakPassword)?;
        let hash = self.passwords.hash(password).await?;
        let user = done(self.store.set_password(id, hash).await?)?;
        tracing::info!(event = "password_reset", user = %user.id);
        Ok(user)
    }

    /// The user with this id.
    ///
    /// # Errors
    /// [`Error::NotFound`], and the store's.
    pub fn user(&self, id: UserId) -> Result<Arc<User>, Error> {
        self.store.user(id)?.ok_or(Error::NotFound)
    }

    /// The user with this address.
    ///
    /// # Errors
    /// [`Error::NotFound`], and the store's.
    pub fn user_by_email(&self, email: &Email) -> Result<User, Error> {
        self.store.user_by_email(email)?.ok_or(Error::NotFound)
    }

    /// A page of users in order of address, and whether there are more.
    ///
    /// # Errors
    /// The store's.
    pub fn users(&self, prefix: &str, after: Option<&Email>, limit: usize) -> Result<(Vec<User>, bool), Error> {
        let mut users = self.store.users(prefix, after, limit + 1)?;
        let more = users.len() > limit;
        users.truncate(limit);
        Ok((users, more))
    }

    /// Gives a user another role, effective at once (AZ-2).
    ///
    /// # Errors
    /// [`Error::InvalidRole`], [`Error::RoleBeyondReach`], [`Error::NotFound`], [`Error::LastAdmin`], the store's.
    pub async fn set_role(&self, actor: Actor<'_>, id: UserId, role: Role) -> Result<User, Error> {
        self.known(&role)?;
        self.reach(actor, &role)?;
        let user = done(self.store.set_role(self.permit(actor), id, role).await?)?;
        tracing::info!(event = "role_changed", user = %user.id, role = %user.role);
        Ok(user)
    }

    /// Disables or enables a user, effective at once.
    ///
    /// # Errors
    /// [`Error::RoleBeyondReach`], [`Error::NotFound`], [`Error::LastAdmin`], the store's.
    pub async fn set_disabled(&self, actor: Actor<'_>, id: UserId, disabled: bool) -> Result<User, Error> {
        let user = done(self.store.set_disabled(self.permit(actor), id, disabled).await?)?;
        tracing::info!(event = if disabled { "user_disabled" } else { "user_enabled" }, user = %user.id);
        Ok(user)
    }

    /// Deletes a user, effective at once.
    ///
    /// # Errors
    /// [`Error::RoleBeyondReach`], [`Error::NotFound`], [`Error::LastAdmin`], the store's.
    pub async fn delete(&self, actor: Actor<'_>, id: UserId) -> Result<User, Error> {
        let user = done(self.store.delete_user(self.permit(actor), id).await?)?;
        tracing::info!(event = "user_deleted", user = %user.id);
        Ok(user)
    }

    /// Makes an invitation. The code is shown here and never again.
    ///
    /// # Errors
    /// [`Error::InvalidRole`], [`Error::RoleBeyondReach`], the store's.
    pub async fn invite(&self, by: &Principal, role: Option<Role>, expires_in: Duration) -> Result<(Invite, SecretString), Error> {
        let role = role.unwrap_or_else(|| self.registration.default_role.clone());
        self.known(&role)?;
        self.reach(Actor::Role(&by.role), &role)?;
        let (id, now) = (InviteId::random(), self.clock.now());
        let (code, code_hash) = self.codes.invite(id);
        let invite = Invite { id, code_hash, role, created_by: by.user, created_at: now, expires_at: now.plus(expires_in) };
        self.store.create_invite(invite.clone()).await?;
        tracing::info!(event = "invite_created", invite = %id, user = %by.user);
        Ok((invite, code))
    }

    /// The invitations that can still be used.
    ///
    /// # Errors
    /// The store's.
    pub fn invites(&self) -> Result<Vec<Invite>, Error> {
        Ok(self.store.invites(self.clock.now())?)
    }

    /// Withdraws an invitation.
    ///
    /// # Errors
    /// [`Error::NotFound`], and the store's.
    pub async fn withdraw_invite(&self, id: InviteId) -> Result<(), Error> {
        match self.store.delete_invite(id).await? {
            Ended::Done => Ok(()),
            Ended::NotFound => Err(Error::NotFound),
        }
    }

    /// Opens a set-up link in place of any other; `None` when somebody can administer already.
    ///
    /// # Errors
    /// The store's.
    pub async fn open_setup(&self) -> Result<Option<(SecretString, Timestamp)>, Error> {
        let (token, hash) = self.codes.setup();
        let expires_at = self.clock.now().plus(SETUP_TTL);
        Ok(self.store.open_setup(hash, expires_at).await?.then_some((token, expires_at)))
    }

    /// Whether anybody can administer.
    ///
    /// # Errors
    /// The store's.
    pub fn has_admin(&self) -> Result<bool, Error> {
        Ok(self.store.has_admin()?)
    }

    async fn new_user(&self, email: Email, password: Password, role: Role) -> Result<User, Error> {
        let password_hash = self.passwords.hash(password).await?;
        Ok(User { id: UserId::random(), email, password_hash, role, disabled: false, version: 1, created_at: self.clock.now() })
    }

    /// Whether `actor` may manage the user with this id.
    ///
    /// # Errors
    /// [`Error::RoleBeyondReach`], [`Error::NotFound`], the store's.
    pub fn may_manage(&self, actor: Actor<'_>, id: UserId) -> Result<(), Error> {
        self.reach(actor, &self.user(id)?.role)
    }

    /// The same question, for the store to ask where the change is made: the user's role may be
    /// another one by then.
    fn permit(&self, actor: Actor<'_>) -> Permit {
        match actor {
            Actor::Operator => Box::new(|_| true),
            Actor::Role(own) => {
                let (own, roles) = (own.clone(), self.roles.clone());
                Box::new(move |user| roles.covers(&own, &user.role))
            }
        }
    }

    /// The configured role of this name.
    ///
    /// # Errors
    /// [`Error::InvalidRole`].
    pub fn role(&self, name: &str) -> Result<Role, Error> {
        let role = name.parse().ok().filter(|role| self.roles.contains(role));
        role.ok_or_else(|| Error::InvalidRole { allowed: self.roles.names().cloned().collect() })
    }

    fn known(&self, role: &Role) -> Result<(), Error> {
        self.role(role.as_str()).map(drop)
    }

    /// Nobody hands out, or takes from somebody, what they have not themselves (AZ-4).
    fn reach(&self, actor: Actor<'_>, role: &Role) -> Result<(), Error> {
        match actor {
            Actor::Role(own) if !self.roles.covers(own, role) => Err(Error::RoleBeyondReach),
            _ => Ok(()),
        }
    }
}

fn done(change: UserChange) -> Result<User, Error> {
    match change {
        UserChange::Done(user) => Ok(user),
        UserChange::NotFound => Err(Error::NotFound),
        UserChange::LastAdmin => Err(Error::LastAdmin),
        UserChange::NotPermitted => Err(Error::RoleBeyondReach),
    }
}

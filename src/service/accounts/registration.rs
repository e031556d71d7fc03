//! Making an account.

use super::{Accounts, LoginContext};
use crate::{
    config::RegistrationMode,
    domain::{AddressPrefix, By, Email, Event, Kind, Password, Role, ServiceName, User, UserId, UserKind},
    service::{
        Error,
        caller::{AccountKey, Caller},
        events::Actor,
        sessions::TokenSet,
        throttle::Attempt,
    },
    store::{Created, NewAccount, RegistrationProof},
};
use secrecy::SecretString;

impl Accounts {
    /// Registers a user and logs them in.
    ///
    /// # Errors
    /// [`Error::RegistrationClosed`], [`Error::WeakPassword`], [`Error::EmailTaken`] (after the work of
    /// a hash, AUT-2), [`Error::Limited`], [`Error::Overloaded`], the store's.
    pub async fn register(
        &self,
        email: Email,
        password: Password,
        invite: Option<&SecretString>,
        context: LoginContext,
    ) -> Result<TokenSet, Error> {
        let proof = match (self.mode, invite) {
            (RegistrationMode::Closed, _) | (RegistrationMode::Invite, None) => return Err(Error::RegistrationClosed),
            (RegistrationMode::Open, None) => RegistrationProof::Open,
            (_, Some(code)) => {
                let (id, hash) = self.codes.invite_hash(code).ok_or(Error::RegistrationClosed)?;
                RegistrationProof::Invite(id, hash, self.policy.clone())
            }
        };
        self.passwords.check(&password, &email).map_err(Error::WeakPassword)?;
        let from = AddressPrefix::from(context.client.ip);
        let attempt = self.throttle.charge_registration(AccountKey::of(email.as_str()), from)?;
        // Nothing is hashed for a code whose invitation does not exist. Whether the code is valid is decided in the
        // transaction that makes the account.
        if let RegistrationProof::Invite(id, _, _) = &proof
            && self.store.invite(*id).await?.is_none()
        {
            self.note_refusal(Kind::RegistrationRefused, "the invitation is not good", from);
            return Err(Error::RegistrationClosed);
        }
        self.create(email, password, self.registration.default_role.clone(), proof, context, attempt).await
    }

    /// Makes the first admin from a set-up link and logs them in.
    ///
    /// # Errors
    /// [`Error::InvalidSetupToken`], and those of [`Accounts::register`].
    pub async fn set_up(&self, token: &SecretString, email: Email, password: Password, context: LoginContext) -> Result<TokenSet, Error> {
        let hash = self.codes.setup_hash(token).ok_or(Error::InvalidSetupToken)?;
        self.passwords.check(&password, &email).map_err(Error::WeakPassword)?;
        let from = AddressPrefix::from(context.client.ip);
        let attempt = self.throttle.charge_registration(AccountKey::of(email.as_str()), from)?;
        if self.store.has_admin().await? {
            self.note_refusal(Kind::SetUpRefused, "the link is not good", from);
            return Err(Error::InvalidSetupToken);
        }
        self.create(email, password, Role::admin(), RegistrationProof::Setup(hash), context, attempt).await
    }

    async fn create(
        &self,
        email: Email,
        password: Password,
        role: Role,
        proof: RegistrationProof,
        context: LoginContext,
        attempt: Attempt<'_>,
    ) -> Result<TokenSet, Error> {
        let user = self.new_user(email, password, role, attempt.caller()).await?;
        let from = AddressPrefix::from(context.client.ip);
        let is_setup = matches!(proof, RegistrationProof::Setup(_));
        let session = self.sessions.new_session(user.id, context.transport, context.client);
        let kind = if is_setup { Kind::SetUp } else { Kind::Registered };
        let event = Event::new(kind, By::User(user.id)).target(user.id).session(session.id).from(from);
        let (replaces, deny) = (context.replaces, self.sessions.deny());
        let new = NewAccount { user, session: Some(session.clone()), replaces, proof, deny, event };
        match self.store.create_account(new).await? {
            Created::User(user) => self.sessions.issue_first_tokens(user, session),
            Created::EmailTaken => {
                self.note_refusal(if is_setup { Kind::SetUpRefused } else { Kind::RegistrationRefused }, "the address is taken", from);
                Err(Error::EmailTaken)
            }
            Created::Refused if is_setup => {
                self.note_refusal(Kind::SetUpRefused, "the link is not good", from);
                Err(Error::InvalidSetupToken)
            }
            Created::Refused => {
                self.note_refusal(Kind::RegistrationRefused, "the invitation is not good", from);
                Err(Error::RegistrationClosed)
            }
        }
    }

    /// Adds a user for an operator: without a session, without limits and with any role.
    ///
    /// # Errors
    /// [`Error::InvalidRole`], [`Error::WeakPassword`], [`Error::EmailTaken`], [`Error::Overloaded`], the store's.
    pub async fn add(&self, email: Email, password: Password, role: Option<Role>) -> Result<User, Error> {
        let role = role.unwrap_or_else(|| self.registration.default_role.clone());
        self.check_role_exists(&role)?;
        self.passwords.check(&password, &email).map_err(Error::WeakPassword)?;
        let caller = Caller::operator(AccountKey::of(email.as_str()));
        let user = self.new_user(email, password, role, caller).await?;
        let event = Actor::Operator.event(Kind::UserAdded).target(user.id);
        let deny = self.sessions.deny();
        let new = NewAccount { user, session: None, replaces: None, proof: RegistrationProof::Operator, deny, event };
        match self.store.create_account(new).await? {
            Created::User(user) => Ok(user),
            Created::EmailTaken | Created::Refused => Err(Error::EmailTaken),
        }
    }

    /// Adds a service account: it has no password, cannot log in, and acts by its API keys alone.
    ///
    /// # Errors
    /// [`Error::InvalidRole`], [`Error::RoleBeyondReach`], [`Error::EmailTaken`], the store's.
    pub async fn add_service(&self, actor: Actor<'_>, name: &ServiceName, role: Option<Role>) -> Result<User, Error> {
        let role = role.unwrap_or_else(|| self.registration.default_role.clone());
        self.check_role_exists(&role)?;
        self.check_may_grant(actor, &role)?;
        let user = User {
            kind: UserKind::Service,
            id: UserId::random(),
            email: name.address(),
            password_hash: String::new(),
            role,
            disabled: false,
            email_verified: false,
            token_version: 1,
            epoch: 0,
            created_at: self.clock.now(),
        };
        let event = actor.event(Kind::ServiceAdded).target(user.id);
        let (proof, deny) = (RegistrationProof::Service(actor.authority()), self.sessions.deny());
        match self.store.create_account(NewAccount { user, session: None, replaces: None, proof, deny, event }).await? {
            Created::User(user) => Ok(user),
            Created::EmailTaken | Created::Refused => Err(Error::EmailTaken),
        }
    }

    async fn new_user(&self, email: Email, password: Password, role: Role, caller: Caller) -> Result<User, Error> {
        if email.is_of_a_service() {
            return Err(Error::ReservedAddress);
        }
        let password_hash = self.passwords.hash(caller, password).await?;
        Ok(User {
            kind: UserKind::Person,
            id: UserId::random(),
            email,
            password_hash,
            role,
            disabled: false,
            email_verified: false,
            token_version: 1,
            epoch: 0,
            created_at: self.clock.now(),
        })
    }
}

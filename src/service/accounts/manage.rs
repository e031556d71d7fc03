//! What operators and admins do to accounts and invitations.

use super::{Accounts, Actor, SETUP_TTL};
use crate::{
    domain::{AddressPrefix, Email, Invite, InviteId, Password, Role, Timestamp, User, UserId},
    service::{
        Error,
        caller::{AccountKey, Caller},
        events::Kind,
    },
    store::{Admission, Created, Ended, NewAccount, Permit, UserChange},
};
use secrecy::SecretString;
use std::{sync::Arc, time::Duration};

impl Accounts {
    /// Adds a user as an operator does: no session, no limit, any role.
    ///
    /// # Errors
    /// [`Error::InvalidRole`], [`Error::WeakPassword`], [`Error::EmailTaken`], [`Error::Overloaded`], the store's.
    pub async fn add(&self, email: Email, password: Password, role: Option<Role>) -> Result<User, Error> {
        let role = role.unwrap_or_else(|| self.registration.default_role.clone());
        self.known(&role)?;
        self.passwords.check(&password, &email).map_err(Error::WeakPassword)?;
        let caller = Caller::operator(AccountKey::of(email.as_str()));
        let user = self.new_user(email, password, role, caller).await?;
        let new = NewAccount { user, session: None, replaces: None, admission: Admission::Operator, remember: None };
        match self.store.create_account(new).await? {
            Created::User(user) => {
                Actor::Operator.did(Kind::UserAdded).target(user.id).role(&user.role).write();
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
        let hash = self.passwords.hash(Caller::operator(AccountKey::of_user(id)), password).await?;
        let user = done(self.store.set_password(id, hash).await?)?;
        Actor::Operator.did(Kind::PasswordReset).target(user.id).write();
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
        actor.did(Kind::RoleChanged).target(user.id).role(&user.role).write();
        Ok(user)
    }

    /// Disables or enables a user, effective at once.
    ///
    /// # Errors
    /// [`Error::RoleBeyondReach`], [`Error::NotFound`], [`Error::LastAdmin`], the store's.
    pub async fn set_disabled(&self, actor: Actor<'_>, id: UserId, disabled: bool) -> Result<User, Error> {
        let user = done(self.store.set_disabled(self.permit(actor), id, disabled).await?)?;
        actor.did(if disabled { Kind::UserDisabled } else { Kind::UserEnabled }).target(user.id).write();
        Ok(user)
    }

    /// Says whether somebody vouches for a user's address.
    ///
    /// # Errors
    /// [`Error::RoleBeyondReach`], [`Error::NotFound`], the store's.
    pub async fn set_email_verified(&self, actor: Actor<'_>, id: UserId, verified: bool) -> Result<User, Error> {
        let user = done(self.store.set_email_verified(self.permit(actor), id, verified).await?)?;
        actor.did(if verified { Kind::EmailVerified } else { Kind::EmailUnverified }).target(user.id).write();
        Ok(user)
    }

    /// Forgets what was counted against an account's sign-ins, as an operator does.
    ///
    /// # Errors
    /// [`Error::NotFound`], and the store's.
    pub fn unlock(&self, email: &Email) -> Result<User, Error> {
        let user = self.user_by_email(email)?;
        self.throttle.unlock(AccountKey::of(email.as_str()), user.id);
        Actor::Operator.did(Kind::Unlocked).target(user.id).write();
        Ok(user)
    }

    /// Deletes a user, effective at once.
    ///
    /// # Errors
    /// [`Error::RoleBeyondReach`], [`Error::NotFound`], [`Error::LastAdmin`], the store's.
    pub async fn delete(&self, actor: Actor<'_>, id: UserId) -> Result<User, Error> {
        let user = done(self.store.delete_user(self.permit(actor), id).await?)?;
        actor.did(Kind::UserDeleted).target(user.id).write();
        Ok(user)
    }

    /// Makes an invitation, bound to an address or not. The code is shown here and never again.
    ///
    /// # Errors
    /// [`Error::InvalidRole`], [`Error::RoleBeyondReach`], the store's.
    pub async fn invite(
        &self,
        by: &User,
        from: AddressPrefix,
        role: Option<Role>,
        email: Option<Email>,
        expires_in: Duration,
    ) -> Result<(Invite, SecretString), Error> {
        let actor = Actor::User(by, from);
        let role = role.unwrap_or_else(|| self.registration.default_role.clone());
        self.known(&role)?;
        self.reach(actor, &role)?;
        let (id, now) = (InviteId::random(), self.clock.now());
        let (code, code_hash) = self.codes.invite(id);
        let invite = Invite {
            id,
            code_hash,
            role,
            email,
            created_by: by.id,
            maker_epoch: by.epoch,
            created_at: now,
            expires_at: now.plus(expires_in),
        };
        self.store.create_invite(invite.clone()).await?;
        actor.did(Kind::InviteCreated).invite(id).role(&invite.role).write();
        Ok((invite, code))
    }

    /// The invitations that can still be used.
    ///
    /// # Errors
    /// The store's.
    pub fn invites(&self) -> Result<Vec<Invite>, Error> {
        Ok(self.store.invites(self.clock.now(), &self.policy)?)
    }

    /// Withdraws an invitation to a role that the actor may give.
    ///
    /// # Errors
    /// [`Error::RoleBeyondReach`], [`Error::NotFound`], the store's.
    pub async fn withdraw_invite(&self, actor: Actor<'_>, id: InviteId) -> Result<(), Error> {
        let invite = self.store.invite(id)?.ok_or(Error::NotFound)?;
        self.reach(actor, &invite.role)?;
        match self.store.delete_invite(id).await? {
            Ended::Done => {
                actor.did(Kind::InviteWithdrawn).invite(id).write();
                Ok(())
            }
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
        let is_open = self.store.open_setup(hash, expires_at).await?;
        if is_open {
            Actor::Operator.did(Kind::SetUpLinkMade).write();
        }
        Ok(is_open.then_some((token, expires_at)))
    }

    /// Whether anybody can administer.
    ///
    /// # Errors
    /// The store's.
    pub fn has_admin(&self) -> Result<bool, Error> {
        Ok(self.store.has_admin()?)
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
            Actor::User(by, _) => {
                let (own, policy) = (by.role.clone(), self.policy.clone());
                Box::new(move |user| policy.may_give(&own, &user.role))
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
            Actor::User(by, _) if !self.policy.may_give(&by.role, role) => Err(Error::RoleBeyondReach),
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

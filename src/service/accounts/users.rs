//! What operators and admins do to users.

use super::Accounts;
use crate::{
    domain::{Email, Kind, Password, Role, User, UserId},
    service::{
        Error,
        caller::{AccountKey, Caller},
        events::Actor,
    },
    store::{Authorize, ChangeRequest, UserChange},
};
use std::sync::Arc;

impl Accounts {
    /// Replaces a user's password for an operator. All the user's sessions and API keys end.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotAPerson`], [`Error::WeakPassword`], [`Error::Overloaded`], the store's.
    pub async fn reset_password(&self, id: UserId, password: Password) -> Result<User, Error> {
        let user = self.user(id).await?;
        if !user.is_person() {
            return Err(Error::NotAPerson);
        }
        self.passwords.check(&password, &user.email).map_err(Error::WeakPassword)?;
        let hash = self.passwords.hash(Caller::operator(AccountKey::of_user(id)), password).await?;
        into_result(self.store.set_password(self.change_request(Actor::Operator, id, Kind::PasswordReset), hash).await?)
    }

    /// The user with this id.
    ///
    /// # Errors
    /// [`Error::NotFound`], and the store's.
    pub async fn user(&self, id: UserId) -> Result<Arc<User>, Error> {
        self.store.user(id).await?.ok_or(Error::NotFound)
    }

    /// The user with this address.
    ///
    /// # Errors
    /// [`Error::NotFound`], and the store's.
    pub async fn user_by_email(&self, email: &Email) -> Result<User, Error> {
        self.store.user_by_email(email).await?.ok_or(Error::NotFound)
    }

    /// A page of users in order of address, and whether there are more.
    ///
    /// # Errors
    /// The store's.
    pub async fn users(&self, prefix: &str, after: Option<&Email>, limit: usize) -> Result<(Vec<User>, bool), Error> {
        let mut users = self.store.users(prefix, after, limit + 1).await?;
        let more = users.len() > limit;
        users.truncate(limit);
        Ok((users, more))
    }

    /// Gives a user another role, effective at once (AZ-2).
    ///
    /// # Errors
    /// [`Error::InvalidRole`], [`Error::RoleBeyondReach`], [`Error::NotFound`], [`Error::LastAdmin`], the store's.
    pub async fn set_role(&self, actor: Actor<'_>, id: UserId, role: Role) -> Result<User, Error> {
        self.check_role_exists(&role)?;
        self.check_may_grant(actor, &role)?;
        let mut request = self.change_request(actor, id, Kind::RoleChanged);
        request.event = request.event.role(&role);
        into_result(self.store.set_role(request, role, self.policy.clone()).await?)
    }

    /// Disables or enables a user, effective at once.
    ///
    /// # Errors
    /// [`Error::RoleBeyondReach`], [`Error::NotFound`], [`Error::LastAdmin`], the store's.
    pub async fn set_disabled(&self, actor: Actor<'_>, id: UserId, disabled: bool) -> Result<User, Error> {
        let kind = if disabled { Kind::UserDisabled } else { Kind::UserEnabled };
        into_result(self.store.set_disabled(self.change_request(actor, id, kind), disabled).await?)
    }

    /// Sets whether a user's e-mail address counts as verified.
    ///
    /// # Errors
    /// [`Error::RoleBeyondReach`], [`Error::NotFound`], the store's.
    pub async fn set_email_verified(&self, actor: Actor<'_>, id: UserId, verified: bool) -> Result<User, Error> {
        let kind = if verified { Kind::EmailVerified } else { Kind::EmailUnverified };
        into_result(self.store.set_email_verified(self.change_request(actor, id, kind), verified).await?)
    }

    /// Forgets the failed logins of an account, for an operator.
    ///
    /// # Errors
    /// [`Error::NotFound`], and the store's.
    pub async fn unlock(&self, email: &Email) -> Result<User, Error> {
        let user = self.user_by_email(email).await?;
        self.throttle.unlock(AccountKey::of(email.as_str()), user.id);
        self.store.note(Actor::Operator.event(Kind::Unlocked).target(user.id));
        Ok(user)
    }

    /// Deletes a user, effective at once.
    ///
    /// # Errors
    /// [`Error::RoleBeyondReach`], [`Error::NotFound`], [`Error::LastAdmin`], the store's.
    pub async fn delete(&self, actor: Actor<'_>, id: UserId) -> Result<User, Error> {
        into_result(self.store.delete_user(self.change_request(actor, id, Kind::UserDeleted)).await?)
    }

    /// Whether there is a user who can administer.
    ///
    /// # Errors
    /// The store's.
    pub async fn has_admin(&self) -> Result<bool, Error> {
        Ok(self.store.has_admin().await?)
    }

    /// Whether `actor` may manage the user with this id.
    ///
    /// # Errors
    /// [`Error::RoleBeyondReach`], [`Error::NotFound`], the store's.
    pub async fn may_manage(&self, actor: Actor<'_>, id: UserId) -> Result<(), Error> {
        self.check_may_grant(actor, &self.user(id).await?.role)
    }

    /// A change to a user on behalf of `actor`. Whether the actor may make it is checked in the transaction that makes
    /// it, because the user's role may have changed by then.
    fn change_request(&self, actor: Actor<'_>, user: UserId, kind: Kind) -> ChangeRequest {
        let authorize: Authorize = match actor.user() {
            None => Box::new(|_| true),
            Some(by) => {
                let (own, policy) = (by.role.clone(), self.policy.clone());
                Box::new(move |user| policy.may_grant(&own, &user.role))
            }
        };
        ChangeRequest { user, authorize, authority: actor.authority(), deny: self.sessions.deny(), event: actor.event(kind).target(user) }
    }
}

fn into_result(change: UserChange) -> Result<User, Error> {
    match change {
        UserChange::Done(user) => Ok(user),
        UserChange::NotFound => Err(Error::NotFound),
        UserChange::LastAdmin => Err(Error::LastAdmin),
        UserChange::NotPermitted => Err(Error::RoleBeyondReach),
    }
}

//! Changes to users, and what ends with them.

use super::{
    Authority, CommitEvent, Error, Store, Transaction, api_keys,
    authority::Authorize,
    invites::withdraw_beyond,
    rows::{Deny, end_all_sessions, put_user, void_tokens},
    schema::{ACTIVE_ADMINS, USERS, USERS_BY_EMAIL},
    users::other_admin,
};
use crate::domain::{Event, Kind, Role, RolePolicy, User, UserId};

/// The outcome of a change to a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserChange {
    /// The user as changed, or as they were before they were deleted.
    Done(User),
    /// There is no such user.
    NotFound,
    /// The change would have left no enabled admin (AZ-3).
    LastAdmin,
    /// The actor may not manage this user (AZ-4).
    NotPermitted,
}

/// A request to change a user.
pub struct ChangeRequest {
    /// The user.
    pub user: UserId,
    /// Whether the actor may change the user. Checked inside the transaction, because the user's role may have
    /// changed by then.
    pub authorize: Authorize,
    /// On whose authority the change is made.
    pub authority: Authority,
    /// How what is revoked enters the deny list.
    pub deny: Deny,
    /// The event to log when the change is made.
    pub event: Event,
}

/// Which access tokens a change to a user voids.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Voids {
    /// None: access tokens do not carry what was changed.
    Nothing,
    /// All access tokens of the user.
    Tokens,
}

/// What else a change to a user ends.
enum Ends {
    /// Nothing: the user's sessions go on.
    Nothing,
    /// The invitations that the user made and may not make any more. They do not come back with the role.
    InvitesBeyond(RolePolicy),
    /// Every session, and the invitations and device tokens the user made.
    Everything,
    /// All that, and the API keys.
    EverythingAndKeys,
}

impl Ends {
    fn apply(self, t: &mut Transaction<'_>, user: &mut User, deny: Deny, event: &Event) -> Result<(), Error> {
        match self {
            Self::Nothing => Ok(()),
            Self::InvitesBeyond(policy) => withdraw_beyond(t, user, &policy),
            Self::Everything => {
                user.epoch += 1;
                end_all_sessions(t, user.id)
            }
            Self::EverythingAndKeys => {
                user.epoch += 1;
                end_all_sessions(t, user.id)?;
                end_keys(t, user.id, deny, event)
            }
        }
    }
}

/// Revokes the API keys of a user, as a part of what `event` tells.
fn end_keys(t: &mut Transaction<'_>, user: UserId, deny: Deny, event: &Event) -> Result<(), Error> {
    api_keys::end_all(t, user, deny, |key| event.clone().of(Kind::ApiKeyRevoked).key(key.to_string())).map(drop)
}

impl Store {
    /// Gives a user another role. Access tokens issued before are void (AZ-2), sessions go on.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn set_role(&self, request: ChangeRequest, role: Role, policy: RolePolicy) -> Result<UserChange, Error> {
        self.change_user(request, Voids::Tokens, move |user| {
            user.role = role.clone();
            Ends::InvitesBeyond(policy.clone())
        })
        .await
    }

    /// Disables or enables a user. Disabling ends every session and voids every access token (REF-10).
    ///
    /// # Errors
    /// The engine's own.
    pub async fn set_disabled(&self, request: ChangeRequest, disabled: bool) -> Result<UserChange, Error> {
        self.change_user(request, Voids::Tokens, move |user| {
            user.disabled = disabled;
            if disabled { Ends::Everything } else { Ends::Nothing }
        })
        .await
    }

    /// Replaces a password for an operator: every session and API key ends and every access token is void (REF-11).
    ///
    /// # Errors
    /// The engine's own.
    pub async fn set_password(&self, request: ChangeRequest, password_hash: String) -> Result<UserChange, Error> {
        self.change_user(request, Voids::Tokens, move |user| {
            user.password_hash.clone_from(&password_hash);
            Ends::EverythingAndKeys
        })
        .await
    }

    /// Sets whether a user's address counts as verified.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn set_email_verified(&self, request: ChangeRequest, verified: bool) -> Result<UserChange, Error> {
        self.change_user(request, Voids::Nothing, move |user| {
            user.email_verified = verified;
            Ends::Nothing
        })
        .await
    }

    /// Deletes a user and their sessions. The id is never used again (REV-7).
    ///
    /// # Errors
    /// The engine's own.
    pub async fn delete_user(&self, request: ChangeRequest) -> Result<UserChange, Error> {
        let ChangeRequest { user: id, authorize, authority, deny, event } = request;
        self.revoke(move |t| {
            authority.check(t)?;
            let Some(user) = USERS.get(t.reads(), &id)? else { return Ok(UserChange::NotFound) };
            if !authorize(&user) {
                return Ok(UserChange::NotPermitted);
            }
            if user.is_active_admin() && other_admin(t.reads(), Some(id))?.is_none() {
                return Ok(UserChange::LastAdmin);
            }
            end_all_sessions(t, id)?;
            end_keys(t, id, deny, &event)?;
            USERS.delete(t.tx, &id);
            USERS_BY_EMAIL.delete(t.tx, &user.email);
            ACTIVE_ADMINS.delete(t.tx, &id);
            // No token version is valid any more.
            void_tokens(t, id, u32::MAX, deny)?;
            t.emit(CommitEvent::UserChanged(id));
            t.record(event.clone())?;
            Ok(UserChange::Done(user))
        })
        .await
    }

    /// Changes a user. Writes nothing if they are already as they should be.
    async fn change_user(
        &self,
        request: ChangeRequest,
        voids: Voids,
        mut change: impl FnMut(&mut User) -> Ends + Send + 'static,
    ) -> Result<UserChange, Error> {
        let ChangeRequest { user: id, authorize, authority, deny, event } = request;
        self.revoke(move |t| {
            authority.check(t)?;
            let Some(before) = USERS.get(t.reads(), &id)? else { return Ok(UserChange::NotFound) };
            if !authorize(&before) {
                return Ok(UserChange::NotPermitted);
            }
            let mut user = before.clone();
            let ends = change(&mut user);
            if before.is_active_admin() && !user.is_active_admin() && other_admin(t.reads(), Some(id))?.is_none() {
                return Ok(UserChange::LastAdmin);
            }
            if user == before {
                return Ok(UserChange::Done(user));
            }
            t.record(event.clone())?;
            if voids == Voids::Tokens {
                user.token_version += 1;
                void_tokens(t, id, user.token_version, deny)?;
            }
            ends.apply(t, &mut user, deny, &event)?;
            put_user(t, &user)?;
            Ok(UserChange::Done(user))
        })
        .await
    }
}

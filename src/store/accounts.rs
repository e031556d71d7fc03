//! Verbs on accounts. The e-mail index and the count of admins live in the same transaction as the row.

use super::{
    Change, Error, Store, Transaction,
    engine::Reads,
    schema::{ACTIVE_ADMINS, INVITES, SETUP, Setup, USERS, USERS_BY_EMAIL},
    sessions::{Remember, begin_session, end_all_of},
    standings,
};
use crate::domain::{Email, Invite, InviteId, Role, RolePolicy, Session, Timestamp, User, UserId};
use std::{
    ops::ControlFlow,
    sync::{Arc, LazyLock},
};
use subtle::ConstantTimeEq;

/// A row like any other, which is nobody's and nowhere stored.
static NOBODY: LazyLock<(UserId, Vec<u8>)> = LazyLock::new(|| {
    let user = User {
        id: UserId::from_bytes([0; 16]),
        email: Email::from_canonical("nobody@doorward.invalid".into()),
        // As long as a PHC string.
        password_hash: "x".repeat(88),
        role: "viewer".parse().expect("a name"),
        disabled: false,
        email_verified: false,
        version: 0,
        epoch: 0,
        created_at: Timestamp::from_secs(0),
    };
    let sealed = USERS.seal(&user.id, &user).expect("a row within its limit");
    (user.id, sealed)
});

/// What entitles somebody to a new account; used up in the transaction that makes it (AUT-12).
#[derive(Debug, Clone)]
pub enum Admission {
    /// Nothing is needed: registration is open.
    Open,
    /// An operator makes it, and vouches for its address.
    Operator,
    /// A single-use invitation, by the keyed hash of its code. What its maker may give away now is in
    /// this policy.
    Invite(InviteId, [u8; 32], RolePolicy),
    /// The set-up link, by the keyed hash of its token; only while there is no admin (AUT-11).
    Setup([u8; 32]),
}

/// An account to make, with the session it begins with, if any.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// The account. An invitation's role replaces its own.
    pub user: User,
    /// The first session.
    pub session: Option<Session>,
    /// A session that this browser held before; it ends (REF-13).
    pub replaces: Option<crate::domain::SessionId>,
    /// What entitles to it.
    pub admission: Admission,
    /// Until when the replaced session is remembered.
    pub remember: Remember,
}

/// What became of a [`NewAccount`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// It exists.
    User(User),
    /// Somebody has that address (AUT-3).
    EmailTaken,
    /// The invitation or set-up link is unknown, used or expired.
    NotAdmitted,
}

/// What became of a change to a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserChange {
    /// The user as it now is, or last was.
    Done(User),
    /// There is no such user.
    NotFound,
    /// It would have left nobody to administer (AZ-3).
    LastAdmin,
    /// Whoever asked may not manage this user (AZ-4).
    NotPermitted,
}

/// Whether a user as they are when the change is made may be changed by whoever asks for it.
pub type Permit = Box<dyn Fn(&User) -> bool + Send>;

/// What a change to a user costs them.
enum Cost {
    /// Nothing: no token says what was changed.
    Nothing,
    /// Every access token is void; sessions go on.
    Tokens,
    /// Every session ends, and whatever they handed out is void.
    Everything,
}

impl Store {
    /// Makes an account: user, e-mail index, session and the admission's use, together.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn create_account(&self, new: NewAccount) -> Result<Created, Error> {
        self.transact(move |t| {
            let NewAccount { mut user, session, replaces, admission, remember } = new.clone();
            match admission {
                Admission::Open => {}
                Admission::Operator => user.email_verified = true,
                Admission::Invite(id, ref code_hash, ref policy) => match INVITES.get(t.reads(), &id)? {
                    Some(invite)
                        if same(&invite.code_hash, code_hash)
                            && user.created_at < invite.expires_at
                            && invite.email.as_ref().is_none_or(|email| *email == user.email)
                            && is_in_force(t.reads(), &invite, policy)? =>
                    {
                        user.email_verified = invite.email.is_some();
                        user.role = invite.role;
                    }
                    _ => return Ok(Created::NotAdmitted),
                },
                Admission::Setup(ref token_hash) => match SETUP.get(t.reads(), &())? {
                    Some(setup)
                        if same(&setup.token_hash, token_hash) && user.created_at < setup.expires_at && other_admin(t, None)?.is_none() =>
                    {
                        user.email_verified = true;
                    }
                    _ => return Ok(Created::NotAdmitted),
                },
            }
            if USERS_BY_EMAIL.get(t.reads(), &user.email)?.is_some() {
                return Ok(Created::EmailTaken);
            }
            // Used up only by an account that is made: a taken address leaves the invitation good.
            match admission {
                Admission::Open | Admission::Operator => {}
                Admission::Invite(id, ..) => INVITES.delete(t.tx, &id),
                Admission::Setup(_) => SETUP.delete(t.tx, &()),
            }
            USERS_BY_EMAIL.put(t.tx, &user.email, &user.id)?;
            put_user(t, &user)?;
            if let Some(session) = session {
                begin_session(t, &session, replaces, remember)?;
            }
            Ok(Created::User(user))
        })
        .await
    }

    /// The user with this id; from memory, if they were asked for a while ago.
    ///
    /// # Errors
    /// The engine's own, and [`Error::Corrupt`].
    pub fn user(&self, id: UserId) -> Result<Option<Arc<User>>, Error> {
        self.recent.get(id, || USERS.get(self.reads(), &id))
    }

    /// The user with this address.
    ///
    /// # Errors
    /// The engine's own, and [`Error::Corrupt`].
    pub fn user_by_email(&self, email: &Email) -> Result<Option<User>, Error> {
        match USERS_BY_EMAIL.get(self.reads(), email)? {
            Some(id) => USERS.get(self.reads(), &id),
            // Finding nobody takes as long as finding somebody (AUT-2).
            None => {
                let (id, sealed) = &*NOBODY;
                USERS.rehearse(self.reads(), id, sealed).map(|()| None)
            }
        }
    }

    /// Up to `limit` users whose address begins with `prefix`, in order of address, after `after`.
    ///
    /// # Errors
    /// The engine's own, and [`Error::Corrupt`].
    pub fn users(&self, prefix: &str, after: Option<&Email>, limit: usize) -> Result<Vec<User>, Error> {
        let mut ids = Vec::new();
        USERS_BY_EMAIL.scan(self.reads(), prefix.as_bytes(), after, |_, id| {
            ids.push(id);
            if ids.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        // A user deleted since the scan is simply no longer listed.
        ids.into_iter().filter_map(|id| USERS.get(self.reads(), &id).transpose()).collect()
    }

    /// Whether anybody can administer.
    ///
    /// # Errors
    /// The engine's own.
    pub fn has_admin(&self) -> Result<bool, Error> {
        let mut found = false;
        ACTIVE_ADMINS.scan(self.reads(), &[], None, |_, ()| {
            found = true;
            ControlFlow::Break(())
        })?;
        Ok(found)
    }

    /// Gives a user another role; tokens issued before are void (AZ-2), sessions live on.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn set_role(&self, permit: Permit, id: UserId, role: Role) -> Result<UserChange, Error> {
        self.change_user(permit, id, move |user| {
            user.role = role.clone();
            Cost::Tokens
        })
        .await
    }

    /// Disables or enables a user. Disabling ends every session and voids every token (REF-10).
    ///
    /// # Errors
    /// The engine's own.
    pub async fn set_disabled(&self, permit: Permit, id: UserId, disabled: bool) -> Result<UserChange, Error> {
        self.change_user(permit, id, move |user| {
            user.disabled = disabled;
            if disabled { Cost::Everything } else { Cost::Tokens }
        })
        .await
    }

    /// Replaces a password as an operator does: every session ends, every token is void (REF-11).
    ///
    /// # Errors
    /// The engine's own.
    pub async fn set_password(&self, id: UserId, password_hash: String) -> Result<UserChange, Error> {
        self.change_user(Box::new(|_| true), id, move |user| {
            user.password_hash.clone_from(&password_hash);
            Cost::Everything
        })
        .await
    }

    /// Says whether somebody vouches for a user's address.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn set_email_verified(&self, permit: Permit, id: UserId, verified: bool) -> Result<UserChange, Error> {
        self.change_user(permit, id, move |user| {
            user.email_verified = verified;
            Cost::Nothing
        })
        .await
    }

    /// Deletes a user with everything that is theirs. The id is never used again (REV-7).
    ///
    /// # Errors
    /// The engine's own.
    pub async fn delete_user(&self, permit: Permit, id: UserId) -> Result<UserChange, Error> {
        self.revoke(move |t| {
            let Some(user) = USERS.get(t.reads(), &id)? else { return Ok(UserChange::NotFound) };
            if !permit(&user) {
                return Ok(UserChange::NotPermitted);
            }
            if user.is_active_admin() && other_admin(t, Some(id))?.is_none() {
                return Ok(UserChange::LastAdmin);
            }
            end_all_of(t, id)?;
            USERS.delete(t.tx, &id);
            standings::note(t, id, None)?;
            USERS_BY_EMAIL.delete(t.tx, &user.email);
            ACTIVE_ADMINS.delete(t.tx, &id);
            t.announce(Change::Deleted(id));
            Ok(UserChange::Done(user))
        })
        .await
    }

    /// Opens a set-up link in place of any other, unless somebody can administer already.
    /// Answers whether it did.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn open_setup(&self, token_hash: [u8; 32], expires_at: Timestamp) -> Result<bool, Error> {
        self.transact(move |t| {
            if other_admin(t, None)?.is_some() {
                return Ok(false);
            }
            SETUP.put(t.tx, &(), &Setup { token_hash, expires_at })?;
            Ok(true)
        })
        .await
    }

    /// Changes a user, at the cost that the change has, unless nothing changes.
    async fn change_user(
        &self,
        permit: Permit,
        id: UserId,
        mut change: impl FnMut(&mut User) -> Cost + Send + 'static,
    ) -> Result<UserChange, Error> {
        self.revoke(move |t| {
            let Some(before) = USERS.get(t.reads(), &id)? else { return Ok(UserChange::NotFound) };
            if !permit(&before) {
                return Ok(UserChange::NotPermitted);
            }
            let mut user = before.clone();
            let cost = change(&mut user);
            if before.is_active_admin() && !user.is_active_admin() && other_admin(t, Some(id))?.is_none() {
                return Ok(UserChange::LastAdmin);
            }
            if user != before {
                match cost {
                    Cost::Nothing => {}
                    Cost::Tokens => user.version += 1,
                    Cost::Everything => {
                        user.version += 1;
                        user.epoch += 1;
                        end_all_of(t, id)?;
                    }
                }
                put_user(t, &user)?;
            }
            Ok(UserChange::Done(user))
        })
        .await
    }
}

/// Writes a user and what is derived from it.
pub(super) fn put_user(t: &mut Transaction<'_>, user: &User) -> Result<(), Error> {
    USERS.put(t.tx, &user.id, user)?;
    if user.is_active_admin() {
        ACTIVE_ADMINS.put(t.tx, &user.id, &())?;
    } else {
        ACTIVE_ADMINS.delete(t.tx, &user.id);
    }
    standings::note(t, user.id, Some(user.standing()))?;
    t.announce(Change::Standing(user.id, user.standing()));
    Ok(())
}

/// An enabled admin other than `than`. The count is made where the change is, so that two admins
/// cannot demote each other at once (AZ-3).
fn other_admin(t: &Transaction<'_>, than: Option<UserId>) -> Result<Option<UserId>, Error> {
    let mut other = None;
    ACTIVE_ADMINS.scan(t.reads(), &[], None, |id, ()| {
        if Some(id) == than {
            return ControlFlow::Continue(());
        }
        other = Some(id);
        ControlFlow::Break(())
    })?;
    Ok(other)
}

/// Whether an invitation still has the authority of its maker: they are there and enabled, nothing of
/// theirs was ended at once since, and their present role may give away what it gives (AZ-4).
pub(super) fn is_in_force(reads: &dyn Reads, invite: &Invite, policy: &RolePolicy) -> Result<bool, Error> {
    let maker = USERS.get(reads, &invite.created_by)?;
    Ok(maker.is_some_and(|maker| !maker.disabled && maker.epoch == invite.maker_epoch && policy.may_give(&maker.role, &invite.role)))
}

fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    a.ct_eq(b).into()
}

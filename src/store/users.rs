//! Verbs on users. The e-mail index and the count of admins live in the same transaction as the row.

use super::{
    CommitEvent, Error, Store,
    engine::Reads,
    rows::{Deny, begin_session, end_all_sessions, put_user, void_tokens},
    schema::{ACTIVE_ADMINS, INVITES, SETUP, Setup, USERS, USERS_BY_EMAIL},
};
use crate::domain::{Email, Event, Invite, InviteId, Role, RolePolicy, Session, Timestamp, User, UserId};
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
        token_version: 0,
        epoch: 0,
        created_at: Timestamp::from_secs(0),
    };
    let row = USERS.encode_row(&user.id, &user).expect("a row within its limit");
    (user.id, row)
});

/// What entitles somebody to a new account; used up in the transaction that makes it (AUT-12).
#[derive(Debug, Clone)]
pub enum RegistrationProof {
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
    pub proof: RegistrationProof,
    /// How the end of the replaced session is remembered.
    pub deny: Deny,
    /// What is recorded when the account is made. Its role is added.
    pub event: Event,
}

/// What became of a [`NewAccount`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// It exists.
    User(User),
    /// Somebody has that address (AUT-3).
    EmailTaken,
    /// The invitation or set-up link is unknown, used or expired.
    Refused,
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

/// Whether the actor may change this user.
pub type Authorize = Box<dyn Fn(&User) -> bool + Send>;

/// Whom to change, and for whom.
pub struct ChangeRequest {
    /// The user.
    pub user: UserId,
    /// Whether the actor may change them: asked where the change is made, for the user's role may be another one
    /// by then.
    pub authorize: Authorize,
    /// How what is revoked is remembered.
    pub deny: Deny,
    /// What is recorded when it is done.
    pub event: Event,
}

/// Which access tokens a change to a user voids.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Voids {
    /// None: no token says what was changed.
    Nothing,
    /// All of theirs.
    Tokens,
}

/// What else it ends.
#[derive(PartialEq, Eq)]
enum Ends {
    /// Nothing: sessions go on.
    Nothing,
    /// Every session, and whatever they handed out.
    Everything,
}

impl Store {
    /// Makes an account: user, e-mail index, session and the admission's use, together.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn create_account(&self, new: NewAccount) -> Result<Created, Error> {
        self.transact(move |t| {
            let NewAccount { mut user, session, replaces, proof, deny, event } = new.clone();
            if !admits(t.reads(), &proof, &mut user)? {
                return Ok(Created::Refused);
            }
            if USERS_BY_EMAIL.get(t.reads(), &user.email)?.is_some() {
                return Ok(Created::EmailTaken);
            }
            // Used up only by an account that is made: a taken address leaves the invitation good.
            match proof {
                RegistrationProof::Open | RegistrationProof::Operator => {}
                RegistrationProof::Invite(id, ..) => INVITES.delete(t.tx, &id),
                RegistrationProof::Setup(_) => SETUP.delete(t.tx, &()),
            }
            USERS_BY_EMAIL.put(t.tx, &user.email, &user.id)?;
            put_user(t, &user)?;
            if let Some(session) = session {
                begin_session(t, &session, replaces, deny)?;
            }
            t.record(event.role(&user.role));
            Ok(Created::User(user))
        })
        .await
    }

    /// The user with this id; from memory, if they were asked for a while ago.
    ///
    /// # Errors
    /// The engine's own, and [`Error::Corrupt`].
    pub async fn user(&self, id: UserId) -> Result<Option<Arc<User>>, Error> {
        let unchanged = match self.recent.get(id) {
            Ok(user) => return Ok(Some(user)),
            Err(unchanged) => unchanged,
        };
        let user = self.view(move |reads| USERS.get(reads, &id)).await?;
        Ok(user.map(|user| self.recent.remember(user, unchanged)))
    }

    /// The user with this address.
    ///
    /// # Errors
    /// The engine's own, and [`Error::Corrupt`].
    pub async fn user_by_email(&self, email: &Email) -> Result<Option<User>, Error> {
        self.view(|reads| match USERS_BY_EMAIL.get(reads, email)? {
            Some(id) => USERS.get(reads, &id),
            // Finding nobody takes as long as finding somebody (AUT-2).
            None => {
                let (id, row) = &*NOBODY;
                USERS.get_decoy(reads, id, row).map(|()| None)
            }
        })
        .await
    }

    /// Up to `limit` users whose address begins with `prefix`, in order of address, after `after`.
    ///
    /// # Errors
    /// The engine's own, and [`Error::Corrupt`].
    pub async fn users(&self, prefix: &str, after: Option<&Email>, limit: usize) -> Result<Vec<User>, Error> {
        self.view(|reads| {
            let mut ids = Vec::new();
            USERS_BY_EMAIL.scan(reads, prefix.as_bytes(), after, |_, id| {
                ids.push(id);
                if ids.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            // A user deleted since the scan is simply no longer listed.
            ids.into_iter().filter_map(|id| USERS.get(reads, &id).transpose()).collect()
        })
        .await
    }

    /// Whether anybody can administer.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn has_admin(&self) -> Result<bool, Error> {
        self.view(|reads| Ok(other_admin(reads, None)?.is_some())).await
    }

    /// Gives a user another role; tokens issued before are void (AZ-2), sessions live on.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn set_role(&self, request: ChangeRequest, role: Role) -> Result<UserChange, Error> {
        self.change_user(request, Voids::Tokens, move |user| {
            user.role = role.clone();
            Ends::Nothing
        })
        .await
    }

    /// Disables or enables a user. Disabling ends every session and voids every token (REF-10).
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

    /// Replaces a password as an operator does: every session ends, every token is void (REF-11).
    ///
    /// # Errors
    /// The engine's own.
    pub async fn set_password(&self, request: ChangeRequest, password_hash: String) -> Result<UserChange, Error> {
        self.change_user(request, Voids::Tokens, move |user| {
            user.password_hash.clone_from(&password_hash);
            Ends::Everything
        })
        .await
    }

    /// Says whether somebody vouches for a user's address.
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

    /// Deletes a user with everything that is theirs. The id is never used again (REV-7).
    ///
    /// # Errors
    /// The engine's own.
    pub async fn delete_user(&self, request: ChangeRequest) -> Result<UserChange, Error> {
        let ChangeRequest { user: id, authorize, deny, event } = request;
        self.revoke(move |t| {
            let Some(user) = USERS.get(t.reads(), &id)? else { return Ok(UserChange::NotFound) };
            if !authorize(&user) {
                return Ok(UserChange::NotPermitted);
            }
            if user.is_active_admin() && other_admin(t.reads(), Some(id))?.is_none() {
                return Ok(UserChange::LastAdmin);
            }
            end_all_sessions(t, id)?;
            USERS.delete(t.tx, &id);
            USERS_BY_EMAIL.delete(t.tx, &user.email);
            ACTIVE_ADMINS.delete(t.tx, &id);
            // Of no version is any token good again.
            void_tokens(t, id, u32::MAX, deny)?;
            t.emit(CommitEvent::UserChanged(id));
            t.record(event.clone());
            Ok(UserChange::Done(user))
        })
        .await
    }

    /// Changes a user, unless nothing would change.
    async fn change_user(
        &self,
        request: ChangeRequest,
        voids: Voids,
        mut change: impl FnMut(&mut User) -> Ends + Send + 'static,
    ) -> Result<UserChange, Error> {
        let ChangeRequest { user: id, authorize, deny, event } = request;
        self.revoke(move |t| {
            let Some(before) = USERS.get(t.reads(), &id)? else { return Ok(UserChange::NotFound) };
            if !authorize(&before) {
                return Ok(UserChange::NotPermitted);
            }
            let mut user = before.clone();
            let ends = change(&mut user);
            if before.is_active_admin() && !user.is_active_admin() && other_admin(t.reads(), Some(id))?.is_none() {
                return Ok(UserChange::LastAdmin);
            }
            t.record(event.clone());
            if user == before {
                return Ok(UserChange::Done(user));
            }
            if voids == Voids::Tokens {
                user.token_version += 1;
                void_tokens(t, id, user.token_version, deny)?;
            }
            if ends == Ends::Everything {
                user.epoch += 1;
                end_all_sessions(t, id)?;
            }
            put_user(t, &user)?;
            Ok(UserChange::Done(user))
        })
        .await
    }

    /// Opens a set-up link in place of any other, unless somebody can administer already.
    /// Answers whether it did.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn open_setup(&self, token_hash: [u8; 32], expires_at: Timestamp, event: Event) -> Result<bool, Error> {
        self.transact(move |t| {
            if other_admin(t.reads(), None)?.is_some() {
                return Ok(false);
            }
            SETUP.put(t.tx, &(), &Setup { token_hash, expires_at })?;
            t.record(event.clone());
            Ok(true)
        })
        .await
    }
}

/// Whether a proof entitles to a new account. Gives the user what follows from it: an invitation's role, and
/// an address that somebody vouched for.
fn admits(reads: &dyn Reads, proof: &RegistrationProof, user: &mut User) -> Result<bool, Error> {
    match proof {
        RegistrationProof::Open => {}
        RegistrationProof::Operator => user.email_verified = true,
        RegistrationProof::Invite(id, code_hash, policy) => {
            let Some(invite) = INVITES.get(reads, id)? else { return Ok(false) };
            let is_good = same(&invite.code_hash, code_hash)
                && user.created_at < invite.expires_at
                && invite.email.as_ref().is_none_or(|email| *email == user.email)
                && is_in_force(reads, &invite, policy)?;
            if !is_good {
                return Ok(false);
            }
            user.email_verified = invite.email.is_some();
            user.role = invite.role;
        }
        RegistrationProof::Setup(token_hash) => {
            let Some(setup) = SETUP.get(reads, &())? else { return Ok(false) };
            let is_good = same(&setup.token_hash, token_hash) && user.created_at < setup.expires_at;
            if !is_good || other_admin(reads, None)?.is_some() {
                return Ok(false);
            }
            user.email_verified = true;
        }
    }
    Ok(true)
}

/// An enabled admin other than `than`. The count is made where the change is, so that two admins
/// cannot demote each other at once (AZ-3).
fn other_admin(reads: &dyn Reads, than: Option<UserId>) -> Result<Option<UserId>, Error> {
    let mut other = None;
    ACTIVE_ADMINS.scan(reads, &[], None, |id, ()| {
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

//! Operations on users. The e-mail index and the index of admins are written in the same transaction as the row.

use super::{
    Authority, Error, Store,
    engine::Reads,
    invites::is_in_force,
    rows::{Deny, begin_session, put_user},
    schema::{ACTIVE_ADMINS, INVITES, SETUP, Setup, USERS, USERS_BY_EMAIL},
};
use crate::domain::{Email, Event, InviteId, Kind, RolePolicy, Session, Timestamp, User, UserId, UserKind};
use std::{
    ops::ControlFlow,
    sync::{Arc, LazyLock},
};
use subtle::ConstantTimeEq;

/// A user's row that is not stored anywhere: decoding it takes as long as decoding a real one.
static DECOY_USER: LazyLock<(UserId, Vec<u8>)> = LazyLock::new(|| {
    let user = User {
        kind: UserKind::Person,
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

/// What entitles a client to a new account. It is used up in the transaction that creates the account (AUT-12).
#[derive(Debug, Clone)]
pub enum RegistrationProof {
    /// Nothing is needed: registration is open.
    Open,
    /// An operator creates the account and vouches for its address.
    Operator,
    /// Somebody makes a service account on this authority.
    Service(Authority),
    /// A single-use invitation, the keyed hash of its code, and the policy that says which roles its maker may
    /// grant now.
    Invite(InviteId, [u8; 32], RolePolicy),
    /// The set-up link, as the keyed hash of its token. Accepted only while there is no admin (AUT-11).
    Setup([u8; 32]),
}

/// An account to create, with its first session, if any.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// The account. An invitation's role replaces its own.
    pub user: User,
    /// The first session.
    pub session: Option<Session>,
    /// The session this browser held before; it ends (REF-13).
    pub replaces: Option<crate::domain::SessionId>,
    /// What entitles the client to the account.
    pub proof: RegistrationProof,
    /// How the end of the replaced session enters the deny list.
    pub deny: Deny,
    /// The event to log when the account is created; the role is added to it.
    pub event: Event,
}

/// The outcome of [`Store::create_account`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// The account was created.
    User(User),
    /// Another account has that address (AUT-3).
    EmailTaken,
    /// The invitation or set-up link is unknown, used or expired.
    Refused,
}

impl Store {
    /// Creates an account: writes the user, the e-mail index and the session and uses up the proof, all at once.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn create_account(&self, new: NewAccount) -> Result<Created, Error> {
        self.transact(move |t| {
            let NewAccount { mut user, session, replaces, proof, deny, event } = new.clone();
            if !accepts_proof(t.reads(), &proof, &mut user)? {
                return Ok(Created::Refused);
            }
            if USERS_BY_EMAIL.get(t.reads(), &user.email)?.is_some() {
                return Ok(Created::EmailTaken);
            }
            // Use up the proof only now: a taken address leaves the invitation valid.
            match proof {
                RegistrationProof::Open | RegistrationProof::Operator | RegistrationProof::Service(_) => {}
                RegistrationProof::Invite(id, ..) => {
                    INVITES.delete(t.tx, &id);
                    t.record(event.clone().of(Kind::InviteUsed).invite(id).role(&user.role))?;
                }
                RegistrationProof::Setup(_) => SETUP.delete(t.tx, &()),
            }
            USERS_BY_EMAIL.put(t.tx, &user.email, &user.id)?;
            put_user(t, &user)?;
            if let Some(session) = session {
                begin_session(t, &session, replaces, deny)?;
            }
            t.record(event.role(&user.role))?;
            Ok(Created::User(user))
        })
        .await
    }

    /// The user with this id, from the cache if it has them.
    ///
    /// # Errors
    /// The engine's own, and [`Error::Corrupt`].
    pub async fn user(&self, id: UserId) -> Result<Option<Arc<User>>, Error> {
        let unchanged = match self.user_cache.get(id) {
            Ok(user) => return Ok(Some(user)),
            Err(unchanged) => unchanged,
        };
        let user = self.view(move |reads| USERS.get(reads, &id)).await?;
        Ok(user.map(|user| self.user_cache.remember(user, unchanged)))
    }

    /// The user with this address.
    ///
    /// # Errors
    /// The engine's own, and [`Error::Corrupt`].
    pub async fn user_by_email(&self, email: &Email) -> Result<Option<User>, Error> {
        self.view(|reads| match USERS_BY_EMAIL.get(reads, email)? {
            Some(id) => USERS.get(reads, &id),
            // An unknown address takes as long as a known one (AUT-2).
            None => {
                let (id, row) = &*DECOY_USER;
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
            // A user deleted since the scan is left out.
            ids.into_iter().filter_map(|id| USERS.get(reads, &id).transpose()).collect()
        })
        .await
    }

    /// Whether there is an enabled admin.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn has_admin(&self) -> Result<bool, Error> {
        self.view(|reads| Ok(other_admin(reads, None)?.is_some())).await
    }

    /// Opens a set-up link in place of an earlier one, unless there is an enabled admin. Returns whether it did.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn open_setup(&self, token_hash: [u8; 32], expires_at: Timestamp, event: Event) -> Result<bool, Error> {
        self.transact(move |t| {
            if other_admin(t.reads(), None)?.is_some() {
                return Ok(false);
            }
            SETUP.put(t.tx, &(), &Setup { token_hash, expires_at })?;
            t.record(event.clone())?;
            Ok(true)
        })
        .await
    }
}

/// Whether a proof entitles the client to a new account. If so, gives the user the invitation's role and marks
/// the address as verified where the proof vouches for it.
fn accepts_proof(reads: &dyn Reads, proof: &RegistrationProof, user: &mut User) -> Result<bool, Error> {
    match proof {
        RegistrationProof::Open => {}
        RegistrationProof::Operator => user.email_verified = true,
        RegistrationProof::Service(authority) => authority.check_with(reads)?,
        RegistrationProof::Invite(id, code_hash, policy) => {
            let Some(invite) = INVITES.get(reads, id)? else { return Ok(false) };
            let is_valid = ct_equal(&invite.code_hash, code_hash)
                && user.created_at < invite.expires_at
                && invite.email.as_ref().is_none_or(|email| *email == user.email)
                && is_in_force(reads, &invite, policy)?;
            if !is_valid {
                return Ok(false);
            }
            user.email_verified = invite.email.is_some();
            user.role = invite.role;
        }
        RegistrationProof::Setup(token_hash) => {
            let Some(setup) = SETUP.get(reads, &())? else { return Ok(false) };
            let is_valid = ct_equal(&setup.token_hash, token_hash) && user.created_at < setup.expires_at;
            if !is_valid || other_admin(reads, None)?.is_some() {
                return Ok(false);
            }
            user.email_verified = true;
        }
    }
    Ok(true)
}

/// An enabled admin other than `except`. Looked up in the transaction that makes the change, so that two admins
/// cannot demote each other at once (AZ-3).
pub(super) fn other_admin(reads: &dyn Reads, except: Option<UserId>) -> Result<Option<UserId>, Error> {
    let mut other = None;
    ACTIVE_ADMINS.scan(reads, &[], None, |id, ()| {
        if Some(id) == except {
            return ControlFlow::Continue(());
        }
        other = Some(id);
        ControlFlow::Break(())
    })?;
    Ok(other)
}

fn ct_equal(a: &[u8; 32], b: &[u8; 32]) -> bool {
    a.ct_eq(b).into()
}

//! Operations on invitations.

use super::{
    Authority, Error, Store, Transaction,
    engine::Reads,
    schema::{INVITES, USERS},
    sessions::Ended,
};
use crate::domain::{Event, Invite, InviteId, RolePolicy, Timestamp, User};
use std::ops::ControlFlow;

impl Store {
    /// Stores a new invitation.
    ///
    /// # Errors
    /// [`Error::AuthorityEnded`], and the engine's own.
    pub async fn create_invite(&self, invite: Invite, authority: Authority, event: Event) -> Result<(), Error> {
        self.transact(move |t| {
            authority.check(t)?;
            t.record(event.clone())?;
            INVITES.put(t.tx, &invite.id, &invite)
        })
        .await
    }

    /// The invitations that have not expired and whose makers may still grant their roles.
    ///
    /// # Errors
    /// The engine's own, and [`Error::Corrupt`].
    pub async fn invites(&self, now: Timestamp, policy: &RolePolicy) -> Result<Vec<Invite>, Error> {
        self.view(|reads| {
            let mut open = Vec::new();
            INVITES.scan(reads, &[], None, |_, invite| {
                if now < invite.expires_at {
                    open.push(invite);
                }
                ControlFlow::Continue(())
            })?;
            let mut in_force = Vec::with_capacity(open.len());
            for invite in open {
                if is_in_force(reads, &invite, policy)? {
                    in_force.push(invite);
                }
            }
            in_force.sort_by_key(|invite| invite.created_at);
            Ok(in_force)
        })
        .await
    }

    /// The invitation with this id.
    ///
    /// # Errors
    /// The engine's own, and [`Error::Corrupt`].
    pub async fn invite(&self, id: InviteId) -> Result<Option<Invite>, Error> {
        self.view(move |reads| INVITES.get(reads, &id)).await
    }

    /// Withdraws an invitation. That is a revocation, so it also works when the disk is nearly full (STO-5).
    ///
    /// # Errors
    /// [`Error::AuthorityEnded`], and the engine's own.
    pub async fn delete_invite(&self, id: InviteId, authority: Authority, event: Event) -> Result<Ended, Error> {
        self.revoke(move |t| {
            authority.check(t)?;
            if INVITES.get(t.reads(), &id)?.is_none() {
                return Ok(Ended::NotFound);
            }
            INVITES.delete(t.tx, &id);
            t.record(event.clone())?;
            Ok(Ended::Done)
        })
        .await
    }

    /// Removes invitations that have expired (STO-15).
    ///
    /// # Errors
    /// The engine's own.
    pub async fn sweep_invites(&self, now: Timestamp) -> Result<(), Error> {
        let expired = self
            .view(move |reads| {
                let mut expired = Vec::new();
                INVITES.scan(reads, &[], None, |id, invite| {
                    if invite.expires_at <= now {
                        expired.push(id);
                    }
                    ControlFlow::Continue(())
                })?;
                Ok(expired)
            })
            .await?;
        if expired.is_empty() {
            return Ok(());
        }
        self.transact(move |t| {
            expired.iter().for_each(|id| INVITES.delete(t.tx, id));
            Ok(())
        })
        .await
    }
}

/// Whether an invitation is still backed by its maker: the maker exists and is enabled, is in the same epoch,
/// and their present role may grant the invitation's role (AZ-4).
pub(super) fn is_in_force(reads: &dyn Reads, invite: &Invite, policy: &RolePolicy) -> Result<bool, Error> {
    let maker = USERS.get(reads, &invite.created_by)?;
    Ok(maker.is_some_and(|maker| !maker.disabled && maker.epoch == invite.maker_epoch && policy.may_grant(&maker.role, &invite.role)))
}

/// Withdraws the invitations of a maker whose present role may not grant their roles (AZ-4).
pub(super) fn withdraw_beyond(t: &mut Transaction<'_>, maker: &User, policy: &RolePolicy) -> Result<(), Error> {
    let mut beyond = Vec::new();
    // A damaged invitation cannot be used, and must not prevent the change (STO-9).
    INVITES.scan_with_damage(t.reads(), &[], |id, invite| {
        let is_beyond = |invite: Invite| invite.created_by == maker.id && !policy.may_grant(&maker.role, &invite.role);
        beyond.extend(id.filter(|_| invite.is_ok_and(is_beyond)));
    })?;
    beyond.iter().for_each(|id| INVITES.delete(t.tx, id));
    Ok(())
}

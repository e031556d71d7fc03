//! Operations on invitations.

use super::{Error, Store, schema::INVITES, sessions::Ended, users::is_in_force};
use crate::domain::{Event, Invite, InviteId, RolePolicy, Timestamp};
use std::ops::ControlFlow;

impl Store {
    /// Stores a new invitation.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn create_invite(&self, invite: Invite, event: Event) -> Result<(), Error> {
        self.transact(move |t| {
            t.record(event.clone());
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
    /// The engine's own.
    pub async fn delete_invite(&self, id: InviteId, event: Event) -> Result<Ended, Error> {
        self.revoke(move |t| {
            if INVITES.get(t.reads(), &id)?.is_none() {
                return Ok(Ended::NotFound);
            }
            INVITES.delete(t.tx, &id);
            t.record(event.clone());
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

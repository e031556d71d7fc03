//! Verbs on invitations.

use super::{Error, Store, schema::INVITES, sessions::Ended};
use crate::domain::{Invite, InviteId, Timestamp};
use std::ops::ControlFlow;

impl Store {
    /// Keeps a new invitation.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn create_invite(&self, invite: Invite) -> Result<(), Error> {
        self.transact(move |t| INVITES.put(t.tx, &invite.id, &invite)).await
    }

    /// The invitations that can still be used.
    ///
    /// # Errors
    /// The engine's own, and [`Error::Corrupt`].
    pub fn invites(&self, now: Timestamp) -> Result<Vec<Invite>, Error> {
        let mut open = Vec::new();
        INVITES.scan(self.reads(), &[], None, |_, invite| {
            if now < invite.expires_at {
                open.push(invite);
            }
            ControlFlow::Continue(())
        })?;
        open.sort_by_key(|invite| invite.created_at);
        Ok(open)
    }

    /// Withdraws an invitation.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn delete_invite(&self, id: InviteId) -> Result<Ended, Error> {
        self.transact(move |t| {
            if INVITES.get(t.reads(), &id)?.is_none() {
                return Ok(Ended::NotFound);
            }
            INVITES.delete(t.tx, &id);
            Ok(Ended::Done)
        })
        .await
    }

    /// Removes invitations that have expired (STO-15).
    ///
    /// # Errors
    /// The engine's own.
    pub async fn sweep_invites(&self, now: Timestamp) -> Result<(), Error> {
        let mut expired = Vec::new();
        INVITES.scan(self.reads(), &[], None, |id, invite| {
            if invite.expires_at <= now {
                expired.push(id);
            }
            ControlFlow::Continue(())
        })?;
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

//! Invitations, and the set-up link by which the first admin registers.

use super::Accounts;
use crate::{
    domain::{AddressPrefix, Email, Invite, InviteId, Kind, Role, Timestamp},
    service::{Error, events::Actor, principal::Principal},
    store::Ended,
};
use secrecy::SecretString;
use std::time::Duration;

/// How long a set-up link is valid (AUT-11).
const SETUP_TTL: Duration = Duration::from_secs(60 * 60);

impl Accounts {
    /// Makes an invitation, which may be bound to an e-mail address. Returns its code, which cannot be shown again.
    ///
    /// # Errors
    /// [`Error::InvalidRole`], [`Error::RoleBeyondReach`], the store's.
    pub async fn invite(
        &self,
        by: &Principal,
        from: AddressPrefix,
        role: Option<Role>,
        email: Option<Email>,
        expires_in: Duration,
    ) -> Result<(Invite, SecretString), Error> {
        let actor = by.actor(from);
        let role = role.unwrap_or_else(|| self.registration.default_role.clone());
        self.check_role_exists(&role)?;
        self.check_may_grant(actor, &role)?;
        let (id, now) = (InviteId::random(), self.clock.now());
        let (code, code_hash) = self.codes.invite(id);
        let invite = Invite {
            id,
            code_hash,
            role,
            email,
            created_by: by.user().id,
            maker_epoch: by.user().epoch,
            created_at: now,
            expires_at: now.plus(expires_in),
        };
        let event = actor.event(Kind::InviteCreated).invite(id).role(&invite.role);
        self.store.create_invite(invite.clone(), actor.authority(), event).await?;
        Ok((invite, code))
    }

    /// The invitations that can still be used.
    ///
    /// # Errors
    /// The store's.
    pub async fn invites(&self) -> Result<Vec<Invite>, Error> {
        Ok(self.store.invites(self.clock.now(), &self.policy).await?)
    }

    /// Withdraws an invitation. The actor must be allowed to grant its role.
    ///
    /// # Errors
    /// [`Error::RoleBeyondReach`], [`Error::NotFound`], the store's.
    pub async fn withdraw_invite(&self, actor: Actor<'_>, id: InviteId) -> Result<(), Error> {
        let invite = self.store.invite(id).await?.ok_or(Error::NotFound)?;
        self.check_may_grant(actor, &invite.role)?;
        match self.store.delete_invite(id, actor.authority(), actor.event(Kind::InviteWithdrawn).invite(id)).await? {
            Ended::Done => Ok(()),
            Ended::NotFound => Err(Error::NotFound),
        }
    }

    /// Makes a set-up link, which replaces an earlier one; `None` when there is an admin already.
    ///
    /// # Errors
    /// The store's.
    pub async fn open_setup(&self) -> Result<Option<(SecretString, Timestamp)>, Error> {
        let (token, hash) = self.codes.setup();
        let expires_at = self.clock.now().plus(SETUP_TTL);
        let is_open = self.store.open_setup(hash, expires_at, Actor::Operator.event(Kind::SetUpLinkMade)).await?;
        Ok(is_open.then_some((token, expires_at)))
    }
}

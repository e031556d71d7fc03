//! Replacing one's own password.

use super::Accounts;
use crate::{
    domain::{AddressPrefix, By, Client, Event, Kind, Password},
    service::{
        Error,
        passwords::{PasswordMatch, Weakness},
        principal::Principal,
        sessions::TokenSet,
    },
    store::PasswordChange,
};
use secrecy::SecretString;

impl Accounts {
    /// Replaces the password of a user who is logged in. All their sessions end, their invitations and device tokens
    /// are void, and a new session begins for the caller (REF-11).
    ///
    /// # Errors
    /// [`Error::InvalidCredentials`] for a wrong current password. Failures are limited as those of a login are
    /// (AUT-9), but never because of what others do: [`Error::Limited`]. [`Error::WeakPassword`],
    /// [`Error::Overloaded`], the store's.
    pub async fn change_password(
        &self,
        principal: &Principal,
        current: &SecretString,
        new: Password,
        client: Client,
    ) -> Result<TokenSet, Error> {
        let user = principal.user();
        let from = AddressPrefix::from(client.ip);
        let transport = self.store.session(principal.session).await?.ok_or(Error::SessionEnded)?.transport;
        self.passwords.check(&new, &user.email).map_err(Error::WeakPassword)?;
        let current = Password::new(current).ok();
        if current.as_ref().is_some_and(|current| current.expose() == new.expose()) {
            return Err(Error::WeakPassword(Weakness::InUse));
        }
        let attempt = self.throttle.charge_password_change(user.id, from)?;
        let caller = attempt.caller();
        match self.passwords.verify(caller.clone(), current, Some(user.password_hash.clone())).await? {
            PasswordMatch::Yes { .. } => attempt.refund(),
            PasswordMatch::No => {
                attempt.count_failure();
                let event = Event::new(Kind::PasswordChangeFailed, By::User(user.id)).target(user.id);
                self.store.note(event.session(principal.session).from(from));
                return Err(Error::InvalidCredentials);
            }
        }
        let new_hash = self.passwords.hash(caller, new).await?;
        let successor = self.sessions.new_session(user.id, transport, client);
        let change = PasswordChange {
            session: principal.session,
            verified_hash: user.password_hash.clone(),
            new_hash,
            event: Event::new(Kind::PasswordChanged, By::User(user.id)).target(user.id).session(successor.id).from(from),
            successor,
            deny: self.sessions.deny(),
        };
        let (session, user) = self.store.change_password(change).await?.ok_or(Error::InvalidCredentials)?;
        self.sessions.issue_first_tokens(user, session)
    }
}

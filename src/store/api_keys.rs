//! Operations on API keys. Each reports what it did to the index of keys in memory.

use super::{
    Authority, CommitEvent, Error, Store, Transaction,
    authority::Authorize,
    engine::Reads,
    rows::{Deny, end_session_tokens},
    schema::{API_KEYS, SESSIONS, USERS},
    sessions::Ended,
};
use crate::domain::{ApiKey, ApiKeyId, Event, MadeIn, ReplacedSecret, SessionId, Timestamp, UserId};
use std::{ops::ControlFlow, sync::Arc};

/// The outcome of [`Store::create_api_key`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyCreated {
    /// The key was made.
    Done,
    /// The owner has as many keys as anybody may have.
    TooMany,
    /// There is no such owner, or the actor may not make keys for them.
    NotPermitted,
}

/// A change of an API key on somebody's authority.
#[derive(Debug, Clone)]
pub struct KeyRequest {
    /// Whose key it is.
    pub owner: UserId,
    /// The key.
    pub key: ApiKeyId,
    /// On whose authority it is changed.
    pub authority: Authority,
    /// The event to log when it is done.
    pub event: Event,
}

impl Store {
    /// Stores a new API key.
    ///
    /// # Errors
    /// [`Error::AuthorityEnded`], and the engine's own.
    pub async fn create_api_key(&self, key: ApiKey, authorize: Authorize, authority: Authority, event: Event) -> Result<KeyCreated, Error> {
        self.transact(move |t| {
            authority.check(t)?;
            if !USERS.get(t.reads(), &key.owner)?.is_some_and(|owner| authorize(&owner)) {
                return Ok(KeyCreated::NotPermitted);
            }
            if keys_of(t.reads(), key.owner)?.len() >= ApiKey::MAX_PER_USER {
                return Ok(KeyCreated::TooMany);
            }
            t.record(event.clone())?;
            put(t, &ApiKey { made_in: made_in(t.reads(), authority)?, ..key.clone() })?;
            Ok(KeyCreated::Done)
        })
        .await
    }

    /// Gives an API key another secret. The one it had stays good until `until`.
    ///
    /// # Errors
    /// [`Error::AuthorityEnded`], and the engine's own.
    pub async fn replace_api_key(
        &self,
        request: KeyRequest,
        hash: [u8; 32],
        start: String,
        until: Timestamp,
    ) -> Result<Option<ApiKey>, Error> {
        self.transact(move |t| {
            request.authority.check(t)?;
            let Some(mut key) = API_KEYS.get(t.reads(), &(request.owner, request.key))? else { return Ok(None) };
            key.replaced = Some(ReplacedSecret { hash: key.hash, until });
            key.hash = hash;
            key.start.clone_from(&start);
            key.made_in = made_in(t.reads(), request.authority)?;
            key.revision += 1;
            t.record(request.event.clone())?;
            put(t, &key)?;
            Ok(Some(key))
        })
        .await
    }

    /// Revokes an API key, and the access tokens that were issued for it.
    ///
    /// # Errors
    /// [`Error::AuthorityEnded`], and the engine's own.
    pub async fn revoke_api_key(&self, request: KeyRequest, deny: Deny) -> Result<Ended, Error> {
        self.revoke(move |t| {
            request.authority.check(t)?;
            let at = (request.owner, request.key);
            match API_KEYS.get(t.reads(), &at) {
                Ok(None) => return Ok(Ended::NotFound),
                // A damaged row must not prevent a revocation (STO-9).
                Ok(Some(_)) | Err(Error::Corrupt(_)) => {}
                Err(error) => return Err(error),
            }
            end(t, request.owner, request.key, deny)?;
            t.record(request.event.clone())?;
            Ok(Ended::Done)
        })
        .await
    }

    /// Revokes all API keys of a user. Returns how many there were.
    ///
    /// # Errors
    /// [`Error::AuthorityEnded`], and the engine's own.
    pub async fn revoke_api_keys_of(&self, owner: UserId, authority: Authority, deny: Deny, event: Event) -> Result<usize, Error> {
        self.revoke(move |t| {
            authority.check(t)?;
            end_all(t, owner, deny, |id| event.clone().key(id.to_string()))
        })
        .await
    }

    /// All API keys. One whose row is damaged is left out: nobody can use it (STO-9).
    ///
    /// # Errors
    /// The engine's own.
    pub async fn api_keys(&self) -> Result<Vec<ApiKey>, Error> {
        self.view(|reads| {
            let mut all = Vec::new();
            API_KEYS.scan(reads, &[], None, |_, key| {
                all.push(key);
                ControlFlow::Continue(())
            })?;
            Ok(all)
        })
        .await
    }

    /// Notes when API keys were used last. Nothing else changes, so nobody is told.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn note_api_key_uses(&self, uses: Vec<(UserId, ApiKeyId, Timestamp)>) -> Result<(), Error> {
        self.transact(move |t| {
            for (owner, id, at) in &uses {
                if let Some(key) = API_KEYS.get(t.reads(), &(*owner, *id))? {
                    API_KEYS.put(t.tx, &(*owner, *id), &ApiKey { last_used_at: Some(*at), ..key })?;
                }
            }
            Ok(())
        })
        .await
    }
}

/// The ids of a user's API keys, read from the keys of the rows alone: a damaged value hides none.
fn keys_of(reads: &dyn Reads, owner: UserId) -> Result<Vec<ApiKeyId>, Error> {
    let mut ids = Vec::new();
    API_KEYS.scan_with_damage(reads, owner.as_bytes(), |key, _| ids.extend(key.map(|(_, id)| id)))?;
    Ok(ids)
}

/// Where a secret is made that is made on this authority.
fn made_in(reads: &dyn Reads, authority: Authority) -> Result<Option<MadeIn>, Error> {
    let Authority::Session { session, .. } = authority else { return Ok(None) };
    Ok(SESSIONS.get(reads, &session)?.map(|session| MadeIn { session: session.id, generation: session.generation }))
}

fn put(t: &mut Transaction<'_>, key: &ApiKey) -> Result<(), Error> {
    API_KEYS.put(t.tx, &(key.owner, key.id), key)?;
    t.emit(CommitEvent::ApiKeyChanged(Arc::new(key.clone())));
    Ok(())
}

fn end(t: &mut Transaction<'_>, owner: UserId, id: ApiKeyId, deny: Deny) -> Result<(), Error> {
    API_KEYS.delete(t.tx, &(owner, id));
    t.emit(CommitEvent::ApiKeyRevoked(id));
    // The access tokens issued for a key have its id in place of a session's.
    end_session_tokens(t, SessionId::from_bytes(*id.as_bytes()), deny)
}

/// Revokes all API keys of a user, each with its event.
pub(super) fn end_all(t: &mut Transaction<'_>, owner: UserId, deny: Deny, event: impl Fn(ApiKeyId) -> Event) -> Result<usize, Error> {
    let ids = keys_of(t.reads(), owner)?;
    for id in &ids {
        end(t, owner, *id, deny)?;
        t.record(event(*id))?;
    }
    Ok(ids.len())
}

/// Revokes the API keys that were made in a session that turns out to be stolen, also those of service accounts: its thief
/// may have made them.
pub(super) fn end_made_in(
    t: &mut Transaction<'_>,
    session: SessionId,
    deny: Deny,
    event: impl Fn(UserId, ApiKeyId) -> Event,
) -> Result<(), Error> {
    let mut keys = Vec::new();
    API_KEYS.scan_with_damage(t.reads(), &[], |key, row| {
        let is_made_there = row.is_ok_and(|row| row.made_in.is_some_and(|made| made.session == session));
        keys.extend(key.filter(|_| is_made_there));
    })?;
    for (owner, id) in keys {
        end(t, owner, id, deny)?;
        t.record(event(owner, id))?;
    }
    Ok(())
}

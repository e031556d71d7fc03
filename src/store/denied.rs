//! The rows of the deny list: which access tokens are void although they have not expired. There are rows
//! only for what can still matter; a start reads them all before it listens (REV-3).

use super::{
    Error, Store,
    engine::Reads,
    key::Key,
    record::Record,
    schema::{INSTANCE, NOT_BEFORE, NotBefore, REVOKED_SESSIONS, REVOKED_TOKENS, REVOKED_USERS, USERS, VoidTokens},
    table::Table,
};
use crate::domain::{SessionId, Timestamp, TokenId, UserId};

/// Rows one transaction removes, so that it never holds up a commit for long (STO-15).
const STEP: usize = 1000;

/// The deny list as the database has it: each entry with until when it is to be remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Denied {
    /// Users, and the least token version of theirs that is good.
    pub users: Vec<(UserId, u32, Timestamp)>,
    /// Sessions that ended.
    pub sessions: Vec<(SessionId, Timestamp)>,
    /// Access tokens that were revoked one by one.
    pub tokens: Vec<(TokenId, Timestamp)>,
    /// Every token issued before this moment.
    pub not_before: Option<(Timestamp, Timestamp)>,
}

/// Entries that memory has dropped because they are over, with the moment each was to be remembered until.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Over {
    /// Users.
    pub users: Vec<(UserId, Timestamp)>,
    /// Sessions.
    pub sessions: Vec<(SessionId, Timestamp)>,
    /// Access tokens.
    pub tokens: Vec<(TokenId, Timestamp)>,
    /// The moment before which all were void.
    pub not_before: Option<Timestamp>,
}

impl Store {
    /// The deny list. What is damaged of it holds until `forget_by`, and more than it would have meant: a
    /// revocation that cannot be read is never taken for none (STO-9).
    ///
    /// # Errors
    /// The engine's own, and [`Error::Corrupt`].
    pub async fn denied(&self, now: Timestamp, forget_by: Timestamp) -> Result<Denied, Error> {
        self.view(move |reads| read_all(reads, now, forget_by)).await
    }

    /// What a start reads before it listens, for an engine to try first whether that can be read at all.
    ///
    /// # Errors
    /// The engine's own.
    pub fn first_look(reads: &dyn Reads) -> Result<(), Error> {
        INSTANCE.get(reads, &())?;
        read_all(reads, Timestamp::default(), Timestamp::default()).map(drop)
    }

    /// Removes the rows of entries that are over, unless they were written anew since.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn forget(&self, over: Over) -> Result<(), Error> {
        self.forget_rows(&REVOKED_USERS, &over.users, |row| row.until).await?;
        self.forget_rows(&REVOKED_SESSIONS, &over.sessions, |until| until).await?;
        self.forget_rows(&REVOKED_TOKENS, &over.tokens, |until| until).await?;
        let not_before: Vec<_> = over.not_before.map(|until| ((), until)).into_iter().collect();
        self.forget_rows(&NOT_BEFORE, &not_before, |row| row.until).await
    }

    async fn forget_rows<K: Key + Copy + Send + 'static, R: Record>(
        &self,
        table: &'static Table<K, R>,
        over: &[(K, Timestamp)],
        until: fn(R) -> Timestamp,
    ) -> Result<(), Error> {
        for step in over.chunks(STEP).map(<[_]>::to_vec) {
            self.revoke(move |t| {
                for (key, over) in &step {
                    let is_over = match table.get(t.reads(), key) {
                        // Since memory dropped the entry, another revocation may have written it anew.
                        Ok(kept) => kept.is_some_and(|row| until(row) <= *over),
                        Err(Error::Corrupt(_)) => true,
                        Err(error) => return Err(error),
                    };
                    if is_over {
                        table.delete(t.tx, key);
                    }
                }
                Ok(())
            })
            .await?;
        }
        Ok(())
    }
}

/// Reads all rows of the deny list.
fn read_all(reads: &dyn Reads, now: Timestamp, forget_by: Timestamp) -> Result<Denied, Error> {
    let mut all = Denied::default();
    // Whose revocation it is cannot be told from a key that is not one: then it may be anybody's.
    let mut is_anybodys = false;
    let mut damaged_users = Vec::new();
    REVOKED_USERS.scan_with_damage(reads, &[], |id, row| match (id, row) {
        (Some(id), Ok(VoidTokens { least_version, until })) => all.users.push((id, least_version, until)),
        (Some(id), Err(_)) => damaged_users.push(id),
        (None, _) => is_anybodys = true,
    })?;
    REVOKED_SESSIONS.scan_with_damage(reads, &[], |id, until| match id {
        Some(id) => all.sessions.push((id, until.unwrap_or(forget_by))),
        None => is_anybodys = true,
    })?;
    REVOKED_TOKENS.scan_with_damage(reads, &[], |id, until| match id {
        Some(id) => all.tokens.push((id, until.unwrap_or(forget_by))),
        None => is_anybodys = true,
    })?;
    for id in damaged_users {
        // The user's record has the version that is good now. Without one, none is.
        let least_version = USERS.get(reads, &id).ok().flatten().map_or(u32::MAX, |user| user.token_version);
        all.users.push((id, least_version, forget_by));
    }
    match NOT_BEFORE.get(reads, &()) {
        Ok(row) => all.not_before = row.map(|NotBefore { moment, until }| (moment, until)),
        Err(Error::Corrupt(_)) => is_anybodys = true,
        Err(error) => return Err(error),
    }
    if is_anybodys {
        tracing::error!("a row of the deny list is damaged: every access token issued so far is void; `doorward check` lists it");
        let kept = all.not_before.unwrap_or_default();
        all.not_before = Some((kept.0.max(now), kept.1.max(forget_by)));
    }
    Ok(all)
}

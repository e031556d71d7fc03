//! The rows of the deny list: which access tokens are void although they have not expired. A row is removed once
//! every token it matches has expired. The server reads them all before it listens (REV-3).

use super::{
    Error, Store,
    engine::Reads,
    key::Key,
    record::Record,
    rows::readable,
    schema::{INSTANCE, ISSUED, Issued, NOT_BEFORE, NotBefore, REVOKED_SESSIONS, REVOKED_TOKENS, REVOKED_USERS, USERS, VoidTokens},
    table::Table,
};
use crate::domain::{SessionId, Timestamp, TokenId, UserId};

/// The most rows one transaction removes, so that it never holds up other commits for long (STO-15).
const MAX_DELETED_ROWS: usize = 1000;

/// The deny list as the database has it. The last field of each entry is when it may be dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DenyListRows {
    /// Users, each with the lowest token version that is valid.
    pub users: Vec<(UserId, u32, Timestamp)>,
    /// Revoked sessions.
    pub sessions: Vec<(SessionId, Timestamp)>,
    /// Access tokens that were revoked singly.
    pub tokens: Vec<(TokenId, Timestamp)>,
    /// The moment before which every token issued is void.
    pub not_before: Option<(Timestamp, Timestamp)>,
}

/// Entries that the deny list in memory has dropped because they expired, each with the moment it expired.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExpiredEntries {
    /// Users.
    pub users: Vec<(UserId, Timestamp)>,
    /// Sessions.
    pub sessions: Vec<(SessionId, Timestamp)>,
    /// Access tokens.
    pub tokens: Vec<(TokenId, Timestamp)>,
    /// When the entry that voids all tokens issued before a moment expired.
    pub not_before: Option<Timestamp>,
}

impl Store {
    /// Reads the deny list. A damaged row counts as a revocation at least as wide as the one it held, until
    /// `forget_by`: an unreadable revocation is never ignored (STO-9).
    ///
    /// # Errors
    /// The engine's own, and [`Error::Corrupt`].
    pub async fn deny_list(&self, now: Timestamp, forget_by: Timestamp) -> Result<DenyListRows, Error> {
        self.view(move |reads| read_all(reads, now, forget_by)).await
    }

    /// Which access tokens an earlier run may have issued. Nothing is known if the row is damaged or was never written.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn issued(&self) -> Result<Option<Issued>, Error> {
        self.view(|reads| readable(ISSUED.get(reads, &()))).await
    }

    /// Reads what the server needs before it listens. An engine runs this while opening, to find out whether the
    /// database can be read at all.
    ///
    /// # Errors
    /// The engine's own.
    pub fn startup_reads(reads: &dyn Reads) -> Result<(), Error> {
        INSTANCE.get(reads, &())?;
        read_all(reads, Timestamp::default(), Timestamp::default()).map(drop)
    }

    /// Removes the rows of expired entries, unless they were written again since.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn forget(&self, expired: ExpiredEntries) -> Result<(), Error> {
        self.forget_rows(&REVOKED_USERS, &expired.users, |row| row.until).await?;
        self.forget_rows(&REVOKED_SESSIONS, &expired.sessions, |until| until).await?;
        self.forget_rows(&REVOKED_TOKENS, &expired.tokens, |until| until).await?;
        let not_before: Vec<_> = expired.not_before.map(|until| ((), until)).into_iter().collect();
        self.forget_rows(&NOT_BEFORE, &not_before, |row| row.until).await
    }

    async fn forget_rows<K: Key + Copy + Send + 'static, R: Record>(
        &self,
        table: &'static Table<K, R>,
        expired: &[(K, Timestamp)],
        until: fn(R) -> Timestamp,
    ) -> Result<(), Error> {
        for step in expired.chunks(MAX_DELETED_ROWS).map(<[_]>::to_vec) {
            self.revoke(move |t| {
                for (key, expired) in &step {
                    let is_expired = match table.get(t.reads(), key) {
                        // Another revocation may have written the row again since the entry was dropped in memory.
                        Ok(kept) => kept.is_some_and(|row| until(row) <= *expired),
                        Err(Error::Corrupt(_)) => true,
                        Err(error) => return Err(error),
                    };
                    if is_expired {
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
fn read_all(reads: &dyn Reads, now: Timestamp, forget_by: Timestamp) -> Result<DenyListRows, Error> {
    let mut all = DenyListRows::default();
    // When a key cannot be read, the revocation may concern any user: then all tokens are void.
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
        // The user's record has the valid token version. If there is no record, no version is valid.
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

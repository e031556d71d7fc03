//! Reading the whole database: is every row what was written, and do the tables agree?

use super::{
    Error, Store,
    engine::Reads,
    key::Key,
    record::Record,
    schema::{
        ACTIVE_ADMINS, BOOTS, INSTANCE, INVITES, REVOKED_SESSIONS, REVOKED_TOKENS, SESSIONS, SESSIONS_BY_SWEEP, SESSIONS_BY_USER, SETUP,
        USERS, USERS_BY_EMAIL,
    },
    table::Table,
};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, ops::ControlFlow};

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Rows per table, damaged ones included.
    pub counts: BTreeMap<String, u64>,
    /// Everything that is wrong, one sentence each.
    pub violations: Vec<String>,
}

impl Store {
    /// Reads every row and holds the tables against each other. What looks wrong while others write
    /// is looked at again with the writer standing still.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn check(&self) -> Result<Report, Error> {
        let report = survey(self.reads())?;
        if report.violations.is_empty() {
            return Ok(report);
        }
        self.revoke(|t| survey(t.reads())).await
    }
}

fn survey(reads: &dyn Reads) -> Result<Report, Error> {
    let mut report = Report::default();
    report.table(reads, &INSTANCE, |(), _| Ok(None))?;
    report.table(reads, &BOOTS, |(), _| Ok(None))?;
    report.table(reads, &SETUP, |(), _| Ok(None))?;
    report.table(reads, &INVITES, |_, _| Ok(None))?;
    report.table(reads, &REVOKED_SESSIONS, |_, _| Ok(None))?;
    report.table(reads, &REVOKED_TOKENS, |_, _| Ok(None))?;
    report.table(reads, &USERS, |id, user| {
        Ok(if user.id != id {
            Some("has the id of another")
        } else if USERS_BY_EMAIL.get(reads, &user.email)? != Some(id) {
            Some("is not found by its address")
        } else if ACTIVE_ADMINS.get(reads, &id)?.is_some() != user.is_active_admin() {
            Some("is counted among the admins wrongly")
        } else {
            None
        })
    })?;
    report.table(reads, &USERS_BY_EMAIL, |email, id| {
        Ok(USERS.get(reads, &id)?.is_none_or(|user| user.email != email).then_some("leads to no user of that address"))
    })?;
    report.table(reads, &ACTIVE_ADMINS, |id, ()| {
        Ok(USERS.get(reads, &id)?.is_none_or(|user| !user.is_active_admin()).then_some("is no admin"))
    })?;
    report.table(reads, &SESSIONS, |id, session| {
        Ok(if session.id != id {
            Some("has the id of another")
        } else if USERS.get(reads, &session.user)?.is_none() {
            Some("has no user")
        } else if SESSIONS_BY_USER.get(reads, &(session.user, id))?.is_none() {
            Some("is not found by its user")
        } else if SESSIONS_BY_SWEEP.get(reads, &(session.sweep_at, id))?.is_none() || session.sweep_at > session.expires_at {
            Some("would not be swept")
        } else {
            None
        })
    })?;
    report.table(reads, &SESSIONS_BY_USER, |(user, id), ()| {
        Ok(SESSIONS.get(reads, &id)?.is_none_or(|session| session.user != user).then_some("leads to no session of that user"))
    })?;
    report.table(reads, &SESSIONS_BY_SWEEP, |(at, id), ()| {
        Ok(SESSIONS.get(reads, &id)?.is_none_or(|session| session.sweep_at != at).then_some("leads to no session to sweep then"))
    })?;
    report.strangers(reads)?;
    Ok(report)
}

impl Report {
    /// Reads a table, holding each sound row against the others.
    fn table<K: Key, R: Record>(
        &mut self,
        reads: &dyn Reads,
        table: &Table<K, R>,
        wrong: impl Fn(K, R) -> Result<Option<&'static str>, Error>,
    ) -> Result<(), Error> {
        let mut count = 0;
        table.inspect(reads, |key, record| {
            count += 1;
            let Some(key) = key else { return self.violations.push(format!("{}: a key is not one", table.name())) };
            let mut bytes = Vec::new();
            key.write(&mut bytes);
            let name = format!("{} {}", table.name(), HEXLOWER.encode(&bytes));
            // A row that this one leads to may be the damaged one.
            match record.and_then(|record| wrong(key, record)) {
                Ok(None) => {}
                Ok(Some(why)) => self.violations.push(format!("{name}: {why}")),
                Err(error) => self.violations.push(format!("{name}: {error}")),
            }
        })?;
        self.counts.insert(table.name().to_owned(), count);
        Ok(())
    }

    /// Finds rows of no table.
    fn strangers(&mut self, reads: &dyn Reads) -> Result<(), Error> {
        let known = [
            INSTANCE.prefix(),
            BOOTS.prefix(),
            SETUP.prefix(),
            INVITES.prefix(),
            REVOKED_SESSIONS.prefix(),
            REVOKED_TOKENS.prefix(),
            USERS.prefix(),
            USERS_BY_EMAIL.prefix(),
            ACTIVE_ADMINS.prefix(),
            SESSIONS.prefix(),
            SESSIONS_BY_USER.prefix(),
            SESSIONS_BY_SWEEP.prefix(),
        ];
        for prefix in (0..=u8::MAX).filter(|prefix| !known.contains(prefix)) {
            reads.scan(&[prefix], None, &mut |key, _| {
                self.violations.push(format!("a row of no table: {}", HEXLOWER.encode(key)));
                ControlFlow::Continue(())
            })?;
        }
        Ok(())
    }
}

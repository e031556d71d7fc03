//! Reading the whole database: is every row what was written, and do the tables agree?

use super::{
    Error, Store,
    engine::Reads,
    key::Key,
    record::Record,
    schema::{
        ACTIVE_ADMINS, INSTANCE, INVITES, PROGRESS, REVOKED_SESSIONS, REVOKED_TOKENS, SESSIONS, SESSIONS_BY_SWEEP, SESSIONS_BY_USER, SETUP,
        STANDINGS, USERS, USERS_BY_EMAIL,
    },
    table::Table,
};
use crate::domain::Shard;
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
    report.table(reads, &PROGRESS, |(), _| Ok(None))?;
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
        } else if STANDINGS.get(reads, &Shard::from(&id))?.and_then(|row| row.get(&id)) != Some(user.standing()) {
            Some("has another version among the standings")
        } else {
            None
        })
    })?;
    report.table(reads, &USERS_BY_EMAIL, |email, id| {
        Ok(USERS.get(reads, &id)?.is_none_or(|user| user.email != email).then_some("leads to no user of that address"))
    })?;
    report.table(reads, &STANDINGS, |shard, row| {
        for (id, _) in row.iter() {
            if Shard::from(id) != shard || USERS.get(reads, id)?.is_none() {
                return Ok(Some("has the standing of no user"));
            }
        }
        Ok(None)
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
        table.inspect(reads, &[], |key, record| {
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
            PROGRESS.prefix(),
            SETUP.prefix(),
            INVITES.prefix(),
            REVOKED_SESSIONS.prefix(),
            REVOKED_TOKENS.prefix(),
            USERS.prefix(),
            USERS_BY_EMAIL.prefix(),
            STANDINGS.prefix(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{Client, Role, Session, SessionId, Standing, Timestamp, Transport, User, UserId},
        store::{Admission, Change, Created, NewAccount, Observer, Transaction, engine::sled::Sled, standings::note},
    };
    use std::sync::Arc;

    struct Nobody;

    impl Observer for Nobody {
        fn committed(&self, _: Change) {}
    }

    const AT: Timestamp = Timestamp::from_secs(1_700_000_000);
    const USER: UserId = UserId::from_bytes([1; 16]);
    const STANDING: Standing = Standing { version: 1, disabled: false };
    const SESSION: SessionId = SessionId::from_bytes([2; 16]);

    fn email() -> crate::domain::Email {
        "ada@example.org".parse().expect("an address")
    }

    /// A store with an admin who is signed in.
    async fn store(dir: &std::path::Path) -> Store {
        let engine = Sled::open(dir, 0).expect("an engine");
        Store::initialise(&engine, [7; 16], AT).await.expect("initialised");
        let store = Store::open(Box::new(engine), [7; 16], Arc::new(Nobody)).expect("a store");
        let user = User {
            id: USER,
            email: email(),
            password_hash: "$scrypt$".into(),
            role: Role::admin(),
            disabled: false,
            email_verified: false,
            version: 0,
            epoch: 0,
            created_at: AT,
        };
        let end = AT.plus(std::time::Duration::from_secs(60));
        let session = Session {
            id: SESSION,
            user: USER,
            transport: Transport::Body,
            generation: 0,
            token_hash: [3; 32],
            hash_key: "h".into(),
            token_key: "t".into(),
            created_at: AT,
            refreshed_at: AT,
            expires_at: end,
            ends_at: end,
            sweep_at: end,
            replaced_at: vec![],
            replays: 0,
            retry_key: None,
            client: Client { ip: [127, 0, 0, 1].into(), user_agent: String::new() },
        };
        let new = NewAccount { user, session: Some(session), replaces: None, admission: Admission::Open, remember: None };
        assert!(matches!(store.create_account(new).await.expect("durable"), Created::User(_)));
        store
    }

    #[allow(clippy::unit_arg, reason = "a table of damages reads better in one line each")]
    #[tokio::test]
    async fn what_was_taken_away_or_changed_behind_its_back_is_found() {
        type Harm = fn(&mut Transaction<'_>) -> Result<(), Error>;
        let harms: [(Harm, &str); 11] = [
            (|t| Ok(USERS_BY_EMAIL.delete(t.tx, &email())), "is not found by its address"),
            (|t| Ok(ACTIVE_ADMINS.delete(t.tx, &USER)), "is counted among the admins wrongly"),
            (|t| note(t, USER, None), "has another version among the standings"),
            (|t| note(t, UserId::from_bytes([9; 16]), Some(STANDING)), "has the standing of no user"),
            (|t| Ok(SESSIONS_BY_USER.delete(t.tx, &(USER, SESSION))), "is not found by its user"),
            (|t| Ok(SESSIONS.delete(t.tx, &SESSION)), "leads to no session"),
            (|t| Ok(USERS.delete(t.tx, &USER)), "has no user"),
            (|t| USERS_BY_EMAIL.put(t.tx, &"eve@example.org".parse().expect("an address"), &USER), "leads to no user of that address"),
            (|t| ACTIVE_ADMINS.put(t.tx, &UserId::from_bytes([9; 16]), &()), "is no admin"),
            (|t| Ok(t.tx.put([&[USERS.prefix()][..], USER.as_bytes()].concat(), vec![1, 2, 3, 4, 5, 6])), "checksum"),
            (|t| Ok(t.tx.put(vec![0xfe, 1], vec![1])), "a row of no table: fe01"),
        ];
        for (harm, expected) in harms {
            let dir = tempfile::tempdir().expect("a directory");
            let store = store(dir.path()).await;
            let sound = store.check().await.expect("checked");
            assert_eq!(sound.violations, Vec::<String>::new());
            assert_eq!(sound.counts["users"], 1);
            store.revoke(harm).await.expect("harmed");
            let report = store.check().await.expect("checked");
            assert!(report.violations.iter().any(|violation| violation.contains(expected)), "{expected}: {:?}", report.violations);
        }
    }
}

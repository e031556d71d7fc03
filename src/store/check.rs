//! Checks the whole database: whether every row can be read, and whether the tables agree.

use super::{
    Error, Store,
    engine::Reads,
    key::Key,
    record::Record,
    schema::{
        ACTIVE_ADMINS, API_KEYS, EVENTS, EVENTS_BY_USER, INSTANCE, INVITES, ISSUED, NOT_BEFORE, REVOKED_SESSIONS, REVOKED_TOKENS,
        REVOKED_USERS, SESSIONS, SESSIONS_BY_SWEEP, SESSIONS_BY_USER, SETUP, USERS, USERS_BY_EMAIL,
    },
    table::Table,
};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, ops::ControlFlow};

/// The result of a check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Rows per table, damaged ones included.
    pub counts: BTreeMap<String, u64>,
    /// One sentence for each thing that is wrong.
    pub violations: Vec<String>,
}

impl Store {
    /// Reads every row and compares the tables. If something looks wrong, which a concurrent write can cause, it
    /// checks again inside a transaction, when nothing else writes.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn check(&self) -> Result<Report, Error> {
        let report = self.view(check_tables).await?;
        if report.violations.is_empty() {
            return Ok(report);
        }
        self.revoke(|t| check_tables(t.reads())).await
    }
}

fn check_tables(reads: &dyn Reads) -> Result<Report, Error> {
    let mut report = Report::default();
    report.table(reads, &INSTANCE, |(), _| Ok(None))?;
    report.table(reads, &SETUP, |(), _| Ok(None))?;
    report.table(reads, &INVITES, |_, _| Ok(None))?;
    report.deny_list(reads)?;
    report.users(reads)?;
    report.sessions(reads)?;
    report.table(reads, &API_KEYS, |(owner, id), key| {
        Ok(if key.id != id || key.owner != owner {
            Some("has the id of another")
        } else {
            USERS.get(reads, &owner)?.is_none().then_some("has no user")
        })
    })?;
    report.events(reads)?;
    report.unknown_rows(reads)?;
    Ok(report)
}

impl Report {
    fn deny_list(&mut self, reads: &dyn Reads) -> Result<(), Error> {
        self.table(reads, &NOT_BEFORE, |(), _| Ok(None))?;
        self.table(reads, &ISSUED, |(), _| Ok(None))?;
        self.table(reads, &REVOKED_USERS, |id, void| {
            let is_wrong = USERS.get(reads, &id)?.is_some_and(|user| user.token_version < void.least_version);
            Ok(is_wrong.then_some("voids tokens of a version not given yet"))
        })?;
        self.table(reads, &REVOKED_SESSIONS, |_, _| Ok(None))?;
        self.table(reads, &REVOKED_TOKENS, |_, _| Ok(None))
    }

    fn users(&mut self, reads: &dyn Reads) -> Result<(), Error> {
        self.table(reads, &USERS, |id, user| {
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
        self.table(reads, &USERS_BY_EMAIL, |email, id| {
            Ok(USERS.get(reads, &id)?.is_none_or(|user| user.email != email).then_some("leads to no user of that address"))
        })?;
        self.table(reads, &ACTIVE_ADMINS, |id, ()| {
            Ok(USERS.get(reads, &id)?.is_none_or(|user| !user.is_active_admin()).then_some("is no admin"))
        })
    }

    fn sessions(&mut self, reads: &dyn Reads) -> Result<(), Error> {
        self.table(reads, &SESSIONS, |id, session| {
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
        self.table(reads, &SESSIONS_BY_USER, |(user, id), ()| {
            Ok(SESSIONS.get(reads, &id)?.is_none_or(|session| session.user != user).then_some("leads to no session of that user"))
        })?;
        self.table(reads, &SESSIONS_BY_SWEEP, |(at, id), ()| {
            Ok(SESSIONS.get(reads, &id)?.is_none_or(|session| session.sweep_at != at).then_some("leads to no session to sweep then"))
        })
    }

    fn events(&mut self, reads: &dyn Reads) -> Result<(), Error> {
        self.table(reads, &EVENTS, |id, (_, event)| {
            for user in event.users() {
                if EVENTS_BY_USER.get(reads, &(user, id))?.is_none() {
                    return Ok(Some("is not found by its user"));
                }
            }
            Ok(None)
        })?;
        self.table(reads, &EVENTS_BY_USER, |(user, id), ()| {
            let event = EVENTS.get(reads, &id)?;
            Ok(event.is_none_or(|(_, event)| event.users().all(|about| about != user)).then_some("leads to no event about that user"))
        })
    }

    /// Reads a table and checks each readable row against the other tables with `wrong`.
    fn table<K: Key, R: Record>(
        &mut self,
        reads: &dyn Reads,
        table: &Table<K, R>,
        wrong: impl Fn(K, R) -> Result<Option<&'static str>, Error>,
    ) -> Result<(), Error> {
        let mut count = 0;
        table.scan_with_damage(reads, &[], |key, record| {
            count += 1;
            let Some(key) = key else { return self.violations.push(format!("{}: a key is not one", table.name())) };
            let mut bytes = Vec::new();
            key.write(&mut bytes);
            let name = format!("{} {}", table.name(), HEXLOWER.encode(&bytes));
            // The error may come from another row that this one refers to.
            match record.and_then(|record| wrong(key, record)) {
                Ok(None) => {}
                Ok(Some(why)) => self.violations.push(format!("{name}: {why}")),
                Err(error) => self.violations.push(format!("{name}: {error}")),
            }
        })?;
        self.counts.insert(table.name().to_owned(), count);
        Ok(())
    }

    /// Finds rows that belong to no table.
    fn unknown_rows(&mut self, reads: &dyn Reads) -> Result<(), Error> {
        let known = [
            INSTANCE.prefix(),
            SETUP.prefix(),
            INVITES.prefix(),
            NOT_BEFORE.prefix(),
            ISSUED.prefix(),
            REVOKED_USERS.prefix(),
            REVOKED_SESSIONS.prefix(),
            REVOKED_TOKENS.prefix(),
            USERS.prefix(),
            USERS_BY_EMAIL.prefix(),
            ACTIVE_ADMINS.prefix(),
            SESSIONS.prefix(),
            SESSIONS_BY_USER.prefix(),
            SESSIONS_BY_SWEEP.prefix(),
            API_KEYS.prefix(),
            EVENTS.prefix(),
            EVENTS_BY_USER.prefix(),
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
        domain::{By, Event, Kind, Role, Session, SessionId, Timestamp, User, UserId},
        store::{Created, Deny, NewAccount, RegistrationProof, Transaction, engine::memory::Memory, schema::VoidTokens, tests::opened},
    };

    const AT: Timestamp = Timestamp::from_secs(1_700_000_000);
    const USER: UserId = UserId::from_bytes([1; 16]);
    const OTHER: UserId = UserId::from_bytes([9; 16]);
    const SESSION: SessionId = SessionId::from_bytes([2; 16]);
    const DENY: Deny = Deny { until: AT, lifetime: std::time::Duration::ZERO, not_before: None };

    fn email() -> crate::domain::Email {
        "ada@example.org".parse().expect("an address")
    }

    /// A store with an admin who has a session.
    async fn store() -> Store {
        let (store, _) = opened(Box::new(Memory::default())).await;
        let user = User { id: USER, email: email(), role: Role::admin(), ..User::example() };
        let session = Session { id: SESSION, user: USER, ..Session::example() };
        let new = NewAccount {
            user,
            session: Some(session),
            replaces: None,
            proof: RegistrationProof::Open,
            deny: DENY,
            event: Event::new(Kind::UserAdded, By::Operator).target(USER),
        };
        assert!(matches!(store.create_account(new).await.expect("durable"), Created::User(_)));
        store
    }

    fn last_event(t: &Transaction<'_>) -> Result<crate::domain::EventId, Error> {
        EVENTS.first_key(t.reads(), &[])?.ok_or(Error::NotOurs)
    }

    #[allow(clippy::unit_arg, reason = "a table of damages reads better in one line each")]
    #[tokio::test]
    async fn what_was_taken_away_or_changed_behind_its_back_is_found() {
        type Harm = fn(&mut Transaction<'_>) -> Result<(), Error>;
        let harms: [(Harm, &str); 12] = [
            (|t| Ok(USERS_BY_EMAIL.delete(t.tx, &email())), "is not found by its address"),
            (|t| Ok(ACTIVE_ADMINS.delete(t.tx, &USER)), "is counted among the admins wrongly"),
            (|t| REVOKED_USERS.put(t.tx, &USER, &VoidTokens { least_version: 9, until: AT }), "of a version not given yet"),
            (|t| Ok(SESSIONS_BY_USER.delete(t.tx, &(USER, SESSION))), "is not found by its user"),
            (|t| Ok(SESSIONS.delete(t.tx, &SESSION)), "leads to no session"),
            (|t| Ok(USERS.delete(t.tx, &USER)), "has no user"),
            (|t| USERS_BY_EMAIL.put(t.tx, &"eve@example.org".parse().expect("an address"), &USER), "leads to no user of that address"),
            (|t| last_event(t).map(|id| EVENTS_BY_USER.delete(t.tx, &(USER, id))), "is not found by its user"),
            (|t| last_event(t).and_then(|id| EVENTS_BY_USER.put(t.tx, &(OTHER, id), &())), "leads to no event about that user"),
            (|t| ACTIVE_ADMINS.put(t.tx, &UserId::from_bytes([9; 16]), &()), "is no admin"),
            (|t| Ok(t.tx.put([&[USERS.prefix()][..], USER.as_bytes()].concat(), vec![1, 2, 3, 4, 5, 6])), "checksum"),
            (|t| Ok(t.tx.put(vec![0xfe, 1], vec![1])), "a row of no table: fe01"),
        ];
        for (harm, expected) in harms {
            let store = store().await;
            let sound = store.check().await.expect("checked");
            assert_eq!(sound.violations, Vec::<String>::new());
            assert_eq!(sound.counts["users"], 1);
            store.revoke(harm).await.expect("harmed");
            let report = store.check().await.expect("checked");
            assert!(report.violations.iter().any(|violation| violation.contains(expected)), "{expected}: {:?}", report.violations);
        }
    }
}

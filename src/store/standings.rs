//! Every user's standing, many to a row: a start reads these, not a million accounts (REV-3).

use super::{
    Error, Transaction,
    engine::Reads,
    schema::{STANDINGS, USERS},
};
use crate::domain::{Everybody, Shard, Standing, Standings, UserId};
use std::ops::ControlFlow;

/// Notes a user's standing, or that there is no such user any more.
pub(super) fn note(t: &mut Transaction<'_>, id: UserId, standing: Option<Standing>) -> Result<(), Error> {
    let shard = Shard::from(&id);
    let (mut row, is_damaged) = match STANDINGS.get(t.reads(), &shard) {
        Ok(row) => (row.unwrap_or_default(), false),
        // Damage must not keep anybody from revoking (STO-9).
        Err(Error::Corrupt(_)) => (of_accounts(t.reads(), &shard.0)?, true),
        Err(error) => return Err(error),
    };
    let before = row.set(id, standing);
    if row.is_empty() {
        STANDINGS.delete(t.tx, &shard);
    } else if before != standing || is_damaged {
        STANDINGS.put(t.tx, &shard, &row)?;
    }
    Ok(())
}

/// Every user's standing.
pub(super) fn all(reads: &dyn Reads) -> Result<Everybody, Error> {
    let (mut all, mut damaged) = (Everybody::default(), Vec::new());
    STANDINGS.inspect(reads, &[], |shard, row| match (shard, row) {
        (Some(shard), Ok(row)) => all.adopt(shard, row),
        (shard, row) => {
            let why = row.err().map_or_else(|| "standings: a key is not one".to_owned(), |error| error.to_string());
            tracing::error!("{why}; read from the accounts instead; `doorward check` lists every damaged row");
            damaged.extend(shard);
        }
    })?;
    for shard in damaged {
        all.adopt(shard, of_accounts(reads, &shard.0)?);
    }
    Ok(all)
}

/// Writes the rows of these shards anew, as the accounts are.
pub(super) fn rebuild(t: &mut Transaction<'_>, shards: &[Shard]) -> Result<(), Error> {
    for shard in shards {
        let row = of_accounts(t.reads(), &shard.0)?;
        if row.is_empty() {
            STANDINGS.delete(t.tx, shard);
        } else {
            STANDINGS.put(t.tx, shard, &row)?;
        }
    }
    Ok(())
}

/// The standings of the users whose ids begin with `prefix`, as their accounts have them: a damaged
/// account is unknown (STO-9).
pub(super) fn of_accounts(reads: &dyn Reads, prefix: &[u8]) -> Result<Standings, Error> {
    let mut row = Vec::new();
    USERS.scan(reads, prefix, None, |id, user| {
        row.push((id, user.standing()));
        ControlFlow::Continue(())
    })?;
    Ok(row.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{Role, Timestamp, User},
        store::{
            Admission, Change, Created, NewAccount, Observer, Store,
            engine::sled::Sled,
            schema::{INSTANCE, Instance},
        },
    };
    use std::{path::Path, sync::Arc};

    struct Nobody;

    impl Observer for Nobody {
        fn committed(&self, _: Change) {}
    }

    async fn open(dir: &Path) -> Store {
        let engine = Sled::open(dir, 0).expect("an engine");
        Store::initialise(&engine, [7; 16], Timestamp::default()).await.expect("initialised");
        Store::open(Box::new(engine), [7; 16], Arc::new(Nobody)).expect("a store")
    }

    /// Users of one shard and of others.
    async fn filled(dir: &Path) -> (Store, Vec<(UserId, Standing)>) {
        let store = open(dir).await;
        let mut standings = Vec::new();
        for number in 0..5_u8 {
            let mut id = [number / 2; 16];
            id[15] = number;
            let user = User {
                id: UserId::from_bytes(id),
                email: format!("user{number}@example.org").parse().expect("an address"),
                password_hash: String::new(),
                role: Role::admin(),
                disabled: number == 3,
                email_verified: false,
                version: number.into(),
                epoch: 0,
                created_at: Timestamp::default(),
            };
            standings.push((user.id, user.standing()));
            let account = NewAccount { user, session: None, replaces: None, admission: Admission::Open, remember: None };
            assert!(matches!(store.create_account(account).await, Ok(Created::User(_))));
        }
        (store, standings)
    }

    fn knows(store: &Store, standings: &[(UserId, Standing)]) {
        assert_eq!(store.revocations(Timestamp::default()).expect("readable").users, standings.iter().copied().collect());
    }

    #[tokio::test]
    async fn rev_3_a_database_from_before_there_were_standings_knows_everybody_at_once_and_is_brought_up() {
        let dir = tempfile::tempdir().expect("a directory");
        let (store, standings) = filled(dir.path()).await;
        store
            .transact(|t| {
                (0..3).for_each(|first| STANDINGS.delete(t.tx, &Shard([first; 2])));
                // Left by an upgrade that was cut short, of somebody an earlier release deleted since.
                let gone = [(UserId::from_bytes([9; 16]), Standing { version: 1, disabled: false })];
                STANDINGS.put(t.tx, &Shard([9; 2]), &gone.into_iter().collect())?;
                INSTANCE.put(t.tx, &(), &Instance { schema: 1, id: [7; 16], created_at: Timestamp::default() })
            })
            .await
            .expect("as an earlier release wrote it");
        drop(store);
        let old = open(dir.path()).await;
        knows(&old, &standings);
        old.upgrade().await.expect("brought up");
        drop(old);
        let new = open(dir.path()).await;
        knows(&new, &standings);
        assert_eq!(new.check().await.expect("checked").violations, Vec::<String>::new());
    }

    #[tokio::test]
    async fn sto_9_a_damaged_row_is_read_from_its_accounts_and_mended_by_the_next_change() {
        let dir = tempfile::tempdir().expect("a directory");
        let (store, mut standings) = filled(dir.path()).await;
        let key = [STANDINGS.prefix(), 1, 1];
        store
            .transact(move |t| {
                t.tx.put(key.to_vec(), b"damaged".to_vec());
                Ok(())
            })
            .await
            .expect("written");
        knows(&store, &standings);
        let (user, standing) = standings.iter_mut().find(|(_, standing)| standing.version == 2).expect("one of that shard");
        store.end_all(*user).await.expect("damage keeps nobody from revoking");
        standing.version = 3;
        knows(&store, &standings);
        assert_eq!(store.check().await.expect("checked").violations, Vec::<String>::new());
    }
}

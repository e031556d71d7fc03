//! Every user's standing, many to a row: a start reads these, not a million accounts (REV-3).

use super::{
    Error, Transaction,
    engine::Reads,
    schema::{STANDINGS, USERS},
};
use crate::domain::{Standing, UserId};
use std::{
    collections::{BTreeMap, HashMap},
    ops::ControlFlow,
};

/// The users whose ids begin with the same two bytes: they share a row. Ids are random, so at a
/// million users a row holds fifteen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shard(pub [u8; 2]);

impl From<&UserId> for Shard {
    fn from(id: &UserId) -> Self {
        let [first, second, ..] = *id.as_bytes();
        Self([first, second])
    }
}

/// The standings of one shard.
pub type Standings = BTreeMap<UserId, Standing>;

/// Notes a user's standing, or that there is no such user any more.
pub(super) fn note(t: &mut Transaction<'_>, id: UserId, standing: Option<Standing>) -> Result<(), Error> {
    let shard = Shard::from(&id);
    let mut row = match STANDINGS.get(t.reads(), &shard) {
        Ok(row) => row.unwrap_or_default(),
        // Damage must not keep anybody from revoking (STO-9).
        Err(Error::Corrupt(_)) => from_accounts(t.reads(), shard)?,
        Err(error) => return Err(error),
    };
    let before = match standing {
        Some(standing) => row.insert(id, standing),
        None => row.remove(&id),
    };
    if row.is_empty() {
        STANDINGS.delete(t.tx, &shard);
    } else if before != standing {
        STANDINGS.put(t.tx, &shard, &row)?;
    }
    Ok(())
}

/// Every user's standing.
pub(super) fn all(reads: &dyn Reads) -> Result<HashMap<UserId, Standing>, Error> {
    let (mut all, mut damaged) = (HashMap::new(), Vec::new());
    STANDINGS.inspect(reads, &[], |shard, row| match (row, shard) {
        (Ok(row), _) => all.extend(row),
        (Err(error), shard) => {
            tracing::error!("{error}; read from the accounts instead; `doorward check` lists every damaged row");
            damaged.extend(shard);
        }
    })?;
    for shard in damaged {
        all.extend(from_accounts(reads, shard)?);
    }
    Ok(all)
}

/// Writes the rows of these shards anew, as the accounts are.
pub(super) fn rebuild(t: &mut Transaction<'_>, shards: &[Shard]) -> Result<(), Error> {
    for shard in shards {
        let row = from_accounts(t.reads(), *shard)?;
        STANDINGS.put(t.tx, shard, &row)?;
    }
    Ok(())
}

/// A shard's standings as its accounts have them: a damaged account is unknown (STO-9).
fn from_accounts(reads: &dyn Reads, shard: Shard) -> Result<Standings, Error> {
    let mut row = Standings::new();
    USERS.scan(reads, &shard.0, None, |id, user| {
        row.insert(id, user.standing());
        ControlFlow::Continue(())
    })?;
    Ok(row)
}

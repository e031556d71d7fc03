//! What one database has that an older one has not.

use crate::{
    domain::{EventId, Timestamp, UserId},
    store::{
        Error, Store,
        schema::{EVENTS, USERS},
    },
};
use std::{collections::BTreeSet, ops::ControlFlow};

/// Whom a database knows, and how far it goes.
#[derive(Debug, Clone, Default)]
pub struct Extent {
    /// Its users.
    pub users: BTreeSet<UserId>,
    /// Its latest event.
    pub last_event: Option<EventId>,
}

/// What a database has beyond the extent of another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct News {
    /// Users whom the other does not know.
    pub users: usize,
    /// Events after the other's latest.
    pub events: usize,
    /// When the latest of these was.
    pub latest: Option<Timestamp>,
}

impl Store {
    /// Whom it knows, and how far it goes.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn extent(&self) -> Result<Extent, Error> {
        self.view(|reads| {
            let mut extent = Extent { last_event: EVENTS.first_key(reads, &[])?, ..Extent::default() };
            USERS.scan(reads, &[], None, |id, _| {
                extent.users.insert(id);
                ControlFlow::Continue(())
            })?;
            Ok(extent)
        })
        .await
    }

    /// What it has beyond the extent of another database.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn beyond(&self, other: &Extent) -> Result<News, Error> {
        let users = self.extent().await?.users.difference(&other.users).count();
        self.view(|reads| {
            let mut news = News { users, ..News::default() };
            // The latest comes first.
            EVENTS.scan(reads, &[], None, |id, (at, _)| {
                if other.last_event.is_some_and(|last| id <= last) {
                    return ControlFlow::Break(());
                }
                news.events += 1;
                news.latest.get_or_insert(at);
                ControlFlow::Continue(())
            })?;
            Ok(news)
        })
        .await
    }
}

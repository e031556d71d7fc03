//! The feed of revocations, as services read it that verify access tokens by themselves.
//!
//! A reader says what it has read last, by a cursor: a number, and the run of the server that gave it, as numbers begin anew
//! with each start. A reader with a cursor of another run, or from too long ago, starts anew with the whole deny list. So
//! nothing is ever missed, and what is told twice does no harm: revocations only add to each other.

use super::{
    denylist::DenyList,
    feed::{Change, Cursor},
};
use crate::domain::SessionId;
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::time::{Instant, timeout_at};

/// The most readers at once. Each occupies a connection, of which there are 1024.
const MAX_READERS: usize = 128;

/// The most readers of one API key or session, so that one that runs wild does not take all places.
const MAX_READERS_OF_ONE: usize = 8;

/// The feed, as it is read.
pub struct Revocations {
    denylist: Arc<DenyList>,
    readers: Arc<Readers>,
}

/// How many readers there are, by whom.
#[derive(Default)]
struct Readers(Mutex<HashMap<SessionId, usize>>);

/// The place of one reader. Dropping it gives the place back.
struct Place {
    readers: Arc<Readers>,
    holder: SessionId,
}

impl Readers {
    fn take(self: &Arc<Self>, holder: SessionId) -> Option<Place> {
        let mut readers = self.0.lock();
        let (all, own) = (readers.values().sum::<usize>(), readers.get(&holder).copied().unwrap_or_default());
        if all >= MAX_READERS || own >= MAX_READERS_OF_ONE {
            return None;
        }
        readers.insert(holder, own + 1);
        Some(Place { readers: Arc::clone(self), holder })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut readers = self.readers.0.lock();
        match readers.get_mut(&self.holder) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(readers.remove(&self.holder)),
        }
    }
}

impl Revocations {
    /// The feed of this deny list.
    #[must_use]
    pub fn new(denylist: Arc<DenyList>) -> Self {
        Self { denylist, readers: Arc::default() }
    }

    /// A reader who has read up to a cursor, or nothing yet; `holder` is the session or the API key of the request. `None` if
    /// there are too many.
    #[must_use]
    pub fn reader(&self, holder: SessionId, read: Option<Cursor>) -> Option<Reader> {
        let place = self.readers.take(holder)?;
        Some(Reader { denylist: Arc::clone(&self.denylist), read, _place: place })
    }

    /// Lets all readers go: the server stops.
    pub fn close(&self) {
        self.denylist.feed().close();
    }
}

/// What is new to a reader.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// What has been read with this.
    pub cursor: Cursor,
    /// Whether the reader starts anew: these are all changes that matter, and it forgets what it had.
    pub starts_anew: bool,
    /// The changes.
    pub changes: Vec<Change>,
}

/// A reader of the feed.
pub struct Reader {
    denylist: Arc<DenyList>,
    read: Option<Cursor>,
    _place: Place,
}

impl Reader {
    /// What is new; if nothing is, waits for it as long as this.
    pub async fn next(&mut self, wait: Duration) -> Page {
        let denylist = Arc::clone(&self.denylist);
        let (mut latest, deadline) = (denylist.feed().subscribe(), Instant::now() + wait);
        loop {
            let is_closed = latest.borrow_and_update().is_closed;
            let page = self.page();
            let is_news = page.starts_anew || !page.changes.is_empty();
            if is_news || is_closed || !matches!(timeout_at(deadline, latest.changed()).await, Ok(Ok(()))) {
                self.read = Some(page.cursor);
                return page;
            }
        }
    }

    /// Whether the server stops.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.denylist.feed().subscribe().borrow().is_closed
    }

    fn page(&self) -> Page {
        if let Some((cursor, changes)) = self.read.and_then(|read| self.denylist.feed().since(read)) {
            return Page { cursor, starts_anew: false, changes };
        }
        // The cursor first: what is revoked in between is told twice, and not missed.
        let cursor = self.denylist.feed().latest();
        Page { cursor, starts_anew: true, changes: self.denylist.revocations().into_iter().map(Change::Revoked).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::feed::{MAX_CHANGES, Revocation},
        *,
    };
    use crate::{
        domain::{SessionId, Timestamp},
        store::{CommitEvent, Observer},
    };

    const HOLDER: SessionId = SessionId::from_bytes([9; 16]);
    const NOW: Duration = Duration::ZERO;
    const LATE: Timestamp = Timestamp::from_secs(4_000_000_000);

    fn session(n: u8) -> SessionId {
        SessionId::from_bytes([n; 16])
    }

    fn told(n: u8) -> Change {
        Change::Revoked(Revocation::Session(session(n), LATE))
    }

    fn revoke(denylist: &DenyList, n: u8) {
        denylist.committed(CommitEvent::SessionRevoked(session(n), LATE));
    }

    #[tokio::test]
    async fn a_reader_starts_with_the_whole_list_and_goes_on_from_its_cursor() {
        let denylist = Arc::new(DenyList::default());
        let revocations = Revocations::new(Arc::clone(&denylist));
        revoke(&denylist, 1);
        let first = revocations.reader(HOLDER, None).expect("room").next(NOW).await;
        assert!(first.starts_anew);
        assert_eq!(first.changes, [told(1)]);
        let mut reader = revocations.reader(HOLDER, Cursor::parse(&first.cursor.to_string())).expect("room");
        assert_eq!(reader.next(NOW).await, Page { changes: vec![], starts_anew: false, ..first });
        revoke(&denylist, 2);
        denylist.feed().push(Change::Keys);
        let second = reader.next(NOW).await;
        assert!(!second.starts_anew);
        assert_eq!(second.changes, [told(2), Change::Keys]);
        assert_eq!(reader.next(NOW).await.changes, []);
        // Whoever reconnects with the earlier cursor is told the same.
        assert_eq!(revocations.reader(HOLDER, Some(first.cursor)).expect("room").next(NOW).await, second);
    }

    #[tokio::test]
    async fn who_is_too_far_behind_or_was_never_here_starts_anew() {
        let denylist = Arc::new(DenyList::default());
        let revocations = Revocations::new(Arc::clone(&denylist));
        let start = revocations.reader(HOLDER, None).expect("room").next(NOW).await.cursor;
        for _ in 0..MAX_CHANGES {
            revoke(&denylist, 1);
        }
        let mut reader = revocations.reader(HOLDER, Some(start)).expect("room");
        let page = reader.next(NOW).await;
        assert!(!page.starts_anew && page.changes.len() == MAX_CHANGES, "all are kept");
        revoke(&denylist, 1);
        let (run, _) = page.cursor.to_string().split_once('-').map(|(run, number)| (run.to_owned(), number.to_owned())).expect("two parts");
        for cursor in [start.to_string(), "0123456789abcdef-1".into(), format!("{run}-999999"), format!("{run}-{}", u64::MAX)] {
            let page = revocations.reader(HOLDER, Cursor::parse(&cursor)).expect("room").next(NOW).await;
            assert!(page.starts_anew && page.changes == [told(1)], "{cursor}: {page:?}");
        }
        for text in ["", "-", "x", "1", "0000000000000000", "-1-1", "0000000000000000-x", &"9".repeat(99)] {
            assert_eq!(Cursor::parse(text), None, "{text}");
        }
    }

    #[tokio::test]
    async fn a_reader_is_woken_by_a_revocation_and_when_the_server_stops() {
        let denylist = Arc::new(DenyList::default());
        let revocations = Revocations::new(Arc::clone(&denylist));
        let mut reader = revocations.reader(HOLDER, None).expect("room");
        reader.next(NOW).await;
        let an_hour = Duration::from_secs(3600);
        let (page, ()) = tokio::join!(reader.next(an_hour), async { revoke(&denylist, 1) });
        assert_eq!(page.changes, [told(1)]);
        assert!(!reader.is_closed());
        let (page, ()) = tokio::join!(reader.next(an_hour), async { revocations.close() });
        assert_eq!(page.changes, []);
        assert!(reader.is_closed());
    }

    #[tokio::test]
    async fn there_are_so_many_readers_and_each_gives_its_place_back() {
        let revocations = Revocations::new(Arc::default());
        let holder = |n: usize| SessionId::from_bytes((n as u128).to_be_bytes());
        let mut readers: Vec<_> = (0..MAX_READERS_OF_ONE).map(|_| revocations.reader(holder(0), None).expect("room")).collect();
        assert!(revocations.reader(holder(0), None).is_none(), "one has so many");
        readers.pop();
        readers.push(revocations.reader(holder(0), None).expect("room again"));
        readers.extend((MAX_READERS_OF_ONE..MAX_READERS).map(|n| revocations.reader(holder(n), None).expect("room")));
        assert!(revocations.reader(holder(1), None).is_none(), "all are taken");
        drop(readers);
        assert!(revocations.readers.0.lock().is_empty());
    }
}

//! How a rollback is noticed (STO-14). sled takes damage near the end of its file for a write that was cut
//! off, and silently starts from what is before it; and somebody may put an older copy of the database
//! back. So once a second, if anything was written, a number that only grows is written into the
//! database and then into a file beside it. A database whose number is below the file's has lost
//! commits that were acknowledged; all but those of the last second are noticed.

use crate::store::Error;
use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// How often the number grows, at most.
const EVERY: Duration = Duration::from_secs(1);

/// A tree of its own: the store's tree holds what the store has written and nothing else.
const TREE: &[u8] = b"marker";
const KEY: &[u8] = b"";

/// The number in the database and the file beside it.
pub struct Marker {
    tree: sled::Tree,
    path: PathBuf,
    /// The highest number there ever was.
    number: u64,
    written: Instant,
    /// Something was committed since the number was written.
    is_due: bool,
    /// The database is older than the file says, and that has not been accepted yet.
    pub rolled_back: Arc<AtomicBool>,
}

impl Marker {
    /// Reads both numbers.
    pub fn open(db: &sled::Db, path: &Path) -> Result<Self, Error> {
        let tree = db.open_tree(TREE)?;
        let kept = tree.get(KEY)?.and_then(|bytes| Some(u64::from_le_bytes(bytes.as_ref().try_into().ok()?))).unwrap_or(0);
        let noted = fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        let rolled_back = Arc::new(AtomicBool::new(kept < noted));
        Ok(Self { tree, path: path.to_owned(), number: kept.max(noted), written: Instant::now(), is_due: false, rolled_back })
    }

    /// Something was committed.
    pub const fn committed(&mut self) {
        self.is_due = true;
    }

    /// Whether the number is to grow now.
    pub fn is_due(&self) -> bool {
        self.is_due_at_the_end() && self.written.elapsed() >= EVERY
    }

    /// Whether it is to grow when the database is closed.
    pub fn is_due_at_the_end(&self) -> bool {
        // A rollback that was not accepted yet stays one at the next start.
        self.is_due && !self.rolled_back.load(Relaxed)
    }

    /// The next number into the database; the caller makes it durable and then calls [`Marker::note`].
    pub fn advance(&mut self) -> Result<(), Error> {
        self.number += 1;
        self.written = Instant::now();
        self.is_due = false;
        self.tree.insert(KEY, &self.number.to_le_bytes())?;
        Ok(())
    }

    /// The number into the file. Not to be able to is no failure: a rollback to before it goes unnoticed.
    pub fn note(&self) {
        let new = self.path.with_extension("new");
        let write = || -> io::Result<()> {
            let links = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).custom_flags(links).open(&new)?;
            file.write_all(self.number.to_string().as_bytes())?;
            fs::rename(&new, &self.path)
        };
        if let Err(error) = write() {
            tracing::debug!(%error, "{}: cannot be written", self.path.display());
        }
    }
}

//! How a rollback is noticed (STO-14). sled takes damage near the end of its file for an interrupted write and
//! silently starts from what is before it; and somebody may restore an older copy of the database. So once a
//! second, if anything was written, a growing number is written into the database and then into a file beside it.
//! A database whose number is below the file's has lost acknowledged commits. Only the loss of the last second's
//! commits goes unnoticed.

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

/// How often the number grows at most.
const INTERVAL: Duration = Duration::from_secs(1);

/// The marker has a tree of its own, because the store's tree holds only what the store has written.
const TREE: &[u8] = b"marker";
const KEY: &[u8] = b"";

/// The number in the database and the file beside it.
pub struct Marker {
    tree: sled::Tree,
    path: PathBuf,
    /// The highest number so far.
    number: u64,
    written: Instant,
    /// Whether anything was committed since the number was written.
    is_due: bool,
    /// Whether the number in the database is below the one in the file.
    is_behind: bool,
    /// Whether the database is older than the file says and that has not been accepted yet.
    pub rolled_back: Arc<AtomicBool>,
}

impl Marker {
    /// Reads both numbers.
    pub fn open(db: &sled::Db, path: &Path) -> Result<Self, Error> {
        let tree = db.open_tree(TREE)?;
        let kept = tree.get(KEY)?.and_then(|bytes| Some(u64::from_le_bytes(bytes.as_ref().try_into().ok()?))).unwrap_or(0);
        let noted: Option<u64> = fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
        if noted.is_none() && kept > 0 {
            tracing::warn!(
                "{}: missing or unreadable, so it cannot be told whether the database is an older copy. If it is one, revoke what was \
                 revoked since: `doorward session revoke --user`, or `doorward user disable`",
                path.display()
            );
        }
        let noted = noted.unwrap_or(0);
        let (is_behind, number) = (kept < noted, kept.max(noted));
        let rolled_back = Arc::new(AtomicBool::new(is_behind));
        Ok(Self { tree, path: path.to_owned(), number, written: Instant::now(), is_due: is_behind, is_behind, rolled_back })
    }

    /// Notes that something was committed.
    pub const fn committed(&mut self) {
        self.is_due = true;
    }

    /// Whether the number should grow now.
    pub fn is_due(&self) -> bool {
        self.is_due_at_the_end() && (self.is_behind || self.written.elapsed() >= INTERVAL)
    }

    /// Whether the number should grow when the database is closed.
    pub fn is_due_at_the_end(&self) -> bool {
        // While a rollback is not accepted, the number must not grow: the next start must notice it again.
        self.is_due && !self.rolled_back.load(Relaxed)
    }

    /// Writes the next number into the database. The caller makes it durable and then calls [`Marker::write_file`].
    pub fn advance(&mut self) -> Result<(), Error> {
        self.number += 1;
        self.written = Instant::now();
        (self.is_due, self.is_behind) = (false, false);
        self.tree.insert(KEY, &self.number.to_le_bytes())?;
        Ok(())
    }

    /// Writes the number into the file. Failing to is not an error: a rollback past this number then goes unnoticed.
    pub fn write_file(&self) {
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

//! sled's files in a data directory, and opening them: on a thread with a timeout, again while the lock is still
//! held, and again without a damaged snapshot.

use super::{
    super::{Engine, StartupReads, Storage},
    Sled,
};
use crate::store::Error;
use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::mpsc,
    time::{Duration, Instant},
};

/// The names of all files this engine may have in a data directory.
pub const FILES: [&str; 5] = ["db", "marker", "marker.new", "progress", "progress.new"];

/// The name of the thread that opens the database. sled panics on it when the database is damaged; that is reported
/// as an error.
pub const OPENING_THREAD: &str = "store-open";

/// How long opening may take. A million users take less than a second.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);

/// How long sled may take to release the lock of a database that was closed.
const LOCK_RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// Where sled keeps a database: the directory `db` of a data directory, and a file `marker` beside it.
pub struct SledStorage {
    data_dir: PathBuf,
    min_free: u64,
}

impl SledStorage {
    /// The database of a data directory. With less than `min_free` bytes free on its disk, only revocations are
    /// written.
    #[must_use]
    pub fn new(data_dir: &Path, min_free: u64) -> Self {
        Self { data_dir: data_dir.to_owned(), min_free }
    }

    fn directory(&self) -> PathBuf {
        self.data_dir.join("db")
    }

    /// Opens the database and reads from it. sled hangs or panics on some damage, so a timeout and a panic are
    /// reported as [`Error::Corrupt`] (STO-6).
    fn open_with_timeout(&self, read: StartupReads) -> Result<Sled, Error> {
        let (directory, min_free, marker) = (self.directory(), self.min_free, self.data_dir.join("marker"));
        let open = move || {
            let sled = Sled::open(&directory, min_free, &marker)?;
            read(&sled.tree)?;
            Ok(sled)
        };
        let (reply, answer) = mpsc::channel();
        let thread = std::thread::Builder::new().name(OPENING_THREAD.into()).spawn(move || {
            // The caller may have timed out and gone.
            let _ = reply.send(open());
        });
        thread.map_err(|error| Error::Storage(format!("no thread to open it: {error}").into()))?;
        match answer.recv_timeout(OPEN_TIMEOUT) {
            Ok(opened) => opened,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                Err(Error::Corrupt(format!("it did not open within {}s", OPEN_TIMEOUT.as_secs()).into()))
            }
            // The thread ended without an answer: sled panicked.
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(Error::Corrupt("it cannot be read".into())),
        }
    }

    /// Moves sled's snapshots aside. Returns whether there were any. A snapshot only summarises the database, and
    /// sled rebuilds it (STO-7).
    fn set_snapshots_aside(&self) -> Result<bool, Error> {
        let mut found = false;
        for entry in fs::read_dir(self.directory()).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("snap.") {
                fs::rename(entry.path(), self.data_dir.join(format!("damaged-{name}"))).map_err(failed)?;
                found = true;
            }
        }
        Ok(found)
    }
}

impl Storage for SledStorage {
    fn is_begun(&self) -> bool {
        self.directory().exists()
    }

    fn is_there(&self) -> bool {
        fs::metadata(self.directory().join("db")).is_ok_and(|file| file.len() > 0)
    }

    fn open(&self, read: StartupReads) -> Result<Box<dyn Engine>, Error> {
        if !self.is_begun() {
            // The marker of a database that was moved away.
            let _ = fs::remove_file(self.data_dir.join("marker"));
        }
        let begun = Instant::now();
        let mut outcome = self.open_with_timeout(read);
        // This process has locked the data directory, so the lock on the database is one that sled's threads have
        // not released yet.
        while matches!(outcome, Err(Error::InUse(_))) && begun.elapsed() < LOCK_RELEASE_TIMEOUT {
            std::thread::sleep(Duration::from_millis(10));
            outcome = self.open_with_timeout(read);
        }
        if let Err(Error::Corrupt(why)) = &outcome
            && self.set_snapshots_aside()?
        {
            tracing::warn!(%why, "the database's snapshot was damaged and is rebuilt");
            outcome = self.open_with_timeout(read);
        }
        // Earlier releases used this file instead of the marker.
        let _ = fs::remove_file(self.data_dir.join("progress"));
        Ok(Box::new(outcome?))
    }

    fn set_aside(&self) -> Result<(), Error> {
        fs::rename(self.directory(), self.data_dir.join("db.unfinished")).map_err(failed)
    }
}

impl fmt::Display for SledStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.directory().display().fmt(f)
    }
}

#[allow(clippy::needless_pass_by_value, reason = "used as a function")]
fn failed(error: io::Error) -> Error {
    Error::Storage(error.to_string().into())
}

//! The data directory: keyring and database, made together and opened together, by one process.
//!
//! A first start writes the keys as `keyring.new`, makes the database, and only then renames the
//! file to `keyring`: a crash at any point leaves a start that can be gone on with, and a keyring
//! without its database, or the other way round, is never taken for a new installation (STO-8,
//! OPS-1, OPS-2).

mod owner;
mod path;

pub use owner::{User, act_as_owner, keep_private, still_ours};

use crate::{
    domain::Timestamp,
    failure::{self, Failure},
    keyring::Keyring,
    store::{
        Error, Observer, Revocations, Store,
        engine::{self, Engine},
    },
};
use rustix::{
    fs::{FlockOperation, OFlags, flock},
    io::Errno,
};
use secrecy::{ExposeSecret, SecretString};
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

/// How long opening may take: a million users take less than a second.
const OPENING: Duration = Duration::from_secs(30);

/// How long sled may take to let go of a database that was closed.
const LETTING_GO: Duration = Duration::from_secs(5);

/// What a data directory holds.
pub struct Unlocked {
    /// The keys.
    pub keyring: Keyring,
    /// The store.
    pub store: Store,
    /// What is revoked.
    pub revocations: Revocations,
    /// How far the database has come.
    pub count: u64,
    /// Whether it is an older state than was last seen here.
    pub was_rolled_back: bool,
}

/// A data directory that is ours alone until this is dropped.
pub struct DataDir {
    path: PathBuf,
    /// Carries the lock.
    handle: File,
    /// Room on the disk that is kept for revocations, in bytes.
    min_free: u64,
    open: engine::Open,
}

/// A file that is opened again and again is one of ours, never one that a link leads to.
const NO_LINKS: i32 = OFlags::NOFOLLOW.bits().cast_signed();

impl DataDir {
    /// Opens a data directory, making it when it is missing, and locks it. `min_free` bytes of room
    /// on its disk are kept for revocations. `open` opens the engine in it.
    ///
    /// # Errors
    /// When it is another user's or stays open to others (STO-11), another process has it, or the
    /// system says no.
    pub fn open(path: &Path, min_free: u64, open: engine::Open) -> Result<Self, Failure> {
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| at(path, "cannot be made", &error))?;
        still_ours(path)?;
        // Absolute: the working directory is nobody's business later.
        let path = path.canonicalize().map_err(|error| at(path, "cannot be opened", &error))?;
        keep_private(&path)?;
        let handle = File::open(&path).map_err(|error| at(&path, "cannot be opened", &error))?;
        flock(&handle, FlockOperation::NonBlockingLockExclusive).map_err(|error| not_locked(&path, error))?;
        Ok(Self { path, handle, min_free, open })
    }

    /// Whether nothing was ever kept in a directory: a start that was cut off has left keys at most.
    #[must_use]
    pub fn is_new(path: &Path) -> bool {
        let has = |name: &str| path.join(name).exists();
        !has("keyring") && (has("keyring.new") || !has("db"))
    }

    /// Where the control socket of a data directory lies.
    #[must_use]
    pub fn control_socket(path: &Path) -> PathBuf {
        path.join("control.sock")
    }

    /// The keyring, the store and what is revoked in it, made if this is the first start. Revocations
    /// that cannot be read hold until `forget_by`.
    ///
    /// # Errors
    /// When one is there without the other, does not fit it, or is damaged.
    pub async fn unlock(&self, now: Timestamp, forget_by: Timestamp, observer: Arc<dyn Observer>) -> Result<Unlocked, Failure> {
        let keyring = if self.file("keyring").exists() { self.read_keyring("keyring")? } else { self.initialise(now).await? };
        self.require_database()?;
        let instance = keyring.instance;
        let (store, revocations) = self.watched(move |engine| {
            let store = Store::open(engine, instance, Arc::clone(&observer))?;
            let revocations = store.revocations(forget_by)?;
            Ok((store, revocations))
        })?;
        store.upgrade().await?;
        let known = self.last_count();
        let resumed = store.resume(known).await?;
        let count = resumed.unwrap_or(known) + 1;
        self.count_on(&store, count).await?;
        Ok(Unlocked { keyring, store, revocations, count, was_rolled_back: resumed.is_none() })
    }

    /// Counts on: first in the database, then beside it. A database that later has not come as far as
    /// the file says is an older copy, or lost its end to damage (STO-14).
    ///
    /// # Errors
    /// The store's. That the file cannot be written is no error: it then misses so much.
    pub async fn count_on(&self, store: &Store, count: u64) -> Result<(), Error> {
        store.count(count).await?;
        let (temporary, path) = (self.file("progress.new"), self.file("progress"));
        let write = || {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).custom_flags(NO_LINKS).open(&temporary)?;
            file.write_all(count.to_string().as_bytes())?;
            fs::rename(&temporary, &path)
        };
        if let Err(error) = write() {
            tracing::debug!(%error, "progress could not be noted");
        }
        Ok(())
    }

    /// What was last counted beside the database.
    fn last_count(&self) -> u64 {
        fs::read_to_string(self.file("progress")).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    /// Opens the database on a thread that is watched: sled hangs or panics on some damage (STO-6).
    /// A damaged snapshot is moved aside: it is only a summary of what the database has (STO-7).
    fn watched<T: Send + 'static>(
        &self,
        open: impl Fn(Box<dyn Engine>) -> Result<T, Error> + Clone + Send + 'static,
    ) -> Result<T, Failure> {
        let attempt = || {
            let (opener, directory, min_free, open) = (self.open, self.database(), self.min_free, open.clone());
            watch(move || opener(&directory, min_free).and_then(open))
        };
        let begun = Instant::now();
        let mut outcome = attempt();
        // The directory is ours, so it is a handle of our own that sled's threads have not let go of yet.
        while matches!(outcome, Err(Error::InUse(_))) && begun.elapsed() < LETTING_GO {
            std::thread::sleep(Duration::from_millis(10));
            outcome = attempt();
        }
        let outcome = match outcome {
            Err(Error::Corrupt(why)) if self.set_snapshots_aside()? => {
                tracing::warn!(%why, "the database's snapshot was damaged and is rebuilt");
                attempt()
            }
            outcome => outcome,
        };
        outcome.map_err(|error| {
            let failure = Failure::from(error.clone());
            let hint =
                if matches!(error, Error::Corrupt(_)) { ": nothing was changed; bring the data directory back from a backup" } else { "" };
            Failure::with_code(failure.code(), format!("{}: {failure}{hint}", self.database().display()))
        })
    }

    /// Moves sled's snapshots out of its way. Answers whether there were any.
    fn set_snapshots_aside(&self) -> Result<bool, Failure> {
        let failed = |error: io::Error| at(&self.path, "cannot be written", &error);
        let mut found = false;
        for entry in fs::read_dir(self.database()).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("snap.") {
                fs::rename(entry.path(), self.file(&format!("damaged-{name}"))).map_err(failed)?;
                found = true;
            }
        }
        Ok(found)
    }

    async fn initialise(&self, now: Timestamp) -> Result<Keyring, Failure> {
        let keyring = match self.file("keyring.new").exists().then(|| self.read_keyring("keyring.new")) {
            Some(Ok(unfinished)) => unfinished,
            // The keys are safe on disk before the database exists: torn keys have none beside them.
            Some(Err(_)) if !self.database().exists() => {
                fs::remove_file(self.file("keyring.new")).map_err(|error| at(&self.path, "cannot be written", &error))?;
                self.write_keyring(now)?
            }
            Some(Err(failure)) => return Err(failure),
            None if self.database().exists() => {
                return Err(Failure::data(format!(
                    "{}: there is a database but no keyring, so its tokens and hashes mean nothing: bring the keyring back from a backup, \
                     or move the directory away to start anew",
                    self.path.display()
                )));
            }
            None => self.write_keyring(now)?,
        };
        let engine = match self.watched(Ok) {
            Ok(engine) => engine,
            // Made by a start that never finished: nothing in it was ever acknowledged.
            Err(failure) if failure.code() == Failure::io("").code() => {
                fs::rename(self.database(), self.file("db.unfinished")).map_err(|error| at(&self.path, "cannot be written", &error))?;
                self.watched(Ok)?
            }
            Err(failure) => return Err(failure),
        };
        Store::initialise(&*engine, keyring.instance, now).await?;
        drop(engine);
        self.sync()
            .and_then(|()| fs::rename(self.file("keyring.new"), self.file("keyring")))
            .and_then(|()| self.sync())
            .map_err(|error| at(&self.path, "cannot be written", &error))?;
        tracing::info!("a new installation: keys and database made in {}", self.path.display());
        Ok(keyring)
    }

    fn write_keyring(&self, now: Timestamp) -> Result<Keyring, Failure> {
        let keyring = Keyring::generate();
        let text = keyring.to_file(now).map_err(|error| Failure::new(error.to_string()))?;
        let path = self.file("keyring.new");
        let written = (|| {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(text.expose_secret().as_bytes())?;
            file.sync_all()?;
            self.sync()
        })();
        written.map_err(|error| at(&path, "cannot be written", &error))?;
        Ok(keyring)
    }

    fn read_keyring(&self, name: &str) -> Result<Keyring, Failure> {
        let path = self.file(name);
        let text = fs::read_to_string(&path).map_err(|error| at(&path, "cannot be read", &error))?;
        Keyring::from_file(&SecretString::from(text))
            .map_err(|why| Failure::data(format!("{}: {why}: bring it back from a backup", path.display())))
    }

    /// sled makes a new database where one is missing: for an installation that had one, that would
    /// be an empty server.
    fn require_database(&self) -> Result<(), Failure> {
        let file = self.database().join("db");
        match fs::metadata(&file) {
            Ok(meta) if meta.len() > 0 => Ok(()),
            _ => Err(Failure::data(format!(
                "{}: there is a keyring but the database is missing or empty: bring it back from a backup, or move {} away to start anew",
                file.display(),
                self.path.display()
            ))),
        }
    }

    fn database(&self) -> PathBuf {
        self.file("db")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes the directory's entries durable.
    fn sync(&self) -> io::Result<()> {
        self.handle.sync_all()
    }
}

/// Opens the database and reads it, or says within [`OPENING`] that it cannot be done.
fn watch<T: Send + 'static>(open: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    let (reply, answer) = mpsc::channel();
    let thread = std::thread::Builder::new().name(failure::SILENT_THREAD.into()).spawn(move || {
        // Whoever waited may have given up.
        let _ = reply.send(open());
    });
    thread.map_err(|error| Error::Storage(format!("no thread to open it: {error}").into()))?;
    match answer.recv_timeout(OPENING) {
        Ok(opened) => opened,
        Err(mpsc::RecvTimeoutError::Timeout) => Err(Error::Corrupt(format!("it did not open within {}s", OPENING.as_secs()).into())),
        // The thread ended without an answer: sled panicked.
        Err(mpsc::RecvTimeoutError::Disconnected) => Err(Error::Corrupt("it cannot be read".into())),
    }
}

/// Why a data directory could not be locked.
fn not_locked(path: &Path, error: Errno) -> Failure {
    let path = path.display();
    match error {
        Errno::WOULDBLOCK => Failure::busy(format!("{path}: data directory in use by another doorward")),
        Errno::NOLCK | Errno::NOSYS | Errno::OPNOTSUPP => Failure::config(format!(
            "{path}: this file system has no locks ({error}), so two servers could write at once: put server.data_dir on a local disk"
        )),
        other => Failure::io(format!("{path}: cannot be locked: {other}")),
    }
}

/// What failed with which file; and whose that is, where it may not be had.
fn at(path: &Path, what: &str, error: &io::Error) -> Failure {
    let whose = match fs::metadata(path) {
        Ok(file) if error.kind() == io::ErrorKind::PermissionDenied => {
            format!(": it belongs to {}, and this is {}", User::owner_of(&file), User::current())
        }
        _ => String::new(),
    };
    Failure::io(format!("{}: {what}: {error}{whose}", path.display()))
}

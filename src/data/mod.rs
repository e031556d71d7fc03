//! The data directory: keyring and database, created together and opened together, by one process.
//!
//! A first start writes the keys as `keyring.new`, creates the database, and only then renames the
//! file to `keyring`. After a crash at any point the next start can continue, and a keyring without
//! its database, or the reverse, is never taken for a new installation (STO-8, OPS-1, OPS-2). A changed keyring is written as
//! `keyring.next` and renamed.

mod backup_file;
mod before_migration;
mod new_file;
mod owner;
mod path;
mod placing;
mod restore;
mod schedule;
mod user;

pub use backup_file::{Verified, copy_backup, verify, write_backup};
pub use new_file::NewFile;
pub use owner::{act_as_owner, keep_private, recheck_path};
pub use restore::Restoring;
pub use schedule::Schedule;
pub use user::User;

pub use crate::store::backup::{Header, News, Summary};

use crate::{
    domain::{Algorithm, Clock, Timestamp},
    failure::Failure,
    keyring::Keyring,
    store::{
        Error, Observer, Store,
        engine::{Engine, SledStorage, Storage},
    },
};
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use secrecy::{ExposeSecret, SecretString};
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};
use user::file_error;

/// The opened contents of a data directory.
pub struct Opened {
    /// The keys.
    pub keyring: Keyring,
    /// The store.
    pub store: Store,
}

/// A data directory that this process has locked; dropping this releases the lock.
pub struct DataDir {
    path: PathBuf,
    /// The file handle that holds the lock.
    handle: File,
}

impl DataDir {
    /// Opens and locks a data directory; creates it if it is missing.
    ///
    /// # Errors
    /// The directory belongs to another user or cannot be made private (STO-11), another process has
    /// locked it, or the system refuses.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        if path.exists() && !path.is_dir() {
            return Err(Failure::config(format!("{}: that is no directory: --data-dir takes another", path.display())));
        }
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| file_error(path, "cannot be made", &error))?;
        recheck_path(path)?;
        // Absolute, so that a later change of the working directory does not matter.
        let path = path.canonicalize().map_err(|error| file_error(path, "cannot be opened", &error))?;
        keep_private(&path)?;
        let handle = File::open(&path).map_err(|error| file_error(&path, "cannot be opened", &error))?;
        flock(&handle, FlockOperation::NonBlockingLockExclusive).map_err(|error| not_locked(&path, error))?;
        placing::go_on(&path).map_err(|error| file_error(&path, "has a restored backup that cannot be put in its place", &error))?;
        Ok(Self { path, handle })
    }

    /// Its path, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a directory was never used. A first start that did not finish counts as unused: nothing was stored yet.
    #[must_use]
    pub fn is_new(path: &Path) -> bool {
        let has = |name: &str| path.join(name).exists();
        !placing::is_begun(path) && !has("keyring") && (has("keyring.new") || !SledStorage::new(path, 0).is_begun())
    }

    /// The path of the control socket in a data directory.
    #[must_use]
    pub fn control_socket(path: &Path) -> PathBuf {
        path.join("control.sock")
    }

    /// Opens the keyring and the store, or creates both on the first start, whose access tokens `algorithm` is to
    /// sign. The store reports its commits to `observers`.
    ///
    /// # Errors
    /// Keyring or database is missing or damaged, or the two do not belong together.
    pub async fn open_store(
        &self,
        storage: &dyn Storage,
        algorithm: Algorithm,
        clock: &Clock,
        observers: Vec<Arc<dyn Observer>>,
    ) -> Result<Opened, Failure> {
        let keyring = if self.file("keyring").exists() {
            self.read_keyring("keyring")?
        } else {
            self.initialise(storage, algorithm, clock.now()).await?
        };
        // An engine creates a database where there is none. For an existing installation that would mean to
        // serve without any accounts.
        if !storage.is_there() {
            return Err(Failure::data(format!(
                "{storage}: there is a keyring but the database is missing or empty: bring it back from a backup, or move {} away to \
                 start anew",
                self.path.display()
            )));
        }
        let store = Store::open(open_engine(storage)?, keyring.instance, clock.clone(), observers).await.map_err(|error| {
            let way_back = matches!(error, Error::TooNew { .. }).then(|| self.way_back()).flatten();
            let failure = Failure::from(error);
            way_back.map_or(failure.clone(), |way| Failure::data(format!("{failure}; or go back to the copy from before: {way}")))
        })?;
        Ok(Opened { keyring, store })
    }

    async fn initialise(&self, storage: &dyn Storage, algorithm: Algorithm, now: Timestamp) -> Result<Keyring, Failure> {
        let make = || {
            let keyring = Keyring::generate(algorithm, now);
            self.write_keyring("keyring.new", &keyring)
                .map_err(|error| file_error(&self.file("keyring.new"), "cannot be written", &error))?;
            Ok::<_, Failure>(keyring)
        };
        let keyring = match self.file("keyring.new").exists().then(|| self.read_keyring("keyring.new")) {
            Some(Ok(unfinished)) => unfinished,
            // The keys are durable before the database is created, so half-written keys mean that there is no database yet.
            Some(Err(_)) if !storage.is_begun() => make()?,
            Some(Err(failure)) => return Err(failure),
            None if storage.is_begun() => {
                return Err(Failure::data(format!(
                    "{}: there is a database but no keyring, so its tokens and hashes mean nothing: bring the keyring back from a backup, \
                     or move the directory away to start anew",
                    self.path.display()
                )));
            }
            None => make()?,
        };
        let engine = match open_engine(storage) {
            Ok(engine) => engine,
            // A first start that did not finish created this database: nothing in it was ever acknowledged.
            Err(failure) if failure.code() == Failure::io("").code() => {
                storage.set_aside()?;
                open_engine(storage)?
            }
            Err(failure) => return Err(failure),
        };
        Store::initialise(&*engine, keyring.instance, now).await?;
        drop(engine);
        self.sync()
            .and_then(|()| fs::rename(self.file("keyring.new"), self.file("keyring")))
            .and_then(|()| self.sync())
            .map_err(|error| file_error(&self.path, "cannot be written", &error))?;
        tracing::info!("a new installation: keys and database made in {}", self.path.display());
        Ok(keyring)
    }

    /// Replaces the keyring's file, durably: after a crash at any point it is the former one or this.
    ///
    /// # Errors
    /// The file cannot be written; then it is what it was.
    pub fn save_keyring(&self, keyring: &Keyring) -> io::Result<()> {
        self.write_keyring("keyring.next", keyring)?;
        fs::rename(self.file("keyring.next"), self.file("keyring"))?;
        self.sync()
    }

    fn write_keyring(&self, name: &str, keyring: &Keyring) -> io::Result<()> {
        let path = self.file(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(keyring.to_file()?.expose_secret().as_bytes())?;
        file.sync_all()?;
        self.sync()
    }

    fn read_keyring(&self, name: &str) -> Result<Keyring, Failure> {
        let path = self.file(name);
        let text = fs::read_to_string(&path).map_err(|error| file_error(&path, "cannot be read", &error))?;
        Keyring::from_file(&SecretString::from(text))
            .map_err(|why| Failure::data(format!("{}: {why}: bring it back from a backup", path.display())))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes changes to the directory itself durable, such as a rename.
    fn sync(&self) -> io::Result<()> {
        self.handle.sync_all()
    }
}

/// Opens the database.
fn open_engine(storage: &dyn Storage) -> Result<Box<dyn Engine>, Failure> {
    storage.open(Store::startup_reads).map_err(|error| {
        let hint =
            if matches!(error, Error::Corrupt(_)) { ": nothing was changed; bring the data directory back from a backup" } else { "" };
        let failure = Failure::from(error);
        Failure::with_code(failure.code(), format!("{storage}: {failure}{hint}"))
    })
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::NotOurs | Error::TooNew { .. } => Self::data(message),
            Error::InUse(_) => Self::busy(message),
            Error::Storage(_)
            | Error::Corrupt(_)
            | Error::ReadOnly
            | Error::Full
            | Error::TimedOut
            | Error::AuthorityEnded
            | Error::SnapshotLost
            | Error::Panicked => Self::io(message),
        }
    }
}

/// The failure to lock a data directory.
fn not_locked(path: &Path, error: Errno) -> Failure {
    let path = path.display();
    match error {
        Errno::WOULDBLOCK => Failure::busy(format!(
            "{path}: data directory in use by another doorward: stop that one first, or take another with --data-dir"
        )),
        Errno::NOLCK | Errno::NOSYS | Errno::OPNOTSUPP => Failure::config(format!(
            "{path}: this file system has no locks ({error}), so two servers could write at once: put server.data_dir on a local disk"
        )),
        other => Failure::io(format!("{path}: cannot be locked: {other}")),
    }
}

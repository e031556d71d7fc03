//! The data directory: keyring and database, made together and opened together, by one process.
//!
//! A first start writes the keys as `keyring.new`, makes the database, and only then renames the
//! file to `keyring`: a crash at any point leaves a start that can be gone on with, and a keyring
//! without its database, or the other way round, is never taken for a new installation (STO-8,
//! OPS-1, OPS-2).

mod owner;
mod path;
mod user;

pub use owner::{act_as_owner, keep_private, still_ours};
pub use user::User;

use crate::{
    domain::Timestamp,
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
use user::at;

/// What a data directory holds.
pub struct Unlocked {
    /// The keys.
    pub keyring: Keyring,
    /// The store.
    pub store: Store,
}

/// A data directory that is ours alone until this is dropped.
pub struct DataDir {
    path: PathBuf,
    /// Carries the lock.
    handle: File,
}

impl DataDir {
    /// Opens a data directory, making it when it is missing, and locks it.
    ///
    /// # Errors
    /// When it is another user's or stays open to others (STO-11), another process has it, or the
    /// system says no.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| at(path, "cannot be made", &error))?;
        still_ours(path)?;
        // Absolute: the working directory is nobody's business later.
        let path = path.canonicalize().map_err(|error| at(path, "cannot be opened", &error))?;
        keep_private(&path)?;
        let handle = File::open(&path).map_err(|error| at(&path, "cannot be opened", &error))?;
        flock(&handle, FlockOperation::NonBlockingLockExclusive).map_err(|error| not_locked(&path, error))?;
        Ok(Self { path, handle })
    }

    /// Its path, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether nothing was ever kept in a directory: a start that was cut off has left keys at most.
    #[must_use]
    pub fn is_new(path: &Path) -> bool {
        let has = |name: &str| path.join(name).exists();
        !has("keyring") && (has("keyring.new") || !SledStorage::new(path, 0).is_begun())
    }

    /// Where the control socket of a data directory lies.
    #[must_use]
    pub fn control_socket(path: &Path) -> PathBuf {
        path.join("control.sock")
    }

    /// The keyring and the store, made if this is the first start. The store tells `observers` what it commits.
    ///
    /// # Errors
    /// When one is there without the other, does not fit it, or is damaged.
    pub async fn unlock(&self, storage: &dyn Storage, now: Timestamp, observers: Vec<Arc<dyn Observer>>) -> Result<Unlocked, Failure> {
        let keyring = if self.file("keyring").exists() { self.read_keyring("keyring")? } else { self.initialise(storage, now).await? };
        // An engine makes a new database where one is missing: for an installation that had one, that would
        // be an empty server.
        if !storage.is_there() {
            return Err(Failure::data(format!(
                "{storage}: there is a keyring but the database is missing or empty: bring it back from a backup, or move {} away to \
                 start anew",
                self.path.display()
            )));
        }
        let store = Store::open(opened(storage)?, keyring.instance, observers).await?;
        Ok(Unlocked { keyring, store })
    }

    async fn initialise(&self, storage: &dyn Storage, now: Timestamp) -> Result<Keyring, Failure> {
        let keyring = match self.file("keyring.new").exists().then(|| self.read_keyring("keyring.new")) {
            Some(Ok(unfinished)) => unfinished,
            // The keys are safe on disk before the database exists: torn keys have none beside them.
            Some(Err(_)) if !storage.is_begun() => {
                fs::remove_file(self.file("keyring.new")).map_err(|error| at(&self.path, "cannot be written", &error))?;
                self.write_keyring(now)?
            }
            Some(Err(failure)) => return Err(failure),
            None if storage.is_begun() => {
                return Err(Failure::data(format!(
                    "{}: there is a database but no keyring, so its tokens and hashes mean nothing: bring the keyring back from a backup, \
                     or move the directory away to start anew",
                    self.path.display()
                )));
            }
            None => self.write_keyring(now)?,
        };
        let engine = match opened(storage) {
            Ok(engine) => engine,
            // Made by a start that never finished: nothing in it was ever acknowledged.
            Err(failure) if failure.code() == Failure::io("").code() => {
                storage.set_aside()?;
                opened(storage)?
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

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes the directory's entries durable.
    fn sync(&self) -> io::Result<()> {
        self.handle.sync_all()
    }
}

/// Opens a database.
fn opened(storage: &dyn Storage) -> Result<Box<dyn Engine>, Failure> {
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
            Error::Storage(_) | Error::Corrupt(_) | Error::ReadOnly | Error::Full | Error::TimedOut | Error::Panicked => Self::io(message),
        }
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

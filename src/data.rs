//! The data directory: keyring and database, made together and opened together, by one process.
//!
//! A first start writes the keys as `keyring.new`, makes the database, and only then renames the
//! file to `keyring`: a crash at any point leaves a start that can be gone on with, and a keyring
//! without its database, or the other way round, is never taken for a new installation (STO-8,
//! OPS-1, OPS-2).

use crate::{
    domain::Timestamp,
    failure::Failure,
    keyring::Keyring,
    store::{Observer, Store, engine::sled::Sled},
};
use rustix::fs::{FlockOperation, flock};
use secrecy::{ExposeSecret, SecretString};
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

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
    /// When others may read it (STO-11), another process has it, or the system says no.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| at(path, "cannot be made", &error))?;
        // Absolute: the working directory is nobody's business later.
        let path = path.canonicalize().map_err(|error| at(path, "cannot be opened", &error))?;
        private(&path, "700")?;
        let handle = File::open(&path).map_err(|error| at(&path, "cannot be opened", &error))?;
        flock(&handle, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| Failure::busy(format!("{}: data directory in use by another doorward", path.display())))?;
        Ok(Self { path, handle })
    }

    /// Where the control socket of a data directory lies.
    #[must_use]
    pub fn control_socket(path: &Path) -> PathBuf {
        path.join("control.sock")
    }

    /// The keyring and the store, made if this is the first start.
    ///
    /// # Errors
    /// When one is there without the other, does not fit it, or is damaged.
    pub async fn unlock(&self, now: Timestamp, observer: Arc<dyn Observer>) -> Result<(Keyring, Store), Failure> {
        let keyring = if self.file("keyring").exists() { self.read_keyring("keyring")? } else { self.initialise(now).await? };
        self.require_database()?;
        let engine = self.engine()?;
        let store = Store::open(Box::new(engine), keyring.instance, observer).map_err(|error| {
            let failure = Failure::from(error);
            Failure::with_code(failure.code(), format!("{}: {failure}", self.database().display()))
        })?;
        Ok((keyring, store))
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
        let engine = match self.engine() {
            Ok(engine) => engine,
            // Made by a start that never finished: nothing in it was ever acknowledged.
            Err(failure) if failure.code() == Failure::io("").code() => {
                fs::rename(self.database(), self.file("db.unfinished")).map_err(|error| at(&self.path, "cannot be written", &error))?;
                self.engine()?
            }
            Err(failure) => return Err(failure),
        };
        Store::initialise(&engine, keyring.instance, now).await?;
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
        private(&path, "600")?;
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

    fn engine(&self) -> Result<Sled, Failure> {
        Sled::open(&self.database()).map_err(|error| {
            let failure = Failure::from(error);
            Failure::with_code(failure.code(), format!("{}: {failure}", self.database().display()))
        })
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

/// Refuses what others than its owner may use.
fn private(path: &Path, mode: &str) -> Result<(), Failure> {
    let found = fs::metadata(path).map_err(|error| at(path, "cannot be read", &error))?.permissions().mode() & 0o777;
    let others = found & 0o077;
    if others == 0 {
        return Ok(());
    }
    Err(Failure::config(format!(
        "{}: found mode {found:o}, allowed: {mode}, so that nobody else can read it; mend it with: chmod {mode} {}",
        path.display(),
        path.display()
    )))
}

fn at(path: &Path, what: &str, error: &io::Error) -> Failure {
    Failure::io(format!("{}: {what}: {error}", path.display()))
}

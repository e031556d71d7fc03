//! Putting a backup in the place of a data directory's contents, so that a process that is killed leaves what was there, or the
//! backup, and never a part of both (BAK-4).
//!
//! A backup is made a data directory of its own inside the one it is for: `restore.part`. Once that is whole and durable its
//! files are moved into their places, and whoever opens the data directory next goes on with that if this process is killed.
//! The data directory itself is never renamed: it may be a mount.

use super::{DataDir, Header, News, Summary, before_migration::stamp, placing};
use crate::{
    domain::{Algorithm, Clock, Timestamp},
    failure::Failure,
    keyring::Keyring,
    store::{
        backup::{Extent, Reader},
        engine::{SledStorage, Storage},
    },
};
use std::{
    fs::{self, DirBuilder, File},
    io::{self, BufRead},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

/// The directory that a backup is read into. Dropped before it is in its place, it is removed.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        let _ = remove(&self.0);
    }
}

/// A backup that was read whole into a directory beside what it is to replace.
pub struct Restoring {
    part: Part,
    data_dir: DataDir,
    /// What the backup is.
    pub header: Header,
    /// What its last line says.
    pub summary: Summary,
}

impl Restoring {
    /// Opens a data directory for a backup: an empty one, or one whose contents are to be replaced.
    ///
    /// # Errors
    /// It has contents that are not to be replaced, or is in use.
    pub fn target(path: &Path, replace: bool) -> Result<DataDir, Failure> {
        let data_dir = DataDir::open(path)?;
        if !DataDir::is_new(path) && !replace {
            return Err(Failure::new(format!(
                "{}: there is an installation already: nothing was changed; --replace puts the backup in its place and keeps what is there \
                 beside it",
                path.display()
            )));
        }
        Ok(data_dir)
    }

    /// Reads a backup to its end. Nothing that was there is touched.
    ///
    /// # Errors
    /// The backup is damaged or of a later release, or cannot be written beside what is there.
    pub async fn read(data_dir: DataDir, input: impl BufRead) -> Result<Self, Failure> {
        let part = Part(data_dir.file(placing::PART));
        let place = &part.0;
        let io = |error: io::Error| Failure::io(format!("{}: cannot be written: {error}: nothing was changed", place.display()));
        remove(place).map_err(io)?;
        let (header, mut reader) = Reader::begin(input)?;
        DirBuilder::new().mode(0o700).create(place).map_err(io)?;
        let storage = SledStorage::new(place, 0);
        let engine = storage.open(|_| Ok(()))?;
        let keyring = reader.load(&*engine).await?;
        drop(engine);
        let keyring = Keyring::from_file(&keyring).map_err(|why| Failure::data(format!("its keyring {why}: nothing was changed")))?;
        DataDir { path: place.clone(), handle: File::open(place).map_err(io)? }.write_keyring("keyring", &keyring).map_err(io)?;
        let summary = reader.summary().clone();
        Ok(Self { part, data_dir, header, summary })
    }

    /// The data directory that was made of the backup.
    #[must_use]
    pub fn place(&self) -> &Path {
        &self.part.0
    }

    /// What the database that will be replaced has and the backup has not; none if there is nothing to be replaced.
    ///
    /// # Errors
    /// The database that will be replaced cannot be read. Restoring is still possible.
    pub async fn lost(&self) -> Result<Option<News>, Failure> {
        if DataDir::is_new(self.data_dir.path()) {
            return Ok(None);
        }
        let extent = extent(self.place()).await?;
        let storage = SledStorage::new(self.data_dir.path(), 0);
        // It has a keyring: none is made with this algorithm.
        let opened = self.data_dir.open_store(&storage, Algorithm::HS256, &Clock::default(), Vec::new()).await?;
        Ok(Some(opened.store.beyond(&extent).await?))
    }

    /// Puts it in its place. Returns where is what was there.
    ///
    /// # Errors
    /// The system's. If it was begun, the next process that opens the data directory goes on.
    pub fn place_it(self, now: Timestamp) -> Result<Option<PathBuf>, Failure> {
        let directory = self.data_dir.path();
        placing::begin(self.place(), directory, &stamp(now))
            .map_err(|error| Failure::io(format!("{}: {error}: the next start goes on, or says why it cannot", directory.display())))
    }
}

/// How far the database of a data directory goes.
async fn extent(path: &Path) -> Result<Extent, Failure> {
    let data_dir = DataDir { path: path.to_owned(), handle: File::open(path).map_err(|error| Failure::io(error.to_string()))? };
    let storage = SledStorage::new(path, 0);
    let opened = data_dir.open_store(&storage, Algorithm::HS256, &Clock::default(), Vec::new()).await?;
    Ok(opened.store.extent().await?)
}

/// Removes a directory that an earlier try has left.
fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

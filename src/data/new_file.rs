//! A file that is there whole or not at all: it is written beside its place, made durable and then renamed.

use rustix::fs::{FlockOperation, OFlags, flock};
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// A file on its way to its place. Dropped before it is there, it is removed.
pub struct NewFile {
    file: File,
    temporary: PathBuf,
    target: PathBuf,
    is_placed: bool,
}

impl NewFile {
    /// Begins a file that will be `target`, for its owner alone. What a process that was killed has left is removed.
    ///
    /// # Errors
    /// The system's; [`io::ErrorKind::WouldBlock`] when somebody else writes it at the moment.
    pub fn begin(target: &Path) -> io::Result<Self> {
        if fs::symlink_metadata(target).is_ok_and(|found| !found.is_file()) {
            return Err(io::Error::other("there is something else than a file in its place"));
        }
        let name = target.file_name().ok_or_else(|| io::Error::other("that names no file"))?;
        let temporary = target.with_file_name(format!(".{}.part", name.to_string_lossy()));
        let file = match create(&temporary) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let links = OFlags::NOFOLLOW.bits().cast_signed();
                let left = OpenOptions::new().write(true).custom_flags(links).open(&temporary)?;
                flock(&left, FlockOperation::NonBlockingLockExclusive)?;
                fs::remove_file(&temporary)?;
                create(&temporary)?
            }
            created => created?,
        };
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        // Somebody else may have taken the file for one that was left, before it was locked.
        let is_same = fs::symlink_metadata(&temporary).is_ok_and(|there| file.metadata().is_ok_and(|ours| ours.ino() == there.ino()));
        if !is_same {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Self { file, temporary, target: target.to_owned(), is_placed: false })
    }

    /// The file to write.
    pub const fn file(&self) -> &File {
        &self.file
    }

    /// Opens what was written, to read it.
    ///
    /// # Errors
    /// The system's.
    pub fn read_back(&self) -> io::Result<File> {
        File::open(&self.temporary)
    }

    /// Makes it durable and puts it in its place, which may have a file of before.
    ///
    /// # Errors
    /// The system's; then its place is as it was.
    pub fn place(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.temporary, &self.target)?;
        self.is_placed = true;
        let directory = self.target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(directory)?.sync_all()
    }
}

/// Creates the file: nobody else has opened it, and nobody else can.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_placed {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn it_is_there_whole_or_not_at_all() {
        let dir = tempfile::tempdir().expect("a directory");
        let target = dir.path().join("file");
        let new = NewFile::begin(&target).expect("begun");
        assert_eq!(NewFile::begin(&target).err().map(|error| error.kind()), Some(io::ErrorKind::WouldBlock), "two at once");
        new.file().write_all(b"half").expect("written");
        assert!(!target.exists());
        drop(new);
        assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 0);
        // As a process leaves it that was killed.
        fs::write(dir.path().join(".file.part"), b"a longer half of another").expect("written");
        let new = NewFile::begin(&target).expect("begun");
        new.file().write_all(b"whole").expect("written");
        new.place().expect("placed");
        assert_eq!(fs::read(&target).expect("there"), b"whole");
        assert_eq!(fs::metadata(&target).expect("there").mode() & 0o777, 0o600);
        assert!(NewFile::begin(dir.path()).is_err(), "a directory");
    }
}

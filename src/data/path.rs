//! The way to a data directory, for root: whoever can put something else in place of a part of it chooses
//! what root reads, makes and takes from others (STO-11). sshd's `StrictModes` asks the same.

use super::{User, at};
use crate::failure::Failure;
use std::{
    collections::VecDeque,
    ffi::OsString,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Component, Path, PathBuf},
};

/// As many links as the system itself follows.
const MAX_LINKS: usize = 40;
const STICKY: u32 = 0o1000;
const OTHERS_WRITE: u32 = 0o002;

/// Whose a data directory is; while there is none, whose the directory is that it will be made in.
///
/// # Errors
/// The system's.
pub fn owner(path: &Path) -> Result<User, Failure> {
    let path = std::path::absolute(path).map_err(|error| at(path, "cannot be read", &error))?;
    for existing in path.ancestors() {
        match fs::metadata(existing) {
            Ok(directory) => return Ok(User::owner_of(&directory)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(at(existing, "cannot be read", &error)),
        }
    }
    Ok(User::current())
}

/// Follows a path link by link, as far as it exists: every directory before the last and every link must be
/// root's or `owner`'s, and no directory one where everybody may exchange things.
///
/// # Errors
/// What is another's, with whose it is.
pub fn require_unexchangeable(path: &Path, owner: User) -> Result<(), Failure> {
    let absolute = std::path::absolute(path).map_err(|error| at(path, "cannot be read", &error))?;
    let mut ahead = parts(&absolute);
    let (mut reached, mut links) = (PathBuf::from("/"), 0);
    while let Some(part) = ahead.pop_front() {
        if part == ".." {
            reached.pop();
            continue;
        }
        require_parent(&reached, owner)?;
        let next = reached.join(part);
        let file = match fs::symlink_metadata(&next) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(at(&next, "cannot be read", &error)),
        };
        if !file.is_symlink() {
            reached = next;
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(Failure::config(format!("{}: too many links", next.display())));
        }
        require_owner(&next, User::owner_of(&file), owner)?;
        let target = fs::read_link(&next).map_err(|error| at(&next, "cannot be read", &error))?;
        if target.is_absolute() {
            reached = PathBuf::from("/");
        }
        ahead = parts(&target).into_iter().chain(ahead).collect();
    }
    Ok(())
}

/// A settings file that was found in the working directory says where the data is: root believes it of root and
/// of whom that data belongs to.
///
/// # Errors
/// When it is another's, or everybody may write it.
pub fn require_trusted(settings: &Path, owner: User) -> Result<(), Failure> {
    let file = fs::metadata(settings).map_err(|error| at(settings, "cannot be read", &error))?;
    let whose = User::owner_of(&file);
    if is_trusted(whose, owner) && file.mode() & OTHERS_WRITE == 0 {
        return Ok(());
    }
    Err(Failure::config(format!(
        "{}: belongs to {whose}, mode {:o}, and was found in the working directory: root does not follow it: name it with --config if it is \
         meant, or run this as {whose}",
        settings.display(),
        file.mode() & 0o777
    )))
}

fn parts(path: &Path) -> VecDeque<OsString> {
    let named = path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    named.map(|part| part.as_os_str().to_owned()).collect()
}

fn require_parent(directory: &Path, owner: User) -> Result<(), Failure> {
    let meta = fs::metadata(directory).map_err(|error| at(directory, "cannot be read", &error))?;
    require_owner(directory, User::owner_of(&meta), owner)?;
    if meta.mode() & OTHERS_WRITE != 0 && meta.mode() & STICKY == 0 {
        return Err(Failure::config(format!(
            "{}: everybody may exchange what is in it (mode {:o}), so root keeps no data under it: chmod o-w",
            directory.display(),
            meta.mode() & 0o777
        )));
    }
    Ok(())
}

fn require_owner(path: &Path, whose: User, owner: User) -> Result<(), Failure> {
    if is_trusted(whose, owner) {
        return Ok(());
    }
    Err(Failure::config(format!(
        "{}: belongs to {whose}, who could put something else in its place, and the data directory to {owner}: run this as {whose}, or put \
         the data where only root and {owner} may write",
        path.display()
    )))
}

fn is_trusted(whose: User, owner: User) -> bool {
    whose == owner || whose.is_root()
}

//! The way to a data directory, for root: whoever can put something else in place of a part of it chooses
//! what root reads, makes and takes from others (STO-11). sshd's `StrictModes` asks the same.

use super::user::{User, at};
use crate::failure::Failure;
use std::{
    collections::VecDeque,
    ffi::OsString,
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::{Component, Path, PathBuf},
};

/// A file that was found, not named, as it was when it was read: where, what stood there (perhaps a link), and what
/// was read.
pub type FoundFile<'a> = (&'a Path, [&'a Metadata; 2]);

/// As many links as the system itself follows.
const MAX_LINKS: usize = 40;
const STICKY: u32 = 0o1000;
const OTHERS_WRITE: u32 = 0o002;
const GROUP_WRITES: u32 = 0o020;

/// Whose a data directory is, and of which group; while there is none, whose the directory is that it will be made in.
///
/// # Errors
/// The system's.
pub fn owner(path: &Path) -> Result<(User, u32), Failure> {
    let path = std::path::absolute(path).map_err(|error| at(path, "cannot be read", &error))?;
    for existing in path.ancestors() {
        match fs::metadata(existing) {
            Ok(directory) => return Ok((User::owner_of(&directory), directory.gid())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(at(existing, "cannot be read", &error)),
        }
    }
    Ok((User::current(), 0))
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
pub fn require_trusted((path, [entry, file]): FoundFile<'_>, owner: User) -> Result<(), Failure> {
    // What stood there is what was read, or a link to it of somebody who may say where it leads.
    let is_followed = entry.is_symlink() || (entry.dev(), entry.ino()) == (file.dev(), file.ino());
    let mut owners = [file, entry].map(User::owner_of).into_iter();
    let whose = owners.find(|whose| !is_trusted(*whose, owner));
    if whose.is_none() && is_followed && writers(file, owner).is_none() {
        return Ok(());
    }
    let whose = whose.unwrap_or_else(|| User::owner_of(file));
    Err(Failure::config(format!(
        "{}: belongs to {whose}, mode {:o}, and was found in the working directory: root does not follow it: name it with --config if it is \
         meant, or run this as {whose}",
        path.display(),
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
    if let Some((who, mend)) = writers(&meta, owner).filter(|_| meta.mode() & STICKY == 0) {
        return Err(Failure::config(format!(
            "{}: {who} may exchange what is in it (mode {:o}), so root keeps no data under it: chmod {mend}",
            directory.display(),
            meta.mode() & 0o777
        )));
    }
    Ok(())
}

/// Who but its owner may write what leads to data of `owner`'s, and how that is taken from them. What leads to
/// data of somebody else's than root is followed with their rights alone.
fn writers(meta: &Metadata, owner: User) -> Option<(&'static str, &'static str)> {
    let by_group = owner.is_root() && meta.mode() & GROUP_WRITES != 0 && meta.gid() != 0;
    let by_others = meta.mode() & OTHERS_WRITE != 0;
    by_others.then_some(("everybody", "o-w")).or(by_group.then_some(("its group", "g-w")))
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

//! Checks the path of a data directory when root runs Doorward: a user who can replace a part of the path
//! chooses which files root reads, creates and changes the mode of (STO-11). sshd's `StrictModes` checks the same.

use super::user::{User, file_error};
use crate::failure::Failure;
use std::{
    collections::VecDeque,
    ffi::OsString,
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::{Component, Path, PathBuf},
};

/// The default settings file as it was when it was read: its path, the metadata of its directory entry (perhaps a
/// link), and the metadata of the file itself.
pub type FoundFile<'a> = (&'a Path, [&'a Metadata; 2]);

/// The most symbolic links that are followed; Linux follows as many.
const MAX_LINKS: usize = 40;
const STICKY: u32 = 0o1000;
const OTHERS_WRITE: u32 = 0o002;
const GROUP_WRITES: u32 = 0o020;

/// The owner and the group of a data directory, or of the directory in which it will be created.
///
/// # Errors
/// The path cannot be read.
pub fn owner(path: &Path) -> Result<(User, u32), Failure> {
    let path = std::path::absolute(path).map_err(|error| file_error(path, "cannot be read", &error))?;
    for existing in path.ancestors() {
        match fs::metadata(existing) {
            Ok(directory) => return Ok((User::owner_of(&directory), directory.gid())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(file_error(existing, "cannot be read", &error)),
        }
    }
    Ok((User::current(), 0))
}

/// Follows a path link by link, as far as it exists. Every parent directory and every link must belong to root or to
/// `owner`, and no parent may be a directory in which other users can replace entries.
///
/// # Errors
/// A parent or a link belongs to another user or is writable by others; the message names it and its owner.
pub fn require_unreplaceable(path: &Path, owner: User) -> Result<(), Failure> {
    let absolute = std::path::absolute(path).map_err(|error| file_error(path, "cannot be read", &error))?;
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
            Err(error) => return Err(file_error(&next, "cannot be read", &error)),
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
        let target = fs::read_link(&next).map_err(|error| file_error(&next, "cannot be read", &error))?;
        if target.is_absolute() {
            reached = PathBuf::from("/");
        }
        ahead = parts(&target).into_iter().chain(ahead).collect();
    }
    Ok(())
}

/// Checks the settings file that was found in the working directory. It says where the data is, so root trusts it only
/// if root or the owner of the data wrote it.
///
/// # Errors
/// The file belongs to another user, or others may write it.
pub fn require_trusted((path, [entry, file]): FoundFile<'_>, owner: User) -> Result<(), Failure> {
    // The entry is the file that was read, or a link to it; the owner of the link is checked below.
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
    let meta = fs::metadata(directory).map_err(|error| file_error(directory, "cannot be read", &error))?;
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

/// Who beside the owner may write a file or directory on the path to the data of `owner`, and the `chmod` argument that
/// prevents it. A group that may write matters only if `owner` is root: otherwise the path is followed with the rights
/// of `owner`.
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

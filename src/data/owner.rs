//! Whose a data directory is: a process works on its own files alone, and nobody else gets at them
//! (STO-11, OPS-2).

use super::{
    path,
    path::FoundFile,
    user::{User, at},
};
use crate::{failure::Failure, store::engine::sled::FILES};
use rustix::{
    process::{Gid, Uid},
    thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};
use std::{
    fs::{self, Metadata, Permissions},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// What a data directory has of ours. Anything else in it, such as a disk's `lost+found`, is not
/// looked at.
const OURS: [&str; 3] = ["keyring", "keyring.new", "control.sock"];

/// How many files one line of the log names.
const NAMED: usize = 4;

/// Makes root the owner of a data directory, or of the place where it will be made, before anything is
/// opened: what root made there, its owner could not read later. Answers whom, when that was another. To be
/// called while the process has one thread: the system changes threads one by one. `settings` is a file that
/// was found, not named.
///
/// # Errors
/// When the directory belongs to another user and this one may not become it; for root, when others
/// could put something in its place, or the settings are theirs.
pub fn act_as_owner(directory: &Path, settings: Option<FoundFile<'_>>) -> Result<Option<User>, Failure> {
    let us = User::current();
    if !us.is_root() {
        return require_ours(directory, us).map(|()| None);
    }
    let (owner, group) = path::owner(directory)?;
    settings.map_or(Ok(()), |settings| path::require_trusted(settings, owner))?;
    path::require_unexchangeable(directory, owner)?;
    if owner == us {
        return Ok(None);
    }
    become_user(owner, group, directory)?;
    Ok(Some(owner))
}

fn require_ours(path: &Path, us: User) -> Result<(), Failure> {
    let directory = match fs::metadata(path) {
        Ok(directory) => directory,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(at(path, "cannot be read", &error)),
    };
    let owner = User::owner_of(&directory);
    if owner == us {
        return Ok(());
    }
    let hint = if path.join("keyring").exists() || directory.mode() & 0o022 == 0 {
        String::new()
    } else {
        format!(", or name a directory of its own, such as {}", path.join("doorward").display())
    };
    Err(Failure::config(format!("{}: belongs to {owner}, and this is {us}: run it as {owner}{hint}", path.display())))
}

fn become_user(owner: User, group: u32, directory: &Path) -> Result<(), Failure> {
    // The group of the directory may be root's still: `chown` without one leaves it.
    let groups = [owner.entry().map(|(_, group)| group), Some(group)].into_iter().flatten();
    let group = groups.into_iter().find(|group| *group != Gid::ROOT.as_raw()).unwrap_or(owner.id());
    let (uid, gid) = (Uid::from_raw(owner.id()), Gid::from_raw(group));
    set_thread_groups(&[]).and_then(|()| set_thread_res_gid(gid, gid, gid)).and_then(|()| set_thread_res_uid(uid, uid, uid)).map_err(
        |error| {
            Failure::config(format!("{}: belongs to {owner}, whom this may not become: {error}: run it as {owner}", directory.display()))
        },
    )
}

/// Takes from others what they may do with a data directory, and says so once. The lock on it is
/// not needed: it is done the same by whoever comes first.
///
/// # Errors
/// When something in it is another user's, or the file system keeps its modes.
pub fn keep_private(directory: &Path) -> Result<(), Failure> {
    require_data_directory(directory)?;
    let mut opened = Vec::new();
    tighten(directory, &mut opened)?;
    let mut waiting: Vec<PathBuf> = OURS.iter().chain(&FILES).map(|name| directory.join(name)).collect();
    while let Some(path) = waiting.pop() {
        if tighten(&path, &mut opened)? {
            let entries = fs::read_dir(&path).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>());
            waiting.extend(entries.map_err(|error| at(&path, "cannot be read", &error))?);
        }
    }
    if let Some(more) = opened.len().checked_sub(NAMED + 1) {
        opened.truncate(NAMED);
        opened.push(format!("and {} more", more + 1));
    }
    if !opened.is_empty() {
        tracing::warn!("others could get at these, and no longer can: {}", opened.join(", "));
    }
    Ok(())
}

/// Refuses a directory that others use for something else: it would be taken from them.
fn require_data_directory(directory: &Path) -> Result<(), Failure> {
    let failed = |error: io::Error| at(directory, "cannot be read", &error);
    let is_open = fs::metadata(directory).map_err(failed)?.mode() & 0o077 != 0;
    // Other directories have a `db` as well.
    let is_ours = |name: &str| {
        let file = fs::symlink_metadata(directory.join(name));
        file.is_ok_and(|file| file.is_file() && User::owner_of(&file) == User::current())
    };
    if !is_open || ["keyring", "keyring.new"].into_iter().any(is_ours) {
        return Ok(());
    }
    let mut names =
        fs::read_dir(directory).map_err(failed)?.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()));
    let is_nothing = |name: &String| name.starts_with('.') || name == "lost+found";
    match names.find(|name| !is_nothing(name)) {
        None => Ok(()),
        Some(name) => Err(Failure::config(format!(
            "{}: others use it, and {name} in it is not of ours: name a directory of its own, such as {}, or chmod 700 {} if \
             it is for Doorward alone",
            directory.display(),
            directory.join("doorward").display(),
            directory.display()
        ))),
    }
}

/// Makes sure that what was just made for root is where it was asked for.
///
/// # Errors
/// When another user was quicker.
pub fn still_ours(directory: &Path) -> Result<(), Failure> {
    let us = User::current();
    if us.is_root() { path::require_unexchangeable(directory, us) } else { Ok(()) }
}

/// Takes a file or directory of ours from others. Answers whether it is a directory. A link is followed
/// nowhere: what it leads to is not in our directory.
fn tighten(path: &Path, opened: &mut Vec<String>) -> Result<bool, Failure> {
    let file = match fs::symlink_metadata(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(at(path, "cannot be read", &error)),
    };
    let (owner, us) = (User::owner_of(&file), User::current());
    if owner != us {
        return Err(Failure::config(format!(
            "{}: belongs to {owner}, and this is {us}: give it back to the owner of the directory with chown",
            path.display()
        )));
    }
    if file.is_symlink() {
        return Ok(false);
    }
    let allowed = if file.is_dir() { 0o700 } else { 0o600 };
    let found = mode(&file);
    if found.trailing_zeros() >= 6 {
        return Ok(file.is_dir());
    }
    let changed = fs::set_permissions(path, Permissions::from_mode(allowed)).and_then(|()| fs::metadata(path));
    // Some file systems take a change of modes and make none.
    let left = changed.as_ref().map_or(found, mode);
    if left & 0o077 != 0 {
        let why = changed.err().map_or_else(|| "the file system does not keep modes".into(), |error| error.to_string());
        return Err(Failure::config(format!(
            "{}: found mode {left:o}, allowed: {allowed:o}, so that nobody else can read it; it could not be changed: {why}",
            path.display()
        )));
    }
    opened.push(format!("{} (mode {found:o})", path.display()));
    Ok(file.is_dir())
}

fn mode(file: &Metadata) -> u32 {
    file.mode() & 0o777
}

//! Ownership of a data directory: a process works only on files of its own user, and no other user
//! can read or change them (STO-11, OPS-2).

use super::{
    path,
    path::FoundFile,
    user::{User, file_error},
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

/// Our files in a data directory, beside those of sled. Others, such as a disk's `lost+found`, are ignored.
const OWN_FILES: [&str; 5] = ["keyring", "keyring.new", "keyring.next", "control.sock", "backups"];

/// How many files a log line names at most.
const MAX_NAMED_FILES: usize = 4;

/// If this process runs as root, switches it to the owner of the data directory, or of the directory in which it
/// will be created. This happens before anything is opened, because the owner could not read files that root created.
/// Returns the owner if the user was switched. Must be called while the process has one thread: the system switches
/// each thread by itself. `settings` is the default settings file, if it was read.
///
/// # Errors
/// The directory belongs to another user and this process cannot become that user; for root, another user could
/// replace the directory, or owns the settings file.
pub fn act_as_owner(directory: &Path, settings: Option<FoundFile<'_>>) -> Result<Option<User>, Failure> {
    let us = User::current();
    if !us.is_root() {
        return require_ours(directory, us).map(|()| None);
    }
    let (owner, group) = path::owner(directory)?;
    settings.map_or(Ok(()), |settings| path::require_trusted(settings, owner))?;
    path::require_unreplaceable(directory, owner)?;
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
        Err(error) => return Err(file_error(path, "cannot be read", &error)),
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
    // The group of the directory may still be root's: `chown` without a group does not change it.
    let groups = [owner.entry().map(|(_, group)| group), Some(group)].into_iter().flatten();
    let group = groups.into_iter().find(|group| *group != Gid::ROOT.as_raw()).unwrap_or(owner.id());
    let (uid, gid) = (Uid::from_raw(owner.id()), Gid::from_raw(group));
    set_thread_groups(&[]).and_then(|()| set_thread_res_gid(gid, gid, gid)).and_then(|()| set_thread_res_uid(uid, uid, uid)).map_err(
        |error| {
            Failure::config(format!("{}: belongs to {owner}, whom this may not become: {error}: run it as {owner}", directory.display()))
        },
    )
}

/// Removes all permissions of other users from a data directory and its files, and logs one line if there were any.
/// This needs no lock: a second process that does the same changes nothing.
///
/// # Errors
/// A file in it belongs to another user, or the file system does not change modes.
pub fn keep_private(directory: &Path) -> Result<(), Failure> {
    require_data_directory(directory)?;
    let mut restricted = Vec::new();
    restrict_mode(directory, &mut restricted)?;
    let mut waiting: Vec<PathBuf> = OWN_FILES.iter().chain(&FILES).map(|name| directory.join(name)).collect();
    while let Some(path) = waiting.pop() {
        if restrict_mode(&path, &mut restricted)? {
            let entries = fs::read_dir(&path).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>());
            waiting.extend(entries.map_err(|error| file_error(&path, "cannot be read", &error))?);
        }
    }
    if let Some(more) = restricted.len().checked_sub(MAX_NAMED_FILES + 1) {
        restricted.truncate(MAX_NAMED_FILES);
        restricted.push(format!("and {} more", more + 1));
    }
    if !restricted.is_empty() {
        tracing::warn!("others could get at these, and no longer can: {}", restricted.join(", "));
    }
    Ok(())
}

/// Refuses a directory that other users use for something else: making it private would take it from them.
fn require_data_directory(directory: &Path) -> Result<(), Failure> {
    let failed = |error: io::Error| file_error(directory, "cannot be read", &error);
    let is_open = fs::metadata(directory).map_err(failed)?.mode() & 0o077 != 0;
    // Only the keyring identifies a directory as ours; other programs may have a file named `db` too.
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

/// Checks again, after root has created the directory, that no other user can replace any part of its path.
///
/// # Errors
/// Another user replaced a part of the path meanwhile.
pub fn recheck_path(directory: &Path) -> Result<(), Failure> {
    let us = User::current();
    if us.is_root() { path::require_unreplaceable(directory, us) } else { Ok(()) }
}

/// Removes the permissions of other users from one of our files or directories. Returns whether it is a directory.
/// Links are not followed: their targets are outside our directory.
fn restrict_mode(path: &Path, restricted: &mut Vec<String>) -> Result<bool, Failure> {
    let file = match fs::symlink_metadata(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(file_error(path, "cannot be read", &error)),
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
    // Some file systems accept a change of modes but do not make it, so the mode is read again.
    let left = changed.as_ref().map_or(found, mode);
    if left & 0o077 != 0 {
        let why = changed.err().map_or_else(|| "the file system does not keep modes".into(), |error| error.to_string());
        return Err(Failure::config(format!(
            "{}: found mode {left:o}, allowed: {allowed:o}, so that nobody else can read it; it could not be changed: {why}",
            path.display()
        )));
    }
    restricted.push(format!("{} (mode {found:o})", path.display()));
    Ok(file.is_dir())
}

fn mode(file: &Metadata) -> u32 {
    file.mode() & 0o777
}

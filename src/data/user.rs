//! The users of this machine, and messages about files that cannot be accessed.

use crate::failure::Failure;
use rustix::process::{Uid, geteuid};
use std::{
    fmt,
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::Path,
};

/// A user of this machine, shown by name where `/etc/passwd` has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User(u32);

impl User {
    /// The user that this process runs as.
    #[must_use]
    pub fn current() -> Self {
        Self(geteuid().as_raw())
    }

    /// The user with this id.
    #[must_use]
    pub const fn with_id(id: u32) -> Self {
        Self(id)
    }

    /// The user id.
    #[must_use]
    pub const fn id(self) -> u32 {
        self.0
    }

    /// The owner of a file.
    #[must_use]
    pub fn owner_of(file: &Metadata) -> Self {
        Self(file.uid())
    }

    /// Name and primary group, where `/etc/passwd` has them.
    pub fn entry(self) -> Option<(String, u32)> {
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let mut lines = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
        lines.find_map(|fields| match fields[..] {
            [name, _, id, group, ..] if id.parse() == Ok(self.0) => Some((name.to_owned(), group.parse().ok()?)),
            _ => None,
        })
    }

    /// Whether this is root.
    #[must_use]
    pub fn is_root(self) -> bool {
        self.0 == Uid::ROOT.as_raw()
    }

    /// Whether files of this user may be trusted: it is this process's own user, or root.
    #[must_use]
    pub fn is_trusted(self) -> bool {
        self == Self::current() || self.is_root()
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.entry() {
            Some((name, _)) => write!(f, "{name} (uid {})", self.0),
            None => write!(f, "uid {}", self.0),
        }
    }
}

/// The failure of an operation on a file. If access was denied, the message also names the owner of the file.
pub fn file_error(path: &Path, what: &str, error: &io::Error) -> Failure {
    let whose = match fs::metadata(path) {
        Ok(file) if error.kind() == io::ErrorKind::PermissionDenied => {
            format!(": it belongs to {}, and this is {}", User::owner_of(&file), User::current())
        }
        _ => String::new(),
    };
    Failure::io(format!("{}: {what}: {error}{whose}", path.display()))
}

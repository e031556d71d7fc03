//! Backups that are made by the clock: when one is due, and which are kept.

use super::{before_migration::stamp, write_backup};
use crate::{domain::Timestamp, failure::Failure, store::backup::Summary};
use parking_lot::Mutex;
use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

/// How the names of these backups begin and end. Others in the directory are not ours to remove.
const PREFIX: &str = "doorward-";
const PLAIN: &str = ".jsonl";
const PIPED: &str = ".jsonl.piped";

/// How long it is waited after one that failed.
const AFTER_A_FAILURE: Duration = Duration::from_secs(15 * 60);

/// Backups in a directory.
pub struct Schedule {
    directory: PathBuf,
    every: Option<Duration>,
    keep: usize,
    pipe: Vec<String>,
    /// When the last good one was made.
    last: Mutex<Option<Timestamp>>,
    /// When one has failed since.
    failed: Mutex<Option<Timestamp>>,
    /// Held while one is made.
    running: Mutex<()>,
}

impl Schedule {
    /// Backups in `directory`: the newest there says when the last one was.
    #[must_use]
    pub fn new(directory: PathBuf, every: Option<Duration>, keep: usize, pipe: Vec<String>) -> Self {
        let newest = backups(&directory).unwrap_or_default().pop();
        let last = newest.and_then(|path| fs::metadata(path).ok()?.modified().ok()).map(Timestamp::from);
        Self { directory, every, keep, pipe, last: Mutex::new(last), failed: Mutex::default(), running: Mutex::default() }
    }

    /// How often they are made.
    #[must_use]
    pub const fn every(&self) -> Option<Duration> {
        self.every
    }

    /// When the last good backup was made, here or elsewhere.
    #[must_use]
    pub fn last(&self) -> Option<Timestamp> {
        *self.last.lock()
    }

    /// Notes a good backup.
    pub fn succeeded(&self, at: Timestamp) {
        *self.last.lock() = Some(at);
        *self.failed.lock() = None;
    }

    /// Makes a backup if one is due and none is being made. Returns where it is.
    ///
    /// # Errors
    /// It cannot be made. The others stay, and it is tried again later.
    pub fn make_if_due(
        &self,
        now: Timestamp,
        write: impl FnOnce(&mut dyn Write) -> Result<Summary, Failure>,
    ) -> Result<Option<(PathBuf, Summary)>, Failure> {
        let Some(every) = self.every else { return Ok(None) };
        // A clock that was set back must not put it off.
        let is_recent = |at: Timestamp, span: Duration| now.since(at) < span && at.since(now) < span;
        let is_due =
            !self.last().is_some_and(|at| is_recent(at, every)) && !self.failed.lock().is_some_and(|at| is_recent(at, AFTER_A_FAILURE));
        let Some(_running) = self.running.try_lock().filter(|_| is_due) else { return Ok(None) };
        let ending = if self.pipe.is_empty() { PLAIN } else { PIPED };
        let target = self.directory.join(format!("{PREFIX}{}{ending}", stamp(now)));
        match write_backup(&target, &self.pipe, write) {
            Ok(summary) => {
                self.succeeded(now);
                self.remove_old(&target)?;
                Ok(Some((target, summary)))
            }
            Err(failure) => {
                *self.failed.lock() = Some(now);
                Err(failure)
            }
        }
    }

    /// Removes the oldest, but never the one that was just made.
    fn remove_old(&self, newest: &Path) -> Result<(), Failure> {
        let remove = || -> io::Result<()> {
            let mut others = backups(&self.directory)?;
            others.retain(|path| path != newest);
            let old = others.len().saturating_sub(self.keep - 1);
            others.into_iter().take(old).try_for_each(fs::remove_file)
        };
        remove().map_err(|error| Failure::io(format!("{}: an old backup cannot be removed: {error}", self.directory.display())))
    }
}

/// The backups in a directory, the oldest first.
fn backups(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(PREFIX) && (name.ends_with(PLAIN) || name.ends_with(PIPED)) && entry.file_type()?.is_file() {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::backup::{Fault, Header, Writer};

    fn some(out: &mut dyn Write) -> Result<Summary, Failure> {
        Ok(Writer::begin(out, Header::new(1, [0; 16], Timestamp::default())).and_then(Writer::finish)?)
    }

    #[test]
    fn bak_6_they_are_made_when_due_and_the_oldest_go_once_a_new_one_is_complete() {
        let dir = tempfile::tempdir().expect("a directory");
        let place = dir.path().join("backups");
        let schedule = Schedule::new(place.clone(), Some(Duration::from_secs(3600)), 2, Vec::new());
        let at = |hours: u64| Timestamp::from_secs(1_800_000_000 + hours * 3600);
        let count = || backups(&place).map_or(0, |found| found.len());
        assert!(schedule.make_if_due(at(0), some).expect("made").is_some());
        assert!(schedule.make_if_due(at(0).plus(Duration::from_secs(3599)), some).expect("not due").is_none());
        fs::write(place.join("mine.jsonl"), "").expect("written");
        assert!(schedule.make_if_due(at(1), some).expect("made").is_some());
        assert_eq!(count(), 2);
        let fails = |_: &mut dyn Write| Err(Fault::Write(io::Error::other("full")).into());
        assert!(schedule.make_if_due(at(2), fails).is_err());
        assert!(schedule.make_if_due(at(2), some).expect("put off").is_none(), "not at once again");
        assert_eq!((count(), schedule.last()), (2, Some(at(1))), "the good ones stay");
        let (third, _) = schedule.make_if_due(at(3), some).expect("made").expect("due");
        let left = backups(&place).expect("a directory");
        assert!(left.len() == 2 && left[1] == third && place.join("mine.jsonl").exists(), "{left:?}");
        // Of a clock that was set back.
        let (fourth, _) = schedule.make_if_due(at(1).plus(Duration::from_secs(1)), some).expect("made").expect("due");
        assert!(fourth.exists() && count() == 2);
        let again = Schedule::new(place, Some(Duration::from_secs(3600)), 2, Vec::new());
        assert!(again.last().is_some(), "after a restart");
    }
}

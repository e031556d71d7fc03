//! Moving a restored backup into its place, in steps that may be cut short anywhere (BAK-4).
//!
//! A whole and durable backup is in `restored-TIME` beside what it replaces. First all that was there is moved into
//! `replaced-TIME`; then the backup's directory is renamed `placing-TIME`, so that it is known what the files in the data
//! directory are; then its files are moved into their places. Each step can be taken again.

use crate::store::engine::sled::FILES;
use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

/// The directory that a backup is read into.
pub const PART: &str = "restore.part";
const RESTORED: &str = "restored-";
const PLACING: &str = "placing-";
const REPLACED: &str = "replaced-";
const KEYRINGS: [&str; 3] = ["keyring", "keyring.new", "keyring.next"];

/// Puts the contents of `part` into the places of those of the directory that it is in. Returns where those are now, if there
/// were any.
pub fn begin(part: &Path, directory: &Path, stamp: &str) -> io::Result<Option<PathBuf>> {
    let taken = |stamp: &String| directory.join(format!("{REPLACED}{stamp}")).exists();
    let stamp =
        std::iter::successors(Some(stamp.to_owned()), |last| Some(format!("{last}x"))).find(|stamp| !taken(stamp)).unwrap_or_default();
    for entry in fs::read_dir(part)? {
        sync(&entry?.path())?;
    }
    sync(part)?;
    fs::rename(part, directory.join(format!("{RESTORED}{stamp}")))?;
    sync(directory)?;
    go_on(directory)?;
    let replaced = directory.join(format!("{REPLACED}{stamp}"));
    Ok(replaced.exists().then_some(replaced))
}

/// Whether a restore was begun here and must go on.
pub fn is_begun(directory: &Path) -> bool {
    [RESTORED, PLACING].into_iter().any(|prefix| begun(directory, prefix).is_ok_and(|found| found.is_some()))
}

/// Goes on with a restore, if one was begun; removes what one has left that was killed before.
pub fn go_on(directory: &Path) -> io::Result<()> {
    // It is in nobody's way.
    let _ = fs::remove_dir_all(directory.join(PART));
    let names = || KEYRINGS.into_iter().chain(FILES);
    if let Some((restored, stamp)) = begun(directory, RESTORED)? {
        let replaced = directory.join(format!("{REPLACED}{stamp}"));
        DirBuilder::new().recursive(true).mode(0o700).create(&replaced)?;
        move_all(directory, &replaced, names())?;
        // It is empty if there was nothing, and stays otherwise.
        let _ = fs::remove_dir(&replaced);
        fs::rename(restored, directory.join(format!("{PLACING}{stamp}")))?;
        sync(directory)?;
    }
    if let Some((placing, _)) = begun(directory, PLACING)? {
        move_all(&placing, directory, names())?;
        fs::remove_dir_all(placing)?;
        sync(directory)?;
    }
    Ok(())
}

/// The directory whose name begins like this, and how it goes on.
fn begun(directory: &Path, prefix: &str) -> io::Result<Option<(PathBuf, String)>> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(stamp) = name.strip_prefix(prefix).filter(|_| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            return Ok(Some((entry.path(), stamp.to_owned())));
        }
    }
    Ok(None)
}

/// Moves those of these files that there are.
fn move_all<'a>(from: &Path, to: &Path, names: impl Iterator<Item = &'a str>) -> io::Result<()> {
    for name in names {
        match fs::rename(from.join(name), to.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    sync(from)?;
    sync(to)
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A data directory with this in every file, and a whole backup beside it.
    fn before() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        let part = dir.path().join(PART);
        for (place, text) in [(dir.path(), "old"), (&*part, "new")] {
            fs::create_dir_all(place.join("db")).expect("made");
            for file in ["keyring", "marker", "db/conf", "db/db"] {
                fs::write(place.join(file), text).expect("written");
            }
        }
        fs::write(dir.path().join("keyring.next"), "old").expect("written");
        dir
    }

    fn is_new(directory: &Path) -> bool {
        ["keyring", "marker", "db/conf", "db/db"].iter().all(|file| fs::read(directory.join(file)).is_ok_and(|text| text == b"new"))
            && !directory.join("keyring.next").exists()
    }

    #[test]
    fn bak_4_a_restore_that_was_cut_short_goes_on_from_wherever_it_was() {
        let files = ["keyring", "keyring.next", "db", "marker"];
        // The first of the two moves was cut short after so many files, and then the second.
        for moved in 0..=files.len() {
            let dir = before();
            let (restored, replaced) = (dir.path().join("restored-1"), dir.path().join("replaced-1"));
            fs::rename(dir.path().join(PART), restored).expect("renamed");
            fs::create_dir(&replaced).expect("made");
            for file in &files[..moved] {
                fs::rename(dir.path().join(file), replaced.join(file)).expect("moved");
            }
            assert!(is_begun(dir.path()));
            go_on(dir.path()).expect("goes on");
            assert!(is_new(dir.path()) && !is_begun(dir.path()), "after {moved}");
            assert_eq!(fs::read(replaced.join("db/db")).expect("kept"), b"old");
        }
        for moved in 0..=files.len() {
            let dir = before();
            let (placing, replaced) = (dir.path().join("placing-1"), dir.path().join("replaced-1"));
            fs::rename(dir.path().join(PART), &placing).expect("renamed");
            fs::create_dir(&replaced).expect("made");
            files.iter().for_each(|file| fs::rename(dir.path().join(file), replaced.join(file)).expect("moved"));
            for file in files[..moved].iter().filter(|file| placing.join(file).exists()) {
                fs::rename(placing.join(file), dir.path().join(file)).expect("moved");
            }
            assert!(is_begun(dir.path()));
            go_on(dir.path()).expect("goes on");
            assert!(is_new(dir.path()) && !is_begun(dir.path()), "after {moved}");
        }
    }

    #[test]
    fn two_restores_within_a_second_keep_both_that_they_replace() {
        let dir = before();
        fs::create_dir_all(dir.path().join("replaced-1/db")).expect("made");
        let replaced = begin(&dir.path().join(PART), dir.path(), "1").expect("placed").expect("something was there");
        assert_eq!(replaced, dir.path().join("replaced-1x"));
        assert!(is_new(dir.path()));
    }
}

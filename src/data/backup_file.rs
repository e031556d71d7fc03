//! Backups as files: written whole or not at all, through a program if one is to encrypt them, and read again before they count.

use super::NewFile;
use crate::{
    domain::{Clock, Timestamp},
    failure::Failure,
    keyring::Keyring,
    store::{
        Report, Store,
        backup::{Fault, Header, Reader, Summary},
        engine::memory::Memory,
    },
};
use std::{
    fs::DirBuilder,
    io::{self, BufRead, BufReader, BufWriter, Read, Write},
    os::unix::fs::DirBuilderExt,
    path::Path,
    process::{Command, Stdio},
};

/// The variables of the environment that a program is given: none of ours, which may be secrets.
const HANDED_ON: [&str; 3] = ["PATH", "HOME", "LANG"];

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        let message = fault.to_string();
        match fault {
            Fault::Store(error) => error.into(),
            Fault::Write(_) | Fault::Read(_) => Self::io(message),
            Fault::Damaged { .. } | Fault::Unfinished(_) | Fault::TooNew(_) => Self::data(message),
        }
    }
}

/// Puts what `write` writes into a file, through a program if there is one, and makes it durable. A file of before stays
/// until this one is whole. A directory that is missing is made.
///
/// # Errors
/// It cannot be written, or is not what was written; then nothing has changed.
pub fn write_backup(
    target: &Path,
    pipe: &[String],
    write: impl FnOnce(&mut dyn Write) -> Result<Summary, Failure>,
) -> Result<Summary, Failure> {
    let named = |failure: Failure| {
        let unchanged = if failure.to_string().contains("nothing was changed") { "" } else { ": nothing was changed" };
        Failure::with_code(failure.code(), format!("{}: {failure}{unchanged}", target.display()))
    };
    let io = |error: io::Error| named(Failure::io(format!("cannot be written: {error}: nothing was changed")));
    if let Some(directory) = target.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(io)?;
    }
    let new = NewFile::begin(target).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => named(Failure::busy("somebody else writes it at the moment")),
        _ => io(error),
    })?;
    let summary = match pipe {
        [] => {
            let mut out = BufWriter::new(new.file());
            write(&mut out).and_then(|summary| out.flush().map(|()| summary).map_err(|error| Fault::Write(error).into()))
        }
        [program, arguments @ ..] => through(program, arguments, &new, write),
    }
    .map_err(named)?;
    if pipe.is_empty() {
        let (_, reader) = new
            .read_back()
            .map_err(Fault::Read)
            .and_then(|file| Reader::begin(BufReader::new(file)))
            .map_err(|fault| named(fault.into()))?;
        let read = reader.finish().map_err(|fault| named(fault.into()))?;
        if read != summary {
            return Err(named(Failure::io("reads otherwise than it was written: nothing was changed")));
        }
    }
    new.place().map_err(io)?;
    Ok(summary)
}

/// Writes through a program, whose output is the file.
fn through(
    program: &str,
    arguments: &[String],
    new: &NewFile,
    write: impl FnOnce(&mut dyn Write) -> Result<Summary, Failure>,
) -> Result<Summary, Failure> {
    let failed = |why: String| Failure::io(format!("backup.pipe: {program}: {why}: nothing was changed"));
    let io = |error: io::Error| failed(error.to_string());
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(HANDED_ON.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
        .stdin(Stdio::piped())
        .stdout(new.file().try_clone().map_err(io)?)
        .spawn()
        .map_err(io)?;
    let written = child.stdin.take().map(|stdin| {
        let mut out = BufWriter::new(stdin);
        write(&mut out).and_then(|summary| out.flush().map(|()| summary).map_err(|error| Fault::Write(error).into()))
    });
    let status = child.wait().map_err(io)?;
    if !status.success() {
        return Err(failed(format!("it ended with {status}")));
    }
    let summary = written.unwrap_or_else(|| Err(failed("it takes no input".into())))?;
    match new.file().metadata().map_err(io)?.len() {
        0 => Err(failed("it wrote nothing".into())),
        _ => Ok(summary),
    }
}

/// Copies a backup, and reads it on the way: it is complete only if this succeeds.
///
/// # Errors
/// It cannot be read or written, or is not whole.
pub fn copy_backup(from: impl Read, to: &mut dyn Write) -> Result<Summary, Failure> {
    let mut failed = None;
    let copy = Copying { from: BufReader::with_capacity(64 * 1024, from), to, failed: &mut failed };
    let outcome = Reader::begin(copy).and_then(|(_, reader)| reader.finish());
    match failed {
        Some(error) => Err(Fault::Write(error).into()),
        None => Ok(outcome?),
    }
}

/// Writes what was read of it.
struct Copying<'a, R> {
    from: BufReader<R>,
    to: &'a mut dyn Write,
    failed: &'a mut Option<io::Error>,
}

impl<R: Read> Read for Copying<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.len().min(into.len());
        into[..length].copy_from_slice(&self.fill_buf()?[..length]);
        self.consume(length);
        Ok(length)
    }
}

impl<R: Read> BufRead for Copying<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self.failed {
            Some(_) => Err(io::ErrorKind::BrokenPipe.into()),
            None => self.from.fill_buf(),
        }
    }

    fn consume(&mut self, amount: usize) {
        let written = self.to.write_all(&self.from.buffer()[..amount]);
        self.from.consume(amount);
        if let Err(error) = written {
            self.failed.get_or_insert(error);
        }
    }
}

/// A backup that was read whole and of which a database was made.
#[derive(Debug)]
pub struct Verified {
    /// What it is.
    pub header: Header,
    /// What its last line says.
    pub summary: Summary,
    /// What is wrong in the database that it was made of, and how many rows there are.
    pub report: Report,
}

/// Restores a backup into memory, as a start would open it, and checks every row. Nothing on any disk is touched.
///
/// # Errors
/// It is damaged, of a later release, or cannot be read.
pub async fn verify(input: impl BufRead, now: Timestamp) -> Result<Verified, Failure> {
    let (header, mut reader) = Reader::begin(input)?;
    let memory = Memory::default();
    let keyring = reader.load(&memory).await?;
    let keyring = Keyring::from_file(&keyring).map_err(|why| Failure::data(format!("its keyring {why}")))?;
    let store = Store::open(Box::new(memory), keyring.instance, Clock::default(), Vec::new()).await?;
    store.migrate(now, now).await?;
    let report = store.check().await?;
    Ok(Verified { header, summary: reader.summary().clone(), report })
}

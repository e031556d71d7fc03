//! The lines of a backup, and writing and reading them.

use super::Fault;
use crate::domain::Timestamp;
use data_encoding::HEXLOWER;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    io::{BufRead, Read, Write},
};
use zeroize::Zeroizing;

/// The version of the format that is written, and the newest that is read.
const VERSION: u32 = 1;

/// The longest line, in bytes. A record has 64 KiB at most.
const MAX_LINE: u64 = 1024 * 1024;

/// The kind of lines that stand for rows which are missing.
const DAMAGED: &str = "damaged";

/// What a backup holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Contents {
    /// Rows as the domain knows them.
    Logical,
    /// Rows as they are stored.
    Raw,
}

/// The first line: what the file is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// The version of the format.
    pub version: u32,
    /// The release that wrote it.
    pub release: String,
    /// What it holds.
    pub contents: Contents,
    /// The schema of the database it was made of.
    pub schema: u32,
    /// The installation, as its keyring names it.
    pub instance: String,
    /// The moment it shows.
    pub created_at: Timestamp,
}

impl Header {
    /// The header of a backup that this release writes.
    #[must_use]
    pub fn new(contents: Contents, schema: u32, instance: [u8; 16], created_at: Timestamp) -> Self {
        let release = env!("CARGO_PKG_VERSION").to_owned();
        Self { version: VERSION, release, contents, schema, instance: HEXLOWER.encode(&instance), created_at }
    }
}

/// A line of a backup.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Line {
    /// The first line.
    Doorward(Header),
    /// The keyring's file.
    Keyring(#[serde(serialize_with = "expose")] SecretString),
    /// A row as it is stored: key and value, in base64.
    Raw(String, String),
    /// A row of this table could not be read when the backup was made, and is missing in it.
    Damaged(String),
    /// The last line.
    End(Summary),
}

impl Line {
    /// The name under which lines of this kind are counted.
    const fn kind(&self) -> &'static str {
        match self {
            Self::Doorward(_) => "doorward",
            Self::Keyring(_) => "keyring",
            Self::Raw(..) => "raw",
            Self::Damaged(_) => DAMAGED,
            Self::End(_) => "end",
        }
    }
}

fn expose<S: serde::Serializer>(secret: &SecretString, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(secret.expose_secret())
}

/// The last line: what must have come before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Summary {
    /// How many lines there are of each kind.
    pub counts: BTreeMap<String, u64>,
    /// The SHA-256 of all bytes before this line.
    pub sha256: String,
}

impl Summary {
    /// How many rows could not be read when the backup was made, and are missing in it.
    #[must_use]
    pub fn damaged(&self) -> u64 {
        self.counts.get(DAMAGED).copied().unwrap_or_default()
    }
}

/// Writes a backup.
pub struct Writer<W> {
    out: W,
    digest: Sha256,
    summary: Summary,
    line: Zeroizing<Vec<u8>>,
}

impl<W: Write> Writer<W> {
    /// Begins a backup.
    ///
    /// # Errors
    /// [`Fault::Write`].
    pub fn begin(out: W, header: Header) -> Result<Self, Fault> {
        let mut writer = Self { out, digest: Sha256::new(), summary: Summary::default(), line: Zeroizing::default() };
        writer.write(&Line::Doorward(header))?;
        Ok(writer)
    }

    /// Writes a line and counts it.
    ///
    /// # Errors
    /// [`Fault::Write`].
    pub fn line(&mut self, line: &Line) -> Result<(), Fault> {
        *self.summary.counts.entry(line.kind().to_owned()).or_default() += 1;
        self.write(line)
    }

    /// Ends the backup.
    ///
    /// # Errors
    /// [`Fault::Write`].
    pub fn finish(mut self) -> Result<Summary, Fault> {
        self.summary.sha256 = HEXLOWER.encode(&self.digest.finalize_reset());
        let summary = self.summary.clone();
        self.write(&Line::End(summary.clone()))?;
        self.out.flush().map_err(Fault::Write)?;
        Ok(summary)
    }

    fn write(&mut self, line: &Line) -> Result<(), Fault> {
        self.line.clear();
        serde_json::to_writer(&mut *self.line, line).map_err(|error| Fault::Write(error.into()))?;
        self.line.push(b'\n');
        self.digest.update(&*self.line);
        self.out.write_all(&self.line).map_err(Fault::Write)
    }
}

/// Reads a backup, line by line. It is what was written only once the last line was read.
pub struct Reader<R> {
    input: R,
    digest: Sha256,
    summary: Summary,
    number: u64,
    line: Zeroizing<Vec<u8>>,
}

impl<R: BufRead> Reader<R> {
    /// Begins to read.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn begin(input: R) -> Result<(Header, Self), Fault> {
        let mut reader = Self { input, digest: Sha256::new(), summary: Summary::default(), number: 0, line: Zeroizing::default() };
        match reader.read()? {
            Line::Doorward(header) if header.version > VERSION => Err(Fault::TooNew(header.release)),
            Line::Doorward(header) => Ok((header, reader)),
            _ => Err(reader.damaged("it does not begin as one")),
        }
    }

    /// The next line; nothing after the last, which has said the same as what was read.
    ///
    /// # Errors
    /// [`Fault`].
    #[allow(clippy::should_implement_trait, reason = "it stops at the first error")]
    pub fn next(&mut self) -> Result<Option<Line>, Fault> {
        let before = self.digest.clone();
        match self.read()? {
            Line::Doorward(_) => Err(self.damaged("it begins a second time")),
            Line::End(end) => {
                self.summary.sha256 = HEXLOWER.encode(&before.finalize());
                if end != self.summary || *self.line != serde_json::to_vec(&Line::End(end)).unwrap_or_default() {
                    return Err(self.damaged("counts or checksum are wrong"));
                }
                if !self.input.fill_buf().map_err(Fault::Read)?.is_empty() {
                    return Err(self.damaged("there is more after its end"));
                }
                Ok(None)
            }
            line => {
                *self.summary.counts.entry(line.kind().to_owned()).or_default() += 1;
                Ok(Some(line))
            }
        }
    }

    /// What the last line said. To be asked once everything was read.
    pub const fn summary(&self) -> &Summary {
        &self.summary
    }

    /// The error that the present line is not what was written.
    pub fn damaged(&self, why: impl Into<String>) -> Fault {
        Fault::Damaged { line: self.number, why: why.into() }
    }

    fn read(&mut self) -> Result<Line, Fault> {
        self.number += 1;
        self.line.clear();
        (&mut self.input).take(MAX_LINE).read_until(b'\n', &mut self.line).map_err(Fault::Read)?;
        self.digest.update(&*self.line);
        match self.line.pop() {
            Some(b'\n') => {}
            None => return Err(self.damaged("it ends before its last line")),
            Some(_) => return Err(self.damaged("the line is cut off")),
        }
        // serde's own message could quote a secret.
        serde_json::from_slice(&self.line).map_err(|error| self.damaged(format!("column {} is not as written", error.column())))
    }
}

//! The lines of a backup, and writing and reading them.

use super::Fault;
use crate::{domain::Timestamp, store::schema};
use data_encoding::{BASE64, HEXLOWER};
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

/// The name under which the keyring is counted. Rows are counted under the first byte of their keys, which is their table's.
const KEYRING: &str = "keyring";

/// The first line: what the file is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// The version of the format.
    pub version: u32,
    /// The release that wrote it.
    pub release: String,
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
    pub fn new(schema: u32, instance: [u8; 16], created_at: Timestamp) -> Self {
        let release = env!("CARGO_PKG_VERSION").to_owned();
        Self { version: VERSION, release, schema, instance: HEXLOWER.encode(&instance), created_at }
    }
}

/// A line of a backup.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Line {
    /// The first line.
    Doorward(Header),
    /// The keyring's file.
    Keyring(#[serde(serialize_with = "expose")] SecretString),
    /// A row as it is stored: key and value, in base64.
    Row(String, String),
    /// Whoever made the backup could not go on, for this reason.
    Failed(String),
    /// The last line.
    End(Summary),
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
    fn count(&mut self, name: &str) {
        match self.counts.get_mut(name) {
            Some(count) => *count += 1,
            None => drop(self.counts.insert(name.to_owned(), 1)),
        }
    }

    /// How many rows there are of the table whose keys begin with this byte.
    #[must_use]
    pub fn of_table(&self, prefix: u8) -> u64 {
        self.counts.get(table_name(&[prefix]).as_str()).copied().unwrap_or_default()
    }

    /// How many rows there are in all.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.counts.iter().filter(|(name, _)| *name != KEYRING).map(|(_, count)| count).sum()
    }
}

/// The name under which the row of a key is counted.
fn table_name(key: &[u8]) -> String {
    key.first().map(|prefix| char::from(*prefix).to_string()).unwrap_or_default()
}

/// A part of a backup, as it is read.
pub enum Part {
    /// The keyring's file.
    Keyring(SecretString),
    /// A row: key and value.
    Row(Vec<u8>, Vec<u8>),
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

    /// Writes the keyring's file.
    ///
    /// # Errors
    /// [`Fault::Write`].
    pub fn keyring(&mut self, keyring: SecretString) -> Result<(), Fault> {
        self.summary.count(KEYRING);
        self.write(&Line::Keyring(keyring))
    }

    /// Writes a row.
    ///
    /// # Errors
    /// [`Fault::Write`].
    pub fn row(&mut self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        self.summary.count(&table_name(key));
        self.write(&Line::Row(BASE64.encode(key), BASE64.encode(value)))
    }

    /// Says why it ends here: what was written is no backup.
    ///
    /// # Errors
    /// [`Fault::Write`].
    pub fn fail(mut self, why: &Fault) -> Result<(), Fault> {
        self.write(&Line::Failed(why.to_string()))?;
        self.out.flush().map_err(Fault::Write)
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
        let first = reader.read().map_err(|fault| match fault {
            Fault::Damaged { .. } => reader.damaged("it does not begin as one; if it went through a program, let that decrypt it first"),
            other => other,
        })?;
        match first {
            Line::Doorward(header) if header.version > VERSION || header.schema > schema::VERSION => Err(Fault::TooNew(header.release)),
            Line::Doorward(header) => Ok((header, reader)),
            _ => Err(reader.damaged("it does not begin as one")),
        }
    }

    /// The next part; nothing after the last line, which has said the same as what was read.
    ///
    /// # Errors
    /// [`Fault`].
    #[allow(clippy::should_implement_trait, reason = "it stops at the first error")]
    pub fn next(&mut self) -> Result<Option<Part>, Fault> {
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
            Line::Failed(why) => Err(Fault::Unfinished(why)),
            Line::Keyring(keyring) => {
                self.summary.count(KEYRING);
                Ok(Some(Part::Keyring(keyring)))
            }
            Line::Row(key, value) => {
                let decode = |text: String| BASE64.decode(text.as_bytes()).map_err(|_| self.damaged("it is no base64"));
                let (key, value) = (decode(key)?, decode(value)?);
                self.summary.count(&table_name(&key));
                Ok(Some(Part::Row(key, value)))
            }
        }
    }

    /// Reads it to its end.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn finish(mut self) -> Result<Summary, Fault> {
        while self.next()?.is_some() {}
        Ok(self.summary)
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

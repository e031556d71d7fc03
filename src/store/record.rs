//! Records as bytes: a version, the bincode of that version's struct, and a checksum over the key and both (STO-9).
//!
//! Old versions stay readable for ever: a change of shape is a new struct with a version of its own and a
//! conversion from the old one, never an edit. The golden bytes in `tests/golden` check that.

use super::Error;
use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use serde::{Serialize, de::DeserializeOwned};

/// The longest record, in bytes. Without a limit, a damaged length could make the decoder allocate terabytes.
const MAX_RECORD_LEN: usize = 64 * 1024;
/// Bytes allocated for a record before it is encoded: most are no longer.
const USUAL_RECORD_LEN: usize = 512;
const CODEC: Configuration<LittleEndian, Varint, Limit<MAX_RECORD_LEN>> = bincode::config::standard().with_limit::<MAX_RECORD_LEN>();
const CHECKSUM_LEN: usize = 4;

/// A type that is stored as a value.
pub trait Record: Sized {
    /// The version that is written now.
    const VERSION: u8;

    /// Appends the payload in the current version.
    fn encode(&self, into: &mut Vec<u8>) -> Result<(), Error>;

    /// Reads a payload of any version that a release has written.
    fn decode(version: u8, payload: &[u8]) -> Result<Self, Error>;
}

/// Appends the bincode of a stored struct.
pub fn encode<T: Serialize>(stored: &T, into: &mut Vec<u8>) -> Result<(), Error> {
    bincode::serde::encode_into_std_write(stored, into, CODEC).map_err(Error::corrupt)?;
    Ok(())
}

/// Reads a stored struct from its bincode; bytes left over are an error.
pub fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Error> {
    let (stored, read) = bincode::serde::decode_from_slice(payload, CODEC).map_err(Error::corrupt)?;
    if read == payload.len() { Ok(stored) } else { Err(Error::corrupt("bytes after the record's end")) }
}

/// The error for a version that only a later release can have written.
pub fn unknown_version<T>(version: u8) -> Result<T, Error> {
    Err(Error::corrupt(format_args!("record version {version} is unknown to this release")))
}

/// The bytes of a record at a key.
pub fn encode_row<R: Record>(key: &[u8], record: &R) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::with_capacity(USUAL_RECORD_LEN);
    bytes.push(R::VERSION);
    record.encode(&mut bytes)?;
    bytes.extend(checksum(key, &bytes).to_le_bytes());
    Ok(bytes)
}

/// The record in the bytes found at a key.
pub fn decode_row<R: Record>(key: &[u8], bytes: &[u8]) -> Result<R, Error> {
    let (row, sum) = bytes.split_last_chunk::<CHECKSUM_LEN>().ok_or_else(|| Error::corrupt("a record is cut off"))?;
    if u32::from_le_bytes(*sum) != checksum(key, row) {
        return Err(Error::corrupt("a record's checksum is wrong"));
    }
    let (&version, payload) = row.split_first().ok_or_else(|| Error::corrupt("a record is empty"))?;
    R::decode(version, payload)
}

/// CRC-32 over key and value, so that a row under another key is as damaged as one that changed.
fn checksum(key: &[u8], row: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(row);
    hasher.finalize()
}

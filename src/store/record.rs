//! Records as bytes: a version, the bincode of that version's struct, a checksum over key and both
//! (STO-9).
//!
//! Old versions stay readable for ever: a change of shape is a new struct with its own version and a
//! `From`, never an edit. The golden bytes in `tests/golden` hold us to it.

use super::Error;
use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use serde::{Serialize, de::DeserializeOwned};

/// The longest record, in bytes. Without a limit ten hostile bytes can ask for a terabyte.
const LIMIT: usize = 64 * 1024;
/// Most records are no longer, in bytes: what is made room for at once.
const USUAL: usize = 512;
const CODEC: Configuration<LittleEndian, Varint, Limit<LIMIT>> = bincode::config::standard().with_limit::<LIMIT>();
const CHECKSUM_LEN: usize = 4;

/// Something that is stored as a value.
pub trait Record: Sized {
    /// The version that is written now.
    const VERSION: u8;

    /// Appends the payload in the current version.
    fn encode(&self, into: &mut Vec<u8>) -> Result<(), Error>;

    /// Reads a payload of any version that was ever written.
    fn decode(version: u8, payload: &[u8]) -> Result<Self, Error>;
}

/// Appends the bincode of a stored struct.
pub fn encode<T: Serialize>(stored: &T, into: &mut Vec<u8>) -> Result<(), Error> {
    bincode::serde::encode_into_std_write(stored, into, CODEC).map_err(Error::corrupt)?;
    Ok(())
}

/// A stored struct from its bincode, all of it.
pub fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Error> {
    let (stored, read) = bincode::serde::decode_from_slice(payload, CODEC).map_err(Error::corrupt)?;
    if read == payload.len() { Ok(stored) } else { Err(Error::corrupt("bytes after the record's end")) }
}

/// The answer to a version nobody wrote yet.
pub fn unknown_version<T>(version: u8) -> Result<T, Error> {
    Err(Error::corrupt(format_args!("record version {version} is unknown to this release")))
}

/// The bytes of a record at a key.
pub fn encode_row<R: Record>(key: &[u8], record: &R) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::with_capacity(USUAL);
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

/// CRC-32 over key and value: a row that moved to another key is as wrong as one that changed.
fn checksum(key: &[u8], row: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(row);
    hasher.finalize()
}

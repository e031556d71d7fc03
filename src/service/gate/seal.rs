//! What is handed to a browser and comes back unchanged: bytes under a tag, for one purpose and one app.

use crate::{domain::Timestamp, service::mac::MacRing};
use data_encoding::BASE64URL_NOPAD;

const TAG_LEN: usize = 32;
/// The longest text that is decoded: more than any that we make.
const MAX_LEN: usize = 4096;

/// Seals and opens with the keys of the gate.
pub struct Seals(pub(super) MacRing);

impl Seals {
    /// Seals bytes for a purpose and an app.
    ///
    /// # Panics
    /// When the gate has no keys: it has as soon as there is an app.
    pub fn seal(&self, purpose: &[u8], origin: &str, body: &[u8]) -> String {
        let tag = self.0.with_current(|key| key.tag(&[purpose, origin.as_bytes(), b"\0", body]));
        BASE64URL_NOPAD.encode(&[body, &tag].concat())
    }

    /// The bytes of a sealed text and its tag, if it was sealed for this purpose and app.
    pub fn open(&self, purpose: &[u8], origin: &str, text: &str) -> Option<(Vec<u8>, Vec<u8>)> {
        let mut body = (text.len() <= MAX_LEN).then(|| BASE64URL_NOPAD.decode(text.as_bytes()).ok())??;
        let tag = body.split_off(body.len().checked_sub(TAG_LEN)?);
        let is_ours = self.0.keys().iter().any(|key| key.verify(&[purpose, origin.as_bytes(), b"\0", &body], &tag));
        is_ours.then_some((body, tag))
    }
}

/// Reads fields from sealed bytes.
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// The next bytes.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    /// The next moment, in five bytes.
    pub fn moment(&mut self) -> Option<Timestamp> {
        let mut bytes = [0; 8];
        bytes[3..].copy_from_slice(&self.array::<5>()?);
        Some(Timestamp::from_secs(u64::from_be_bytes(bytes)))
    }

    /// The next text, behind its length in one byte.
    pub fn text(&mut self) -> Option<&'a str> {
        let [length] = self.array()?;
        let (text, rest) = self.0.split_at_checked(length.into())?;
        self.0 = rest;
        str::from_utf8(text).ok()
    }

    /// All that is left, as text.
    pub fn rest(self) -> Option<&'a str> {
        str::from_utf8(self.0).ok()
    }

    /// Whether nothing is left.
    pub const fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }
}

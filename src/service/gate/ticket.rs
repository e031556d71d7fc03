//! The two things that travel between an app's host and the sign-in page, in addresses: a request to enter, and the code it
//! is answered with. Both say where the visitor wanted to go, and both are bound to the browser that began.

use super::{
    pass::{NewPass, seconds},
    seal::{Reader, Seals},
};
use crate::domain::{Timestamp, random};
use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// How long a request to enter is good: somebody may have to find their password.
pub const REQUEST_TTL: Duration = Duration::from_secs(600);
/// How long a code is good: a browser follows it at once.
pub const CODE_TTL: Duration = Duration::from_secs(60);

const REQUEST: &[u8] = b"gate-request\0";
const CODE: &[u8] = b"gate-code\0";

/// What a browser keeps at an app's host while its user signs in elsewhere. What comes back is taken from that browser alone,
/// so that nobody can be led into somebody else's session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nonce(String);

/// A nonce, as addresses may show it.
pub type NonceHash = [u8; 16];

impl Nonce {
    /// A new one.
    #[must_use]
    pub fn random() -> Self {
        Self(BASE64URL_NOPAD.encode(&random::bytes::<16>()))
    }

    /// One that a browser has brought back.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        BASE64URL_NOPAD.decode(text.as_bytes()).is_ok_and(|bytes| bytes.len() == 16).then(|| Self(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its hash.
    #[must_use]
    pub fn hash(&self) -> NonceHash {
        let mut hash = NonceHash::default();
        hash.copy_from_slice(&Sha256::digest(self.0.as_bytes())[..16]);
        hash
    }
}

/// A request to enter an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryRequest {
    /// The app's origin.
    pub origin: String,
    /// The browser that asks; none if it has been refused and would have to begin again.
    pub nonce: Option<NonceHash>,
    /// Where at the app it wants to go: path and query.
    pub to: String,
    /// Until when it is good.
    pub expires_at: Timestamp,
}

impl EntryRequest {
    /// The request as a text.
    pub(super) fn seal(&self, seals: &Seals) -> String {
        let mut bytes = seconds(self.expires_at).to_vec();
        bytes.push(self.nonce.is_some().into());
        bytes.extend(self.nonce.unwrap_or_default());
        write_text(&mut bytes, &self.origin);
        bytes.extend(self.to.as_bytes());
        seals.seal(REQUEST, "", &bytes)
    }

    /// Reads a request that we sealed. Says nothing of whether it has expired.
    pub(super) fn open(seals: &Seals, text: &str) -> Option<Self> {
        let (body, _) = seals.open(REQUEST, "", text)?;
        let mut reader = Reader(&body);
        let expires_at = reader.moment()?;
        let ([has_nonce], nonce) = (reader.array()?, reader.array()?);
        let origin = reader.text()?.to_owned();
        Some(Self { origin, nonce: (has_nonce == 1).then_some(nonce), to: reader.rest()?.to_owned(), expires_at })
    }
}

/// A code, which becomes a pass at the app's own host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    /// It is good once.
    pub id: [u8; 16],
    /// Until when it is good.
    pub expires_at: Timestamp,
    /// The browser that it is for.
    pub nonce: NonceHash,
    /// What it becomes.
    pub pass: NewPass,
    /// Where at the app to go then.
    pub to: String,
}

impl Code {
    /// The code as a text, for the app of this origin.
    pub(super) fn seal(&self, seals: &Seals, origin: &str) -> String {
        let mut bytes = self.id.to_vec();
        bytes.extend(seconds(self.expires_at));
        bytes.extend(self.nonce);
        bytes.extend(self.pass.encode());
        bytes.extend(self.to.as_bytes());
        seals.seal(CODE, origin, &bytes)
    }

    /// Reads a code for the app of this origin. Says nothing of whether it is still good.
    pub(super) fn open(seals: &Seals, origin: &str, text: &str) -> Option<Self> {
        let (body, _) = seals.open(CODE, origin, text)?;
        let mut reader = Reader(&body);
        let (id, expires_at, nonce) = (reader.array()?, reader.moment()?, reader.array()?);
        let pass = NewPass::decode(&mut reader)?;
        Some(Self { id, expires_at, nonce, pass, to: reader.rest()?.to_owned() })
    }
}

/// Writes a text behind its length. Origins are shorter than 256 bytes: host names are.
fn write_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.push(u8::try_from(text.len()).expect("an origin has fewer than 256 bytes"));
    bytes.extend(text.as_bytes());
}

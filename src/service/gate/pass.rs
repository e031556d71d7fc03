//! Passes: what a browser carries to one app, in a cookie of that app's own host.
//!
//! A pass holds its session (16 bytes), its user (16), the token version (4), when it was issued and when it expires
//! (5 each, in seconds) under a tag over the app's origin and all that. So it is good for one app, nothing has to be stored,
//! and whether it is in force is looked up in the deny list like that of an access token.

use super::seal::{Reader, Seals};
use crate::domain::{SessionId, Timestamp, TokenId, TokenIds, UserId};
use secrecy::SecretString;

const VERSION: u8 = 1;
const PURPOSE: &[u8] = b"gate-pass\0";

/// What a pass says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    /// What it can be revoked by. Its own id is made of its tag.
    pub ids: TokenIds,
    /// When it expires.
    pub expires_at: Timestamp,
}

/// A pass that may be issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewPass {
    /// The session it follows from.
    pub session: SessionId,
    /// The user of that session.
    pub user: UserId,
    /// The user's token version.
    pub version: u32,
    /// When the transaction that it follows from was prepared.
    pub issued_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
}

impl NewPass {
    /// Its bytes, without the tag.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend(self.session.as_bytes());
        bytes.extend(self.user.as_bytes());
        bytes.extend(self.version.to_be_bytes());
        bytes.extend(seconds(self.issued_at));
        bytes.extend(seconds(self.expires_at));
        bytes
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let [version] = reader.array()?;
        (version == VERSION).then_some(())?;
        Some(Self {
            session: SessionId::from_bytes(reader.array()?),
            user: UserId::from_bytes(reader.array()?),
            version: u32::from_be_bytes(reader.array()?),
            issued_at: reader.moment()?,
            expires_at: reader.moment()?,
        })
    }

    /// The pass, for the app of this origin.
    pub(super) fn seal(&self, seals: &Seals, origin: &str) -> SecretString {
        seals.seal(PURPOSE, origin, &self.encode()).into()
    }
}

impl Pass {
    /// Reads a pass for the app of this origin. Says nothing of whether it is in force.
    pub(super) fn open(seals: &Seals, origin: &str, text: &str) -> Option<Self> {
        let (body, tag) = seals.open(PURPOSE, origin, text)?;
        let mut reader = Reader(&body);
        let NewPass { session, user, version, issued_at, expires_at } = NewPass::decode(&mut reader)?;
        let token = TokenId::from_bytes(*tag.first_chunk()?);
        reader.is_at_end().then_some(Self { ids: TokenIds { user, version, session, token, issued_at }, expires_at })
    }
}

/// A moment in seconds, in the five bytes that last until the year 36812.
pub(super) fn seconds(moment: Timestamp) -> [u8; 5] {
    let [_, _, _, bytes @ ..] = moment.secs().to_be_bytes();
    bytes
}

//! Keys: fixed-width big-endian parts, then at most one of variable length. Their byte order is their [`Ord`], but for
//! events: the latest comes first, because it is read most.

use crate::domain::{ApiKeyId, Email, EventId, InviteId, SessionId, Timestamp, TokenId, UserId};

/// A key of a table.
pub trait Key: Sized {
    /// Appends the key's bytes.
    fn write(&self, out: &mut Vec<u8>);
    /// Reads a key from all of `bytes`; `None` when they are not such a key.
    fn read(bytes: &[u8]) -> Option<Self>;
}

impl Key for () {
    fn write(&self, _: &mut Vec<u8>) {}

    fn read(bytes: &[u8]) -> Option<Self> {
        bytes.is_empty().then_some(())
    }
}

macro_rules! id_key {
    ($($id:ident)*) => {$(
        impl Key for $id {
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(self.as_bytes());
            }

            fn read(bytes: &[u8]) -> Option<Self> {
                Some(Self::from_bytes(bytes.try_into().ok()?))
            }
        }
    )*};
}
id_key!(UserId SessionId TokenId InviteId ApiKeyId);

impl Key for Timestamp {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.millis().to_be_bytes());
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self::from_millis(u64::from_be_bytes(bytes.try_into().ok()?)))
    }
}

impl Key for EventId {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_bytes().map(|byte| !byte));
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self::from_bytes(<[u8; 8]>::try_from(bytes).ok()?.map(|byte| !byte)))
    }
}

impl Key for Email {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_str().as_bytes());
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self::from_canonical(std::str::from_utf8(bytes).ok()?.to_owned()))
    }
}

/// What belongs to a user, so that all of it is found by the user.
macro_rules! owned_key {
    ($($id:ident)*) => {$(
        impl Key for (UserId, $id) {
            fn write(&self, out: &mut Vec<u8>) {
                self.0.write(out);
                self.1.write(out);
            }

            fn read(bytes: &[u8]) -> Option<Self> {
                let (user, id) = bytes.split_at_checked(16)?;
                Some((Key::read(user)?, Key::read(id)?))
            }
        }
    )*};
}
owned_key!(SessionId ApiKeyId EventId);

impl Key for (Timestamp, SessionId) {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
        self.1.write(out);
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (moment, session) = bytes.split_at_checked(8)?;
        Some((Key::read(moment)?, Key::read(session)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(key: &impl Key) -> Vec<u8> {
        let mut out = Vec::new();
        key.write(&mut out);
        out
    }

    proptest! {
        #[test]
        fn the_order_of_keys_is_the_order_of_their_bytes(a: (u64, [u8; 16]), b: (u64, [u8; 16])) {
            let key = |(t, id)| (Timestamp::from_millis(t), SessionId::from_bytes(id));
            prop_assert_eq!(bytes(&key(a)).cmp(&bytes(&key(b))), key(a).cmp(&key(b)));
            prop_assert_eq!(<(Timestamp, SessionId)>::read(&bytes(&key(a))), Some(key(a)));
        }

        #[test]
        fn no_bytes_make_reading_a_key_panic(bytes: Vec<u8>) {
            let _ = <(Timestamp, SessionId)>::read(&bytes);
            let _ = <(UserId, SessionId)>::read(&bytes);
            let _ = Email::read(&bytes);
            let _ = <(UserId, EventId)>::read(&bytes);
            let _ = <()>::read(&bytes);
        }
    }
}

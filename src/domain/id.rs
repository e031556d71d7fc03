//! 128-bit random identifiers, written as 32 lower-case hex digits, one spelling each.

use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};

/// The text is not 32 lower-case hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id is 32 lower-case hex digits")]
pub struct InvalidId;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// A fresh one, from the operating system's randomness.
            ///
            /// # Panics
            /// When the operating system has no randomness to give: nothing safe can be done then.
            #[must_use]
            pub fn random() -> Self {
                Self(super::random::bytes())
            }

            /// The id with these bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The bytes of the id, as they stand in keys.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }

            /// The digits of the id.
            fn digits(&self) -> [u8; 32] {
                let mut digits = [0; 32];
                HEXLOWER.encode_mut(&self.0, &mut digits);
                digits
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(std::str::from_utf8(&self.digits()).map_err(|_| fmt::Error)?)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let mut bytes = [0; 16];
                if text.len() != 32 {
                    return Err(InvalidId);
                }
                HEXLOWER.decode_mut(text.as_bytes(), &mut bytes).map_err(|_| InvalidId)?;
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// A user, for ever: never reused, not even after deletion (REV-7).
    UserId
);
id!(
    /// A session: one sign-in on one device, one refresh-token family (`sid`).
    SessionId
);
id!(
    /// An access token (`jti`, RFC 7519 §4.1.7).
    TokenId
);
id!(
    /// An invitation to register.
    InviteId
);

id!(
    /// An API key.
    ApiKeyId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let id = UserId::from_bytes([0xab; 16]);
        assert_eq!(id.to_string(), "ab".repeat(16));
        assert_eq!(id.to_string().parse(), Ok(id));
        let json = format!("\"{id}\"");
        assert_eq!(serde_json::to_string(&id).expect("JSON"), json);
        assert_eq!(serde_json::from_str::<UserId>(&json).expect("an id"), id);
        for wrong in ["", "me", &"AB".repeat(16), &"ab".repeat(15), &"ab".repeat(17), &"zz".repeat(16)] {
            assert_eq!(wrong.parse::<UserId>(), Err(InvalidId), "{wrong}");
            assert!(serde_json::from_value::<UserId>(wrong.into()).is_err(), "{wrong}");
        }
    }
}

//! Devices an account is known by: who signed in from one before is not held up by what strangers
//! try on the account (LIM-3; OWASP: device cookies).

use super::mac::MacRing;
use crate::{
    domain::{Timestamp, UserId},
    keyring::Keyring,
};
use data_encoding::BASE64URL_NOPAD;
use secrecy::SecretString;
use std::time::Duration;

const PREFIX: &str = "dwd1.";
const BODY_LEN: usize = 16 + 16 + 8;

/// How long a device is known after its last sign-in.
pub const LIFE: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// A device some user signed in from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// Who.
    pub user: UserId,
    /// Which.
    pub id: [u8; 16],
}

/// Makes and recognises device tokens. They let nobody in: they only have tries of their own.
pub struct Devices {
    keys: MacRing,
}

impl Devices {
    /// Sets up the keys.
    #[must_use]
    pub fn new(keyring: &Keyring) -> Self {
        Self { keys: MacRing::new(&keyring.hash) }
    }

    /// The token of a device; of a new one when it has none of this user yet.
    ///
    /// # Panics
    /// When the operating system has no randomness to give.
    #[must_use]
    pub fn issue(&self, user: UserId, known: Option<Device>, now: Timestamp) -> SecretString {
        let id = known.filter(|device| device.user == user).map_or_else(
            || {
                let mut id = [0; 16];
                getrandom::fill(&mut id).expect("the operating system provides randomness");
                id
            },
            |device| device.id,
        );
        let mut bytes = [&user.as_bytes()[..], &id, &now.secs().to_be_bytes()].concat();
        bytes.extend(self.keys.current().tag(&[b"device\0", &bytes]));
        format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&bytes)).into()
    }

    /// Recognises a token we issued within [`LIFE`].
    #[must_use]
    pub fn recognise(&self, token: &str, now: Timestamp) -> Option<Device> {
        let bytes = BASE64URL_NOPAD.decode(token.strip_prefix(PREFIX)?.as_bytes()).ok()?;
        let (body, tag) = bytes.split_at_checked(BODY_LEN)?;
        self.keys.iter().find(|key| key.verify(&[b"device\0", body], tag))?;
        let (user, rest) = body.split_first_chunk()?;
        let (id, issued) = rest.split_first_chunk()?;
        let issued = Timestamp::from_secs(u64::from_be_bytes(issued.try_into().ok()?));
        (now.since(issued) < LIFE).then_some(Device { user: UserId::from_bytes(*user), id: *id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn a_device_is_known_by_its_own_user_for_its_time() {
        let devices = Devices::new(&Keyring::generate());
        let (user, now) = (UserId::from_bytes([1; 16]), Timestamp::from_secs(1_000_000_000));
        let token = devices.issue(user, None, now);
        let device = devices.recognise(token.expose_secret(), now).expect("known");
        assert_eq!(device.user, user);
        assert_eq!(devices.recognise(token.expose_secret(), now.plus(LIFE)), None);
        let again = devices.issue(user, Some(device), now.plus(LIFE));
        assert_eq!(devices.recognise(again.expose_secret(), now.plus(LIFE)), Some(device), "the same device");
        let other = devices.issue(UserId::from_bytes([2; 16]), Some(device), now);
        assert_ne!(devices.recognise(other.expose_secret(), now).expect("known").id, device.id);
        assert_eq!(Devices::new(&Keyring::generate()).recognise(token.expose_secret(), now), None);
        for wrong in ["", "dwd1.", "dwd1.AAAA", &token.expose_secret().replace("dwd1.", "dwr1.")] {
            assert_eq!(devices.recognise(wrong, now), None, "{wrong}");
        }
    }
}

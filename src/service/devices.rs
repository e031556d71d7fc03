//! Known devices: somebody who has logged in to an account from a device before is not limited there by what
//! strangers try on the account (LIM-3; OWASP: device cookies).

use super::mac::{MacRing, MacRings};
use crate::domain::{Timestamp, UserId};
use data_encoding::BASE64URL_NOPAD;
use secrecy::{ExposeSecret, SecretString};
use std::time::Duration;

const TOKEN_PREFIX: &str = "dwd2.";
const BODY_LEN: usize = 16 + 4 + 1 + 8;

/// Separates the tokens of the users of one browser. It occurs in no token, and is allowed in a cookie.
const SEPARATOR: char = '~';

/// The most users for whom one browser is a known device.
const MAX_USERS: usize = 5;

/// How many device ids a user has. Each device draws one at random and tries are limited per id, so somebody who once
/// had the password and made themselves many tokens still has no more than this many buckets of tries.
const DEVICE_IDS: u8 = 20;

/// The least time that a device is known after its last login.
const MIN_LIFETIME: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// A device that a user has logged in from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// The user who logged in.
    pub user: UserId,
    /// The user's epoch at that login. The caller compares it: in a later epoch the device is no longer known.
    pub epoch: u32,
    /// Tells the user's devices apart; two of them may have drawn the same id.
    pub id: u8,
}

/// Makes and verifies device tokens. A token lets nobody in: it only gives its bearer tries of their own.
pub struct Devices {
    keys: MacRing,
    lifetime: Duration,
}

impl Devices {
    /// Sets up the keys. A device is known for at least as long as a session there can last.
    #[must_use]
    pub fn new(rings: &MacRings, session_max_age: Duration) -> Self {
        Self { keys: rings.hash.clone(), lifetime: MIN_LIFETIME.max(session_max_age) }
    }

    /// How long a device is known after its last login.
    #[must_use]
    pub const fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// A token for a device of this user. It has the id of the `known` device, or a random one.
    ///
    /// # Panics
    /// When the operating system has no randomness to give.
    #[must_use]
    pub fn issue(&self, user: UserId, epoch: u32, known: Option<Device>, now: Timestamp) -> SecretString {
        let id = known.filter(|device| device.user == user).map_or_else(
            || {
                let mut random = [0];
                getrandom::fill(&mut random).expect("the operating system provides randomness");
                random[0] % DEVICE_IDS
            },
            |device| device.id,
        );
        let mut bytes = [&user.as_bytes()[..], &epoch.to_be_bytes(), &[id], &now.secs().to_be_bytes()].concat();
        bytes.extend(self.keys.with_current(|key| key.tag(&[b"device\0", &bytes])));
        format!("{TOKEN_PREFIX}{}", BASE64URL_NOPAD.encode(&bytes)).into()
    }

    /// Merges lists of device tokens into one. A new token of this user stands first and replaces their earlier one;
    /// the tokens of other users stay, up to five in all.
    #[must_use]
    pub fn issue_into(&self, lists: &[&str], user: UserId, epoch: u32, now: Timestamp) -> SecretString {
        let known = lists.iter().flat_map(|list| self.verify_all(list, now)).find(|device| device.user == user);
        let own = self.issue(user, epoch, known, now);
        let tokens = lists.iter().flat_map(|list| list.split(SEPARATOR).take(MAX_USERS));
        let others = tokens.filter(|token| self.verify(token, now).is_some_and(|device| device.user != user));
        let mut listed = own.expose_secret().to_owned();
        for token in others.take(MAX_USERS - 1) {
            listed.push(SEPARATOR);
            listed.push_str(token);
        }
        listed.into()
    }

    /// The devices whose tokens in a list are valid.
    pub fn verify_all(&self, list: &str, now: Timestamp) -> impl Iterator<Item = Device> {
        list.split(SEPARATOR).take(MAX_USERS).filter_map(move |token| self.verify(token, now))
    }

    /// The device of a token that we issued within its lifetime.
    #[must_use]
    pub fn verify(&self, token: &str, now: Timestamp) -> Option<Device> {
        let bytes = BASE64URL_NOPAD.decode(token.strip_prefix(TOKEN_PREFIX)?.as_bytes()).ok()?;
        let (body, tag) = bytes.split_at_checked(BODY_LEN)?;
        self.keys.keys().iter().find(|key| key.verify(&[b"device\0", body], tag))?;
        let (user, rest) = body.split_first_chunk()?;
        let (epoch, rest) = rest.split_first_chunk()?;
        let (id, issued) = rest.split_first()?;
        let issued = Timestamp::from_secs(u64::from_be_bytes(issued.try_into().ok()?));
        let device = Device { user: UserId::from_bytes(*user), epoch: u32::from_be_bytes(*epoch), id: *id };
        (now.since(issued) < self.lifetime).then_some(device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const NOW: Timestamp = Timestamp::from_secs(1_000_000_000);

    fn devices() -> Devices {
        Devices::new(&MacRings::example(), Duration::from_secs(1))
    }

    fn user(n: u8) -> UserId {
        UserId::from_bytes([n; 16])
    }

    #[test]
    fn a_device_is_known_by_its_own_user_for_its_time() {
        let devices = devices();
        let token = devices.issue(user(1), 7, None, NOW);
        let device = devices.verify(token.expose_secret(), NOW).expect("known");
        assert_eq!((device.user, device.epoch), (user(1), 7));
        assert_eq!(devices.verify(token.expose_secret(), NOW.plus(MIN_LIFETIME)), None);
        let later = devices.issue(user(1), 8, Some(device), NOW.plus(MIN_LIFETIME));
        let later = devices.verify(later.expose_secret(), NOW.plus(MIN_LIFETIME)).expect("known");
        assert_eq!(later, Device { epoch: 8, ..device }, "the same device in another epoch");
        let long = Devices::new(&MacRings::example(), MIN_LIFETIME * 2);
        let token = long.issue(user(1), 7, None, NOW);
        assert!(long.verify(token.expose_secret(), NOW.plus(MIN_LIFETIME)).is_some(), "as long as a session may last");
        assert_eq!(self::devices().verify(token.expose_secret(), NOW), None);
        for wrong in ["", "dwd2.", "dwd2.AAAA", &token.expose_secret().replace("dwd2.", "dwr1.")] {
            assert_eq!(devices.verify(wrong, NOW), None, "{wrong}");
        }
    }

    #[test]
    fn lim_3_however_many_tokens_a_user_makes_they_are_of_twenty_devices() {
        let devices = devices();
        let ids: HashSet<_> =
            (0..500).map(|_| devices.verify(devices.issue(user(1), 0, None, NOW).expose_secret(), NOW).expect("known").id).collect();
        assert!(ids.len() <= usize::from(DEVICE_IDS) && ids.len() > 1, "{ids:?}");
    }

    #[test]
    fn a_browser_is_known_by_the_five_who_logged_in_last() {
        let devices = devices();
        let mut list = String::new();
        let users = |list: &str| devices.verify_all(list, NOW).map(|device| device.user).collect::<Vec<_>>();
        for n in 1..=6 {
            list = devices.issue_into(&[&list], user(n), 0, NOW).expose_secret().to_owned();
        }
        assert_eq!(users(&list), [6, 5, 4, 3, 2].map(user));
        let before = devices.verify_all(&list, NOW).find(|device| device.user == user(4)).expect("known");
        list = devices.issue_into(&[&format!("forged~{list}")], user(4), 1, NOW).expose_secret().to_owned();
        assert_eq!(users(&list), [4, 6, 5, 3].map(user), "of six, five are looked at");
        assert_eq!(devices.verify_all(&list, NOW).next(), Some(Device { epoch: 1, ..before }));
        assert!(list.len() < 500, "{} bytes of cookie", list.len());
    }
}

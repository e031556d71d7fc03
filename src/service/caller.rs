//! The caller for whom a password is hashed: what the hashing queue shares its threads by, and what the throttle counts.

use super::devices::Device;
use crate::domain::{AddressPrefix, UserId};
use sha2::{Digest, Sha256};
use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

/// The account that a limit counts for: a hash of the name that was typed, whether such an account exists or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AccountKey([u8; 16]);

impl AccountKey {
    /// The key of a typed name. Names that are looked up as the same account have the same key (LIM-7).
    ///
    /// # Panics
    /// Never: a digest is longer than a key.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let digest = Sha256::digest(name.trim().to_lowercase());
        Self(*digest.first_chunk().expect("a digest has 32 bytes"))
    }

    /// The key of a user who is logged in. No name that a stranger types has this key.
    #[must_use]
    pub const fn of_user(user: UserId) -> Self {
        Self(*user.as_bytes())
    }
}

/// Where a login comes from, and whether the account has been used from there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginSource {
    /// Neither the device nor the address is known to the account.
    Stranger(AddressPrefix),
    /// A device from which somebody has logged in to the account before, whatever its address is now.
    KnownDevice(Device, AddressPrefix),
    /// An address from which the account has a session.
    KnownPrefix(AddressPrefix),
}

impl LoginSource {
    /// The client's address prefix.
    #[must_use]
    pub const fn prefix(&self) -> AddressPrefix {
        match self {
            Self::Stranger(prefix) | Self::KnownDevice(_, prefix) | Self::KnownPrefix(prefix) => *prefix,
        }
    }
}

/// How far a caller is trusted: decides which line of the hashing queue the caller waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Nothing is known about the caller.
    Stranger,
    /// The caller comes from a device or an address that the account has been used from.
    Known,
    /// The caller holds a session already, or can run commands on this machine.
    LoggedIn,
}

/// The caller who waits for a hash.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The caller's address prefix.
    pub prefix: AddressPrefix,
    /// The account whose password is hashed.
    pub account: AccountKey,
    /// How far the caller is trusted.
    pub trust: Trust,
    /// Whether a thread has begun a hash for this caller.
    begun: Arc<AtomicBool>,
}

impl Caller {
    /// A caller for whom no hash was begun yet.
    #[must_use]
    pub fn new(account: AccountKey, prefix: AddressPrefix, trust: Trust) -> Self {
        Self { prefix, account, trust, begun: Arc::default() }
    }

    /// An operator, who runs commands on this machine: at an address that no client has.
    #[must_use]
    pub fn operator(account: AccountKey) -> Self {
        Self::new(account, AddressPrefix::V4(Ipv4Addr::UNSPECIFIED), Trust::LoggedIn)
    }

    /// Notes that a hash is begun: from now on it counts against the limits, whether or not the caller waits for it.
    pub fn begin(&self) {
        self.begun.store(true, Relaxed);
    }

    /// Whether a hash was begun for this caller.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.begun.load(Relaxed)
    }
}

//! Who asks for a password to be hashed, as far as sharing the threads and counting goes.

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

/// An account as limits know it: a hash of the name that was typed, whether it exists or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AccountKey([u8; 16]);

impl AccountKey {
    /// The key of a name in the form it is looked up in (LIM-7).
    ///
    /// # Panics
    /// Never: a digest is longer than a key.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let digest = Sha256::digest(name.trim().to_lowercase());
        Self(*digest.first_chunk().expect("a digest has 32 bytes"))
    }

    /// The key of somebody signed in: one that no name typed by a stranger has.
    #[must_use]
    pub const fn of_user(user: UserId) -> Self {
        Self(*user.as_bytes())
    }
}

/// Where a sign-in comes from, as the account sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A place the account is not known to use.
    Stranger(AddressPrefix),
    /// A device somebody signed in to the account from, wherever it is now.
    KnownDevice(Device, AddressPrefix),
    /// An address the account has a session from.
    KnownPrefix(AddressPrefix),
}

impl Origin {
    /// Where its packets come from.
    #[must_use]
    pub const fn prefix(&self) -> AddressPrefix {
        match self {
            Self::Stranger(prefix) | Self::KnownDevice(_, prefix) | Self::KnownPrefix(prefix) => *prefix,
        }
    }
}

/// How well a caller is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Anybody.
    Stranger,
    /// From a device or an address the account is known to use.
    Known,
    /// Who holds a session already, or can run commands on this machine.
    SignedIn,
}

/// Who waits for a hash.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Where they are.
    pub prefix: AddressPrefix,
    /// The account it is about.
    pub account: AccountKey,
    /// How well they are known.
    pub standing: Standing,
    /// Whether a hash was begun for them.
    begun: Arc<AtomicBool>,
}

impl Caller {
    /// Somebody for whom nothing was hashed yet.
    #[must_use]
    pub fn new(account: AccountKey, prefix: AddressPrefix, standing: Standing) -> Self {
        Self { prefix, account, standing, begun: Arc::default() }
    }

    /// Whoever can run commands on this machine: at an address no client has.
    #[must_use]
    pub fn operator(account: AccountKey) -> Self {
        Self::new(account, AddressPrefix::V4(Ipv4Addr::UNSPECIFIED), Standing::SignedIn)
    }

    /// From now on the work counts, whatever becomes of it.
    pub fn begin(&self) {
        self.begun.store(true, Relaxed);
    }

    /// Whether a hash was begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.begun.load(Relaxed)
    }
}

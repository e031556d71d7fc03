//! The use cases: what Doorward does, in its own words. They know no HTTP (I2) and no disk.

pub mod access_tokens;
pub mod accounts;
pub mod caller;
pub mod csrf;
pub mod devices;
mod error;
pub mod events;
pub mod hashing;
mod mac;
pub mod passwords;
pub mod refresh_tokens;
pub mod revocation;
pub mod sessions;
pub mod throttle;

pub use error::Error;

//! The use cases: what Doorward does, in its own words. They know no HTTP (I2) and no disk.

pub mod access_tokens;
pub mod accounts;
mod caller;
mod csrf;
pub mod denylist;
mod devices;
mod error;
pub mod events;
mod hashing;
mod keys;
mod mac;
pub mod passwords;
mod refresh_tokens;
mod services;
pub mod sessions;
pub mod throttle;

pub use error::Error;
pub use services::Services;

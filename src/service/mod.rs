//! The use cases. Nothing here depends on HTTP (I2) or reads the disk.

pub mod access_tokens;
pub mod accounts;
mod caller;
mod csrf;
pub mod denylist;
mod devices;
mod error;
pub mod events;
mod hashing;
pub mod key_rotation;
mod keys;
mod mac;
pub mod passwords;
mod refresh_tokens;
mod services;
pub mod sessions;
pub mod throttle;

pub use error::Error;
pub use services::Services;

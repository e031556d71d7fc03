//! The use cases. Nothing here depends on HTTP (I2) or reads the disk.

pub mod access_tokens;
pub mod accounts;
pub mod api_keys;
pub mod audit;
pub mod bearers;
mod caller;
mod csrf;
pub mod denylist;
mod devices;
mod error;
pub mod events;
pub mod feed;
pub mod gate;
mod hashing;
pub mod key_rotation;
mod keys;
mod mac;
pub mod passwords;
pub mod principal;
mod refresh_tokens;
pub mod revocations;
mod services;
pub mod sessions;
pub mod throttle;

pub use error::Error;
pub use services::Services;

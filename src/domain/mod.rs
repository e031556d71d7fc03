//! The words of the trade as types: what is parsed once and then trusted.
//!
//! Nothing here does I/O and nothing here knows another module of ours: ids, times and
//! randomness come in as arguments.

mod address;
mod clock;
mod email;
mod id;
mod password;
mod role;
mod session;
mod standings;
mod user;

pub use address::AddressPrefix;
pub use clock::{Clock, Timestamp};
pub use email::{Email, InvalidEmail};
pub use id::{InviteId, SessionId, TokenId, UserId};
pub use password::{Password, PasswordTooLong};
pub use role::{InvalidName, Permission, Role, Roles};
pub use session::{Client, Session, Transport};
pub use standings::{Everybody, Shard, Standings};
pub use user::{Invite, Standing, User};

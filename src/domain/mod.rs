//! The words of the trade as types: what is parsed once and then trusted.
//!
//! Nothing here knows another module of ours, and nothing here does I/O: the time and random bytes
//! are all that is asked of the system.

mod address;
mod clock;
mod email;
mod id;
mod password;
pub mod random;
mod role;
mod session;
mod standings;
mod user;

pub use address::AddressPrefix;
pub use clock::{Clock, SteadyClock, Timestamp};
pub use email::{Email, InvalidEmail};
pub use id::{InviteId, SessionId, TokenId, UserId};
pub use password::{Password, PasswordTooLong};
pub use role::{InvalidName, Permission, Role, RolePolicy, Roles};
pub use session::{Client, Session, Transport};
pub use standings::{Everybody, Shard, Standings};
pub use user::{Invite, Standing, User};

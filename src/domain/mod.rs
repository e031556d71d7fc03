//! The domain types: values that are parsed once and then trusted.
//!
//! Nothing here depends on another module of this crate, and nothing here does I/O: all it takes from the system is
//! the time and random bytes.

mod address;
mod api_key;
mod clock;
mod email;
mod event;
pub mod gate;
mod id;
mod language;
mod password;
mod policy;
pub mod random;
mod role;
mod session;
mod token;
mod trail;
mod user;

pub use address::AddressPrefix;
pub use api_key::{ApiKey, MadeIn, ReplacedSecret};
pub use clock::{Clock, SteadyClock, Timestamp};
pub use email::{Email, InvalidEmail, InvalidServiceName, ServiceName};
pub use event::{By, Event, Foreign, Kind, UnknownKind};
pub use id::{ApiKeyId, InviteId, SessionId, TokenId, UserId};
pub use language::{Language, UnknownLanguage};
pub use password::{Password, PasswordTooLong};
pub use policy::{Algorithm, OnReuse};
pub use role::{InvalidName, Permission, Role, RolePolicy, Roles};
pub use session::{AuthMethod, Client, Session, Transport};
pub use token::TokenIds;
pub use trail::{EventId, EventQuery, InvalidEventId, Recorded};
pub use user::{Invite, User, UserKind};

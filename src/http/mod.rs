//! The API over HTTP: the checks before any route, the routes, and the headers of every answer. No other module
//! names warp.

// It comes first, because the others use its macros.
#[macro_use]
mod table;

mod api_keys;
mod apps;
mod assets;
mod audit;
mod auth;
mod body;
pub mod catalogue;
mod code;
mod context;
mod cookies;
mod cors;
mod credentials;
pub mod error;
mod form;
mod gate;
mod guard;
mod head;
mod headers;
mod health;
mod invites;
pub mod language;
mod measured;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "metrics")]
mod metrics_listener;
mod oauth;
mod oauth_error;
mod origin;
mod pipeline;
mod reply;
mod revocations;
pub mod routes;
mod sessions;
mod state;
#[cfg(test)]
mod tests;
mod tokens;
mod users;
mod verb;
mod verify;
mod well_known;

pub use context::Connection;
pub use head::{AmbiguousLength, Fragment};
#[cfg(feature = "metrics")]
pub use metrics_listener::service as metrics_service;
pub use origin::PublicOrigin;
pub use pipeline::{Service, service};
pub use state::AppState;
pub use warp::reply::Response;

//! `doorward session …`

use super::{
    control::Request,
    output::{print, table, text},
};
use crate::failure::Failure;
use clap::Subcommand;
use serde_json::Value;

#[derive(Subcommand)]
pub enum Command {
    /// List a user's sessions
    List {
        /// E-mail address or id
        user: String,
    },
    /// End a session, or all of a user's
    Revoke {
        /// The session's id
        #[arg(required_unless_present = "user", conflicts_with = "user")]
        session: Option<String>,
        /// All sessions of this user: e-mail address or id
        #[arg(long)]
        user: Option<String>,
    },
}

pub fn run(command: Command, json: bool, send: impl Fn(Request) -> Result<Value, Failure>) -> Result<(), Failure> {
    match command {
        Command::List { user } => print(json, &send(Request::SessionList { user })?, |sessions| {
            let rows = sessions
                .as_array()
                .into_iter()
                .flatten()
                .map(|session| ["id", "lastSeenAt", "expiresAt", "ip", "userAgent"].map(|member| text(session, member).into_owned()));
            table(["id", "last seen", "expires", "address", "client"], rows)
        }),
        Command::Revoke { session, user } => print(json, &send(Request::SessionRevoke { session, user })?, |_| "revoked".into()),
    }
}

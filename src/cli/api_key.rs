//! `doorward api-key …` and `doorward service …`

use super::{
    control::Request,
    output::{print, table, text},
};
use crate::failure::Failure;
use clap::Subcommand;
use serde_json::Value;

#[derive(Subcommand)]
pub enum Command {
    /// Make a key; it is shown this once
    Add {
        /// Whom it acts for: e-mail address, id, or the name of a service account
        user: String,
        /// What you call it
        #[arg(long)]
        name: String,
        /// What it may do, of what its user may: articles:read,articles:write
        #[arg(long, value_delimiter = ',', required_unless_present = "app")]
        permission: Vec<String>,
        /// The apps behind the gate that it opens: grafana,wiki
        #[arg(long, value_delimiter = ',')]
        app: Vec<String>,
        /// How long it is good: 1h to 365d, or never if `keys.allow_endless` is set
        #[arg(long, default_value = "90d")]
        expires: String,
    },
    /// List keys
    List {
        /// Only those of this user: e-mail address, id, or the name of a service account
        user: Option<String>,
    },
    /// Give a key another secret, shown this once; what it may do and when it ends stay
    Rotate {
        /// The key's id
        key: String,
        /// How long the former secret stays good beside it, at most 24h
        #[arg(long, default_value = "0s")]
        overlap: String,
    },
    /// Revoke a key
    Revoke {
        /// The key's id
        key: String,
    },
}

#[derive(Subcommand)]
pub enum ServiceCommand {
    /// Add a service account: it cannot sign in, and acts by its API keys alone
    Add {
        /// Its name: lower-case letters, digits, - and _
        name: String,
        /// Role; as `registration.default_role` says if left out
        #[arg(long)]
        role: Option<String>,
    },
}

pub fn run(command: Command, json: bool, send: impl Fn(Request) -> Result<Value, Failure>) -> Result<(), Failure> {
    match command {
        Command::Add { user, name, permission, app, expires } => {
            let request = Request::ApiKeyAdd { user, name, permissions: permission, apps: app, expires: Some(expires) };
            print(json, &send(request)?, made)
        }
        Command::Rotate { key, overlap } => print(json, &send(Request::ApiKeyRotate { key, overlap })?, made),
        Command::List { user } => print(json, &send(Request::ApiKeyList { user })?, listed),
        Command::Revoke { key } => print(json, &send(Request::ApiKeyRevoke { key })?, |_| "revoked".into()),
    }
}

pub fn run_service(command: ServiceCommand, json: bool, send: impl Fn(Request) -> Result<Value, Failure>) -> Result<(), Failure> {
    let ServiceCommand::Add { name, role } = command;
    print(json, &send(Request::ServiceAdd { name, role })?, |user| {
        format!("{} ({}), with the role {}", text(user, "email"), text(user, "id"), text(user, "role"))
    })
}

fn made(answer: &Value) -> String {
    let until = match text(&answer["key"], "expiresAt") {
        at if at.is_empty() => "good until it is revoked".to_owned(),
        at => format!("good until {at}"),
    };
    format!("{}\nshown this once; {until}; its id is {}", text(answer, "secret"), text(&answer["key"], "id"))
}

fn listed(keys: &Value) -> String {
    let rows = keys.as_array().into_iter().flatten().map(|key| {
        let listed = |member: &str| key[member].as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join(",");
        let mut row = ["id", "owner", "name", "start", "", "", "expiresAt", "lastUsedAt"].map(|member| text(key, member).into_owned());
        (row[4], row[5]) = (listed("permissions"), listed("apps"));
        if row[6].is_empty() {
            "never".clone_into(&mut row[6]);
        }
        row
    });
    table(["id", "user", "name", "key", "permissions", "apps", "expires", "last used"], rows)
}

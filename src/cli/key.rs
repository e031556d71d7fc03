//! `doorward key …`

use super::{
    control::Request,
    output::{confirm, print, table, text},
};
use crate::{domain::Algorithm, failure::Failure};
use clap::Subcommand;
use serde_json::Value;

#[derive(Subcommand)]
pub enum Command {
    /// List the keys: what each is for, whether it is in use, and until when
    List,
    /// Replace the keys that sign access tokens; nobody is signed out, but by --all
    Rotate {
        /// Publish a key of this algorithm, for when tokens.algorithm is changed to it
        #[arg(long, conflicts_with = "emergency")]
        algorithm: Option<Algorithm>,
        /// Somebody else may have the keys: they are gone now, and so is every access token; sign-ins go on
        #[arg(long)]
        emergency: bool,
        /// Replace the keys of every purpose: every sign-in, API key, invitation and link ends
        #[arg(long, requires = "emergency")]
        all: bool,
        /// Do not ask
        #[arg(long, requires = "emergency")]
        yes: bool,
    },
}

pub fn run(command: &Command, json: bool, send: impl Fn(Request) -> Result<Value, Failure>) -> Result<(), Failure> {
    let request = match *command {
        Command::List => return print(json, &send(Request::KeyList)?, listed),
        Command::Rotate { algorithm, emergency: false, .. } => Request::KeyRotate { algorithm },
        Command::Rotate { all, yes, .. } => {
            if !yes {
                confirm(if all {
                    "Replace all keys? Everybody is signed out, and every API key, invitation and link is void."
                } else {
                    "Replace the keys of access tokens? Services must fetch the public keys anew; sign-ins go on."
                })?;
            }
            Request::KeyReplace { all }
        }
    };
    print(json, &send(request)?, |answer| {
        let changes = answer["changes"].as_array().into_iter().flatten();
        let lines: Vec<_> = changes.map(|change| said(change, &answer["keys"])).collect();
        lines.join("\n")
    })
}

/// What happened to a key, in a sentence.
fn said(change: &Value, keys: &Value) -> String {
    let id = text(change, "key");
    let key = keys.as_array().into_iter().flatten().find(|key| key["id"] == change["key"]).unwrap_or(&Value::Null);
    let (purpose, algorithm) = (text(key, "purpose"), text(key, "algorithm"));
    match change["change"].as_str() {
        Some("published") if key["until"].is_null() => format!("{id} is published, and signs once tokens.algorithm = \"{algorithm}\""),
        Some("published") => format!("{id} ({algorithm}) is published, and signs from {}", text(key, "until")),
        Some("inUse") => format!("{id} ({purpose}, {algorithm}) is in use"),
        _ => format!("{id} is gone"),
    }
}

fn listed(keys: &Value) -> String {
    let rows = keys.as_array().into_iter().flatten().map(|key| {
        let mut row = ["purpose", "algorithm", "state", "createdAt", "until", "id"].map(|member| text(key, member).into_owned());
        row[4] = match (&*row[2], &*row[4]) {
            ("next", "") => format!("in use once tokens.algorithm = \"{}\"", row[1]),
            ("next", until) => format!("in use from {until}"),
            ("retired", until) if !until.is_empty() => format!("removed at {until}"),
            _ => String::new(),
        };
        row
    });
    table(["purpose", "algorithm", "state", "created", "", "id"], rows)
}

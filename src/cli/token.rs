//! `doorward token inspect`

use super::output::print;
use crate::{domain::Timestamp, failure::Failure, service::access_tokens::inspect};
use clap::Subcommand;
use serde_json::{Value, json};
use std::io::{IsTerminal, Read};

#[derive(Subcommand)]
pub enum Command {
    /// Show what an access token says; it is asked for, or read from stdin. Verifies nothing
    Inspect,
}

const WARNING: &str = "decoded only: signature, expiry and revocation were NOT verified";

pub fn run(Command::Inspect: &Command, json: bool) -> Result<(), Failure> {
    let mut token = String::new();
    if std::io::stdin().is_terminal() {
        token = rpassword::prompt_password("Token: ").map_err(|error| Failure::new(format!("terminal: {error}")))?;
    } else {
        std::io::stdin().take(64 * 1024).read_to_string(&mut token).map_err(|error| Failure::new(format!("stdin: {error}")))?;
    }
    let (header, claims) = inspect(&token).map_err(|why| Failure::new(format!("this is no access token: {why}")))?;
    let answer = json!({ "warning": WARNING, "header": header, "claims": claims });
    print(json, &answer, |answer| {
        let mut lines = vec![WARNING.to_owned()];
        for (part, members) in [("header", &answer["header"]), ("claims", &answer["claims"])] {
            lines.push(part.to_owned());
            lines.extend(members.as_object().into_iter().flatten().map(|(name, value)| format!("  {name:<12}{}", shown(name, value))));
        }
        lines.join("\n")
    })
}

/// Formats a claim for people: times are shown as dates too.
fn shown(name: &str, value: &Value) -> String {
    match (name, value) {
        ("iat" | "exp" | "nbf", Value::Number(seconds)) => match seconds.as_u64() {
            Some(seconds) => format!("{seconds}  ({})", Timestamp::from_secs(seconds)),
            None => value.to_string(),
        },
        (_, Value::String(text)) => text.clone(),
        _ => value.to_string(),
    }
}

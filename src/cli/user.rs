//! `doorward user …`

use super::{
    control::{PlainPassword, Request},
    output::{confirm, print, table, text},
};
use crate::{config::trim_secret, failure::Failure};
use clap::Subcommand;
use serde_json::Value;
use std::io::{BufRead, IsTerminal, Write};

#[derive(Subcommand)]
pub enum Command {
    /// Add a user; the password is asked for, or read from stdin
    Add {
        /// E-mail address
        email: String,
        /// Role; as `registration.default_role` says if left out
        #[arg(long)]
        role: Option<String>,
    },
    /// List users
    List {
        /// Only those whose address begins so
        #[arg(long, default_value = "")]
        query: String,
    },
    /// Show one user, by address or id
    Show {
        /// E-mail address or id
        user: String,
    },
    /// Give a user another role
    Role {
        /// E-mail address or id
        user: String,
        /// The role
        role: String,
    },
    /// Set a user's password and end their sessions; it is asked for, or read from stdin
    Password {
        /// E-mail address or id
        user: String,
    },
    /// Keep a user out and end their sessions
    Disable {
        /// E-mail address or id
        user: String,
    },
    /// Let a user in again
    Enable {
        /// E-mail address or id
        user: String,
    },
    /// Vouch for a user's address: only then does it leave Doorward
    Verify {
        /// E-mail address or id
        user: String,
        /// Take it back
        #[arg(long)]
        no: bool,
    },
    /// Forget the failed sign-ins of an account, so that its owner can try again from anywhere
    Unlock {
        /// E-mail address or id
        user: String,
    },
    /// Delete a user with everything that is theirs
    Delete {
        /// E-mail address or id
        user: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

pub fn run(command: Command, json: bool, send: impl Fn(Request) -> Result<Value, Failure>) -> Result<(), Failure> {
    let request = match command {
        Command::Add { email, role } => Request::UserAdd { email, role, password: password()? },
        Command::List { query } => return print(json, &send(Request::UserList { query })?, user_table),
        Command::Show { user } => Request::UserShow { user },
        Command::Role { user, role } => Request::UserRole { user, role },
        Command::Password { user } => Request::UserPassword { user, password: password()? },
        Command::Disable { user } => Request::UserDisabled { user, disabled: true },
        Command::Enable { user } => Request::UserDisabled { user, disabled: false },
        Command::Verify { user, no } => Request::UserVerified { user, verified: !no },
        Command::Unlock { user } => {
            let forgotten = |user: &Value| format!("forgot the failed sign-ins of {}", text(user, "email"));
            return print(json, &send(Request::UserUnlock { user })?, forgotten);
        }
        Command::Delete { user, yes } => {
            if !yes {
                confirm(&format!("Delete {user} for good, with all their sessions?"))?;
            }
            return print(json, &send(Request::UserDelete { user })?, |user| format!("deleted {}", text(user, "email")));
        }
    };
    print(json, &send(request)?, |user| {
        let members = [
            ("id", "id"),
            ("email", "email"),
            ("verified", "emailVerified"),
            ("role", "role"),
            ("disabled", "disabled"),
            ("created", "createdAt"),
        ];
        members.map(|(name, member)| format!("{name:<9}{}", text(user, member))).join("\n")
    })
}

/// Formats users as a table, one a line.
fn user_table(users: &Value) -> String {
    let rows = users.as_array().into_iter().flatten().map(|user| {
        let state = if user["disabled"] == true { "disabled" } else { "enabled" };
        [
            text(user, "id").into(),
            text(user, "email").into(),
            if user["emailVerified"] == true { "yes" } else { "no" }.into(),
            text(user, "role").into(),
            state.into(),
            text(user, "createdAt").into(),
        ]
    });
    table(["id", "email", "verified", "role", "state", "created"], rows)
}

/// Asks for a password twice, without echo, or reads the first line of stdin. Never from argv, where others could see it.
fn password() -> Result<PlainPassword, Failure> {
    if !std::io::stdin().is_terminal() {
        let mut line = zeroize::Zeroizing::new(Vec::new());
        std::io::stdin().lock().read_until(b'\n', &mut line).map_err(|error| Failure::new(format!("stdin: {error}")))?;
        let (text, oddity) = trim_secret(&line);
        if let Some(oddity) = oddity {
            // A warning that cannot be written must not fail the command.
            let _ = writeln!(std::io::stderr(), "doorward: the password {oddity}: is that meant?");
        }
        if text.is_empty() {
            return Err(Failure::new("stdin: no password: write one to it, or run this at a terminal to be asked"));
        }
        let text = str::from_utf8(&text).map_err(|_| Failure::new("stdin: the password is no UTF-8 text"))?;
        return Ok(PlainPassword::from(text.to_owned()));
    }
    let ask =
        |prompt| rpassword::prompt_password(prompt).map(PlainPassword::from).map_err(|error| Failure::new(format!("terminal: {error}")));
    let (first, second) = (ask("Password: ")?, ask("Again: ")?);
    if first == second { Ok(first) } else { Err(Failure::new("the two passwords differ; nothing was changed")) }
}

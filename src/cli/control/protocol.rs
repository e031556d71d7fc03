//! The messages on the control socket.

use crate::{
    domain::{Algorithm, Email, Password, Role},
    service::{self, audit::QueryWords},
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

/// A command that needs the data directory.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    UserAdd {
        email: String,
        role: Option<String>,
        password: PlainPassword,
    },
    UserList {
        query: String,
    },
    UserShow {
        user: String,
    },
    UserRole {
        user: String,
        role: String,
    },
    UserPassword {
        user: String,
        password: PlainPassword,
    },
    UserDisabled {
        user: String,
        disabled: bool,
    },
    UserVerified {
        user: String,
        verified: bool,
    },
    UserUnlock {
        user: String,
    },
    UserDelete {
        user: String,
    },
    SessionList {
        user: String,
    },
    SessionRevoke {
        session: Option<String>,
        user: Option<String>,
    },
    ServiceAdd {
        name: String,
        role: Option<String>,
    },
    ApiKeyAdd {
        user: String,
        name: String,
        permissions: Vec<String>,
        #[serde(default)]
        apps: Vec<String>,
        expires: Option<String>,
    },
    ApiKeyList {
        user: Option<String>,
    },
    ApiKeyRotate {
        key: String,
        overlap: String,
    },
    ApiKeyRevoke {
        key: String,
    },
    KeyList,
    KeyRotate {
        algorithm: Option<Algorithm>,
    },
    KeyReplace {
        all: bool,
    },
    Audit {
        words: QueryWords,
        before: Option<String>,
        after: Option<String>,
        limit: usize,
    },
    Check,
    /// Answered with a stream, and not with a line.
    Backup,
    SetupLink,
    Clock {
        seconds: i64,
        slept: bool,
    },
}

/// A password on its way from the terminal to the server, over a socket that only its owner can open.
#[derive(Clone, Deserialize)]
pub struct PlainPassword(SecretString);

impl PlainPassword {
    /// Validates the text as a password.
    pub fn password(&self) -> Result<Password, CommandError> {
        Password::new(&self.0).map_err(|error| CommandError(format!("the password {error}")))
    }
}

impl From<String> for PlainPassword {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl PartialEq for PlainPassword {
    fn eq(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }
}

impl Serialize for PlainPassword {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.0.expose_secret())
    }
}

/// Why a command failed.
#[derive(Debug, Serialize, Deserialize)]
pub struct CommandError(pub String);

impl From<service::Error> for CommandError {
    fn from(error: service::Error) -> Self {
        match error {
            service::Error::InvalidRole { allowed } => {
                let names: Vec<_> = allowed.iter().map(Role::as_str).collect();
                Self(format!("no such role; configured are: {}", names.join(", ")))
            }
            service::Error::NotFound => Self("there is no such user".into()),
            service::Error::EmailTaken => Self("there is a user with that address already".into()),
            service::Error::LastAdmin => Self("that would leave nobody to administer: make another admin first".into()),
            other => Self(other.to_string()),
        }
    }
}

/// An address, or why it is none.
pub fn parse_email(text: &str) -> Result<Email, CommandError> {
    text.parse().map_err(|error| CommandError(format!("the address {error}")))
}

/// A role by its name, or why that is none.
pub fn role_named(name: &str) -> Result<Role, CommandError> {
    name.parse().map_err(|error| CommandError(format!("{name:?}: {error}")))
}

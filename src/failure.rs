//! Why the program ends without doing what it was asked, for the person at the terminal.

use std::fmt;

/// A failure to start or to carry out a command: what, where, how to mend it, and the exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// The command could not be carried out; exit 1.
    pub fn new(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into() }
    }

    /// What is on disk does not fit together; exit 65 (`EX_DATAERR`).
    pub fn data(message: impl Into<String>) -> Self {
        Self { code: 65, message: message.into() }
    }

    /// The disk failed or holds damage; exit 74 (`EX_IOERR`).
    pub fn io(message: impl Into<String>) -> Self {
        Self { code: 74, message: message.into() }
    }

    /// Another process is in the way for now; exit 75 (`EX_TEMPFAIL`).
    pub fn busy(message: impl Into<String>) -> Self {
        Self { code: 75, message: message.into() }
    }

    /// A setting is wrong; exit 78 (`EX_CONFIG`).
    pub fn config(message: impl Into<String>) -> Self {
        Self { code: 78, message: message.into() }
    }

    /// With the code of another failure and more to say.
    pub fn with_code(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The exit code.
    #[must_use]
    pub const fn code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

//! Why a command failed: the message for the person at the terminal, and the exit code.

use std::fmt;

/// A command failed. The message says what failed, where, and how to fix it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// Any other failure of a command; exit 1.
    pub fn new(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into() }
    }

    /// The data on disk is inconsistent; exit 65 (`EX_DATAERR`).
    pub fn data(message: impl Into<String>) -> Self {
        Self { code: 65, message: message.into() }
    }

    /// The disk failed or its data is damaged; exit 74 (`EX_IOERR`).
    pub fn io(message: impl Into<String>) -> Self {
        Self { code: 74, message: message.into() }
    }

    /// Another process holds the resource at the moment; exit 75 (`EX_TEMPFAIL`).
    pub fn busy(message: impl Into<String>) -> Self {
        Self { code: 75, message: message.into() }
    }

    /// A setting is wrong; exit 78 (`EX_CONFIG`).
    pub fn config(message: impl Into<String>) -> Self {
        Self { code: 78, message: message.into() }
    }

    /// A failure with the exit code of another one and a longer message.
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

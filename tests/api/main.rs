//! The API from outside: the real binary, by the contract alone.

#[path = "../support/mod.rs"]
mod support;

mod walk;

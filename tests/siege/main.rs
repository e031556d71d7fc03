//! Attacks on the real binary.

#[path = "../support/mod.rs"]
mod support;

mod limits;
mod overload;
mod races;
mod timing;
mod wire;

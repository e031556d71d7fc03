//! Doorward
#![allow(missing_docs)]
pub mod config;
pub mod domain;
pub mod failure;
pub mod keyring;
pub mod service;
pub mod store;

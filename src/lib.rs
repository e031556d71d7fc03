//! Doorward
#![allow(missing_docs)]
pub mod app;
pub mod cli;
pub mod config;
pub mod data;
pub mod domain;
pub mod failure;
pub mod http;
pub mod keyring;
pub mod server;
pub mod service;
pub mod store;
pub mod telemetry;

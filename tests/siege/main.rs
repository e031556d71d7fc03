//! The server under siege: hostile clients, more work than it can do, failing disks, damaged files.

#[path = "../support/mod.rs"]
mod support;

mod age;
mod damage;
mod disk;
mod fairness;
mod hostile;
mod limits;
mod overload;
mod races;
mod secrets;
mod timing;
mod trace;
mod vectors;
mod wire;

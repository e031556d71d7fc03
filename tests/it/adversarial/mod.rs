//! Adversarial tests: hostile clients, more work than the server can do, failing disks, damaged files.

mod age;
mod crowds;
mod damage;
pub mod disk;
mod fairness;
mod hostile;
mod limits;
mod overload;
mod races;
mod secrets;
mod timing;
mod trace;
mod vectors;
pub mod wire;

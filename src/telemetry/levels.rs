//! What is looked at when metrics are asked for, and not counted as it happens.

use crate::{domain::Timestamp, store::engine::Load};
use std::time::Duration;

/// How the program is doing at this moment.
#[derive(Debug)]
pub struct Levels {
    /// How many passwords wait to be hashed.
    pub hash_queue: usize,
    /// How many entries the deny list has.
    pub deny_list: usize,
    /// Whether changes can be saved.
    pub is_writable: bool,
    /// How the database is doing.
    pub load: Load,
    /// The free space below which only revocations are saved.
    pub min_free_bytes: u64,
    /// When the last good backup was made.
    pub last_backup: Option<Timestamp>,
    /// How often one is made by the clock.
    pub backup_every: Option<Duration>,
}

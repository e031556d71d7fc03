//! Backups: made beside a running server or a stopped one, verified, restored, made by the clock, and before a migration.

mod migration;

use std::{fs, path::Path};

/// The lines of a backup.
fn lines(path: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(path).expect("a backup");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Changes the schema that a stopped server's database says it has.
fn set_schema(data_dir: &Path, schema: u8) {
    let db = sled::open(data_dir.join("db")).expect("opens");
    let tree = db.open_tree("doorward").expect("opens");
    let key = b"#";
    let row = tree.get(key).expect("readable").expect("the instance");
    // The row: record version 1, the schema as a varint, and a checksum over key and both.
    let mut bytes = row[..row.len() - 4].to_vec();
    bytes[1] = schema;
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(key);
    checksum.update(&bytes);
    bytes.extend(checksum.finalize().to_le_bytes());
    tree.insert(key, bytes).expect("written");
    db.flush().expect("flushed");
}

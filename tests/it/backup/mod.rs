//! Backups: made beside a running server or a stopped one, verified, restored, made by the clock, and before a migration.

mod encrypted;
mod making;
mod migration;
mod restoring;

use crate::support::Server;
use std::{
    fs,
    path::{Path, PathBuf},
};

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

/// A backup of a server, made in this place.
fn backed_up(server: &Server) -> PathBuf {
    let file = server.dir.path().join("backup.jsonl");
    server.json(&["backup", &text(&file)], "");
    file
}

fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}

/// What a command that must fail says, with its exit code.
fn refused(server: &Server, arguments: &[&str], stdin: &str) -> (i32, String) {
    let output = server.command(arguments, stdin);
    (output.status.code().expect("a code"), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The names in a directory, sorted.
fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    names
}

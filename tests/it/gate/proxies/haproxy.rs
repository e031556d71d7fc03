//! `HAProxy`: the printed file is all of it.

use std::path::Path;

pub fn arguments(dir: &Path) -> Vec<String> {
    vec!["-db".into(), "-f".into(), format!("{}/haproxy.cfg", dir.display())]
}

pub fn check(mut arguments: Vec<String>) -> Vec<String> {
    arguments.push("-c".into());
    arguments
}

//! Envoy: the printed file is all of it.

use std::path::Path;

pub fn arguments(dir: &Path) -> Vec<String> {
    let file = format!("{}/envoy.yaml", dir.display());
    ["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning", "-c", &file].map(str::to_owned).into()
}

pub fn check(mut arguments: Vec<String>) -> Vec<String> {
    arguments.extend(["--mode", "validate"].map(str::to_owned));
    arguments
}

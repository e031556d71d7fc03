//! Caddy: the printed file is a site. Its own port for orders is off.

use std::{fs, path::Path};

pub fn arguments(dir: &Path) -> Vec<String> {
    let main = dir.join("main");
    fs::write(&main, format!("{{\n\tadmin off\n}}\nimport {}/Caddyfile\n", dir.display())).expect("written");
    ["run", "--adapter", "caddyfile", "--config"].map(str::to_owned).into_iter().chain([main.display().to_string()]).collect()
}

pub fn check(mut arguments: Vec<String>) -> Vec<String> {
    arguments[0] = "validate".into();
    arguments
}

//! Traefik: the printed file is one of its file provider's, and says how Traefik's own has to be.

use std::{fs, net::SocketAddr, path::Path};

/// Takes Traefik's own file from the comment in the printed one.
pub fn arguments(dir: &Path, listen: SocketAddr) -> Vec<String> {
    let printed = fs::read_to_string(dir.join("traefik.yml")).expect("a file");
    let lines = printed.lines().skip_while(|line| *line != "#   entryPoints:").take_while(|line| line.starts_with("#   "));
    let main = lines.map(|line| &line[4..]).collect::<Vec<_>>().join("\n");
    assert!(main.contains(&format!("address: \"{listen}\"")), "{main}");
    let main = main.replace("directory: /etc/traefik/dynamic", &format!("filename: {}/traefik.yml", dir.display()));
    fs::write(dir.join("main.yml"), format!("{main}\nglobal: {{ checkNewVersion: false, sendAnonymousUsage: false }}\n")).expect("written");
    vec![format!("--configFile={}/main.yml", dir.display())]
}

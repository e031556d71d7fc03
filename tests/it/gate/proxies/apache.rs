//! Apache: the printed file is a virtual host. Its modules stand where Debian puts them.

use std::{fs, net::SocketAddr, path::Path};

const MODULES: [&str; 7] = ["mpm_event", "authz_core", "headers", "lua", "proxy", "proxy_http", "ssl"];

pub fn arguments(dir: &Path, listen: SocketAddr) -> Vec<String> {
    let at = dir.display();
    let modules: String = MODULES.map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n")).concat();
    let main = format!(
        "ServerRoot {at}\nServerName localhost\nDefaultRuntimeDir {at}\nPidFile {at}/pid\nErrorLog /dev/stderr\nUser www-data\nGroup www-data\n{modules}\
         Listen {listen}\nInclude {at}/apache.conf\n"
    );
    fs::write(dir.join("main.conf"), main).expect("written");
    // One process, so that none is left when it is killed.
    vec!["-X".into(), "-f".into(), format!("{at}/main.conf")]
}

pub fn check(mut arguments: Vec<String>) -> Vec<String> {
    arguments[0] = "-t".into();
    arguments
}

//! nginx: the printed file belongs into an `http` block.

use std::{fs, path::Path};

pub fn arguments(dir: &Path) -> Vec<String> {
    let at = dir.display();
    let own: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|what| format!("{what}_temp_path {at}/{what};\n")).concat();
    let main = format!(
        "daemon off;\nmaster_process off;\npid {at}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{own}include {at}/nginx.conf;\n}}\n"
    );
    fs::write(dir.join("main.conf"), main).expect("written");
    vec!["-p".into(), at.to_string(), "-c".into(), format!("{at}/main.conf")]
}

pub fn check(mut arguments: Vec<String>) -> Vec<String> {
    arguments.push("-t".into());
    arguments
}

//! The page and the client module in real Chromium, and the module alone under Node's test runner.
//! Both are formatted by Prettier and checked by TypeScript.
//! Node, npm, Chromium, nginx, Caddy and openssl have to be there; what is fetched is what `package-lock.json` names.
//! Pictures of every view are left in `tests/browser/shots/`.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser")
}

/// Fetches the driver, axe, the formatter and the compiler, unless they are there.
fn prepare() {
    let modules = directory().join("node_modules");
    if ["axe-core", "playwright-core", "prettier", "typescript"].iter().all(|name| modules.join(name).exists()) {
        return;
    }
    let status = Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(directory()).status();
    assert!(status.expect("npm is installed").success(), "npm ci failed");
}

fn passes(file: &str) {
    succeeds(Command::new("node").args(["--test", "--test-reporter=spec", file]).current_dir(directory()));
}

/// Runs a tool that npm installed, at the top of the repository.
fn tool(name: &str, args: &[&str]) {
    succeeds(Command::new(directory().join("node_modules/.bin").join(name)).args(args).current_dir(env!("CARGO_MANIFEST_DIR")));
}

fn succeeds(command: &mut Command) {
    // One browser at a time: eight tabs are enough to share a machine with.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    prepare();
    let output = command.env("DOORWARD_BIN", env!("CARGO_BIN_EXE_doorward")).output().expect("node is installed");
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_page_and_its_tests_are_formatted() {
    tool(
        "prettier",
        &["--check", "--ignore-unknown", "--no-error-on-unmatched-pattern", "assets/web", "tests/browser", "examples", "!examples/gate"],
    );
}

#[test]
fn scripts_fit_their_types_and_the_module_what_is_declared_of_it() {
    tool("tsc", &["--project", "tests/browser"]);
}

#[test]
fn the_module_keeps_its_word_to_a_scripted_server() {
    passes("module.test.mjs");
}

#[test]
fn every_language_has_every_text_and_the_page_has_none_of_its_own() {
    passes("catalogue.test.mjs");
}

#[test]
fn hdr_2_6_every_view_works_and_is_accessible_in_chromium() {
    passes("views.test.mjs");
}

#[test]
fn gate_5_6_13_26_from_an_app_to_the_sign_in_page_and_back_in_chromium() {
    passes("gate.test.mjs");
}

#[test]
fn gate_2_5_8_9_22_24_25_26_over_https_behind_nginx_and_caddy_in_chromium() {
    passes("https.test.mjs");
}

#[test]
fn ref_3_nobody_is_signed_out_in_chromium_who_should_not_be() {
    passes("sessions.test.mjs");
}

//! Checks the architecture's invariants (`src/lib.rs`) on the text of the source. Each rule is also tested
//! with a text that breaks it, so that a rule which cannot fail is noticed.

mod graph;

use std::{
    fs,
    path::{Path, PathBuf},
};

/// I1: where each dependency may be named.
const HOMES: [(&str, &[&str]); 12] = [
    ("sled", &["src/store/engine/sled/"]),
    ("bincode", &["src/store/record.rs"]),
    ("scrypt", &["src/service/passwords.rs"]),
    ("jsonwebtoken", &["src/service/keys.rs"]),
    ("aws_lc_rs", &["src/keyring/pair.rs", "src/server/tls/"]),
    ("governor", &["src/service/throttle/bucket.rs"]),
    ("prometheus", &["src/telemetry/metrics/"]),
    ("rust_embed", &["src/http/assets.rs"]),
    ("rustls", &["src/server/tls/"]),
    ("tokio_rustls", &["src/server/"]),
    ("x509_cert", &["src/server/tls/"]),
    ("warp", &["src/http/"]),
];

/// I8: the modules that each module may use. A module may use only those above it in this list, so there are no cycles.
const DEPENDENCIES: [(&str, &[&str]); 13] = [
    ("domain", &[]),
    ("failure", &[]),
    ("store", &["domain"]),
    ("keyring", &["domain"]),
    ("config", &["domain", "failure"]),
    ("service", &["config", "domain", "keyring", "store"]),
    ("telemetry", &["config", "domain", "service", "store"]),
    ("data", &["domain", "failure", "keyring", "store"]),
    ("app", &["config", "data", "domain", "failure", "keyring", "service", "store", "telemetry"]),
    ("jobs", &["app", "service"]),
    ("http", &["app", "config", "domain", "service", "store"]),
    ("server", &["app", "config", "domain", "failure", "http", "telemetry"]),
    ("cli", &["app", "config", "data", "domain", "failure", "http", "jobs", "server", "service", "telemetry"]),
];

/// I2: statuses of successes; every other status is chosen in `http/error.rs`.
const SUCCESSES: [&str; 6] = ["OK", "CREATED", "NO_CONTENT", "NOT_MODIFIED", "FOUND", "SEE_OTHER"];
/// The exception: `/health` answers 503 with its state and not with an error body.
const HEALTH: (&str, &str) = ("src/http/health.rs", "SERVICE_UNAVAILABLE");

/// The most lines of a file, and of a function outside tests.
const MAX_FILE_LINES: usize = 400;
const MAX_FUNCTION_LINES: usize = 40;
const NAMELESS: [&str; 5] = ["utils", "util", "helpers", "common", "manager"];

/// The rules that a source file breaks.
fn faults(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut fault = |what: String| faults.push(format!("{path}: {what}"));
    let lines = text.lines().count();
    if lines > MAX_FILE_LINES {
        fault(format!("{lines} lines, allowed: {MAX_FILE_LINES}"));
    }
    if path.trim_end_matches(".rs").split('/').any(|part| NAMELESS.contains(&part)) {
        fault("a name that says nothing".into());
    }
    if text.contains(concat!("#[", "ignore")) {
        fault("an ignored test".into());
    }
    let Some(inner) = path.strip_prefix("src/") else { return faults };
    if path.ends_with("/tests.rs") || path.contains("/tests/") {
        return faults;
    }
    let code = code(text);
    if code.contains("unsafe_code") {
        fault("an exception from unsafe_code".into());
    }
    for (name, lines) in functions(&code).into_iter().filter(|(_, lines)| *lines > MAX_FUNCTION_LINES) {
        fault(format!("the function {name} has {lines} lines, allowed: {MAX_FUNCTION_LINES}"));
    }
    if code.contains(concat!(".unwrap", "()")) {
        fault("unwrap outside tests (I6)".into());
    }
    for (name, homes) in HOMES {
        if names_crate(&code, name) && !homes.iter().any(|home| path.starts_with(home)) {
            fault(format!("names {name} (I1)"));
        }
    }
    for (at, _) in code.match_indices("StatusCode::") {
        let status = word(&code[at + "StatusCode::".len()..]);
        let chosen = SUCCESSES.contains(&status) || (path, status) == HEALTH;
        if path != "src/http/error.rs" && !(chosen && path.starts_with("src/http/")) {
            fault(format!("chooses the status {status} (I2)"));
        }
    }
    let module = word(inner);
    let allowed = DEPENDENCIES.iter().find(|(name, _)| *name == module).map(|(_, allowed)| *allowed);
    match allowed {
        Some(allowed) => {
            for known in modules_named(inner, &code) {
                if known != module && !allowed.contains(&known.as_str()) {
                    fault(format!("knows {known} (I8)"));
                }
            }
        }
        None if matches!(module, "lib" | "main") => {}
        None => fault("a module the table of dependencies does not have".into()),
    }
    // An engine lies below the store and may use only its error type.
    if path.starts_with("src/store/engine/") {
        for (at, _) in code.match_indices("crate::") {
            if !code[at..].starts_with("crate::store::Error") {
                fault("an engine that knows more than bytes (I8)".into());
            }
        }
    }
    faults
}

/// The text without comments and without the tests at its end. The contents of strings stay.
fn code(text: &str) -> String {
    let text = text.find("#[cfg(test)]\nmod tests {").map_or(text, |at| &text[..at]);
    text.lines().map(|line| if line.trim_start().starts_with("//") { "" } else { line }).collect::<Vec<_>>().join("\n")
}

/// The functions of a text with their numbers of lines. rustfmt puts the closing brace in the column of its `fn`.
fn functions(code: &str) -> Vec<(&str, usize)> {
    let lines: Vec<_> = code.lines().collect();
    let mut functions = Vec::new();
    for (begin, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let Some(name) = line.trim_start().split("fn ").nth(1).filter(|_| is_function(line)) else { continue };
        let close = format!("{}}}", " ".repeat(indent));
        if let Some(length) = lines[begin..].iter().position(|line| *line == close) {
            functions.push((word(name), length + 1));
        }
    }
    functions
}

fn is_function(line: &str) -> bool {
    let before = line.trim_start().split("fn ").next().unwrap_or_default();
    let is_qualifier = |word: &str| matches!(word, "pub" | "const" | "async" | "pub(super)" | "pub(crate)");
    !line.trim_end().ends_with(';') && !line.trim_end().ends_with('}') && before.split_whitespace().all(is_qualifier)
}

/// The identifier at the beginning of a text.
fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// Whether a text names a crate: `name::…` or `use name`, but not `ours::name::…`.
fn names_crate(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let (before, after) = (&code[..at], &code[at + name.len()..]);
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        let of_ours = before.strip_suffix("::").is_some_and(|path| path.ends_with(is_part));
        let whole = !before.ends_with(is_part) && !after.starts_with(is_part);
        let used = before.ends_with("use ") || before.ends_with("use ::") || before.ends_with("extern crate ");
        whole && !of_ours && (after.starts_with("::") || used)
    })
}

/// The top-level modules that a file names, by `crate::` or through `super::`.
fn modules_named(inner: &str, code: &str) -> Vec<String> {
    let depth = inner.trim_end_matches("/mod.rs").trim_end_matches(".rs").split('/').count();
    let climb = "super::".repeat(depth);
    let mut modules = Vec::new();
    for root in ["crate::", climb.as_str()] {
        for (at, _) in code.match_indices(root) {
            let rest = &code[at + root.len()..];
            match rest.strip_prefix('{') {
                Some(group) => modules.extend(members(group).into_iter().map(str::to_owned)),
                None => modules.push(word(rest).to_owned()),
            }
        }
    }
    modules
}

/// The first path segments of the members of a `use` group, up to its closing brace.
fn members(group: &str) -> Vec<&str> {
    let (mut depth, mut begun, mut members) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                members.push(word(group[begun..at].trim_start()));
                begun = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    members.retain(|member| !member.is_empty());
    members
}

/// All Rust files of the repository: path from the top, and text.
fn sources() -> Vec<(String, String)> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut open: Vec<PathBuf> = ["src", "tests", "benches"].iter().map(|dir| top.join(dir)).filter(|dir| dir.exists()).collect();
    let mut sources = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).expect("a directory").map(|entry| entry.expect("an entry").path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(top).expect("below the top").to_str().expect("UTF-8").to_owned();
            sources.push((name, fs::read_to_string(&path).expect("text")));
        }
    }
    sources
}

#[test]
fn i1_i2_i6_i8_the_source_keeps_the_architectures_invariants() {
    let sources = sources();
    assert!(sources.len() > 50, "only {} files found", sources.len());
    let faults: Vec<_> = sources.iter().flat_map(|(path, text)| faults(path, text)).collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn i8_no_file_reaches_itself_through_others() {
    let production = |path: &str| !path.ends_with("/tests.rs") && !path.contains("/tests/") && !path.ends_with("conformance.rs");
    let sources: graph::Sources = sources()
        .into_iter()
        .filter_map(|(path, text)| Some((path.strip_prefix("src/").filter(|path| production(path))?.to_owned(), code(&text))))
        .collect();
    let dependencies = graph::dependencies(&sources);
    assert!(dependencies.values().map(std::collections::BTreeSet::len).sum::<usize>() > 300, "hardly any arrow was read");
    assert_eq!(graph::cycles(&dependencies), Vec::new());
}

#[test]
fn i1_every_dependency_is_named_in_its_home() {
    // If a crate is no longer used, its rule checks nothing and should be removed.
    let sources = sources();
    for (name, homes) in HOMES {
        let named = sources.iter().any(|(path, text)| homes.iter().any(|home| path.starts_with(home)) && names_crate(&code(text), name));
        assert!(named, "{name} is named nowhere in {homes:?}");
    }
}

#[test]
fn i8_the_table_of_arrows_points_one_way() {
    for (at, (module, allowed)) in DEPENDENCIES.iter().enumerate() {
        for known in *allowed {
            assert!(DEPENDENCIES[..at].iter().any(|(above, _)| above == known), "{module} may know {known}, which does not stand above it");
        }
    }
}

#[test]
fn a_planted_violation_is_found() {
    let long = "\n".repeat(MAX_FILE_LINES + 1);
    let long_function =
        format!("impl X {{\n    pub async fn login(\n        &self) {{\n{}    }}\n}}\n", "        x();\n".repeat(MAX_FUNCTION_LINES - 2));
    for (path, text, fault) in [
        ("src/service/accounts.rs", "use sled::Db;", "names sled (I1)"),
        ("src/service/accounts.rs", "let db: ::sled::Db = x;", "names sled (I1)"),
        ("src/store/schema.rs", "use {std::fmt, bincode::config};", "names bincode (I1)"),
        ("src/cli/serve.rs", "fn f() -> impl warp::Filter {}", "names warp (I1)"),
        ("src/http/auth.rs", "let s = StatusCode::FORBIDDEN;", "chooses the status FORBIDDEN (I2)"),
        ("src/service/error.rs", "let s = StatusCode::OK;", "chooses the status OK (I2)"),
        ("src/store/key.rs", "let x = y.unwrap();", "unwrap outside tests (I6)"),
        ("src/domain/user.rs", "use crate::store::Store;", "knows store (I8)"),
        ("src/service/sessions.rs", "use crate::{\n    domain::{Role, User},\n    http::Web,\n};", "knows http (I8)"),
        ("src/store/mod.rs", "use crate::{service::{self, Error}, domain};", "knows service (I8)"),
        ("src/store/engine/overlay.rs", "use super::super::super::service::Error;", "knows service (I8)"),
        ("src/keyring.rs", "use super::http::Web;", "knows http (I8)"),
        ("src/store/engine/sled/mod.rs", "use crate::domain::User;", "an engine that knows more than bytes (I8)"),
        ("src/http/mod.rs", "#[allow(unsafe_code)]", "an exception from unsafe_code"),
        ("src/queue.rs", "", "a module the table of dependencies does not have"),
        ("src/http/utils.rs", "", "a name that says nothing"),
        ("tests/common/mod.rs", "", "a name that says nothing"),
        ("tests/x.rs", concat!("#[", "ignore = \"slow\"]"), "an ignored test"),
        ("tests/x.rs", &long, "401 lines, allowed: 400"),
        ("src/http/auth.rs", &long_function, "the function login has 41 lines, allowed: 40"),
        ("src/config/mod.rs", "use crate::store::OnReuse;", "knows store (I8)"),
    ] {
        assert!(faults(path, text).iter().any(|found| found.ends_with(fault)), "{path}: {text:.60}: {:?}", faults(path, text));
    }
}

#[test]
fn what_is_allowed_is_no_fault() {
    for (path, text) in [
        ("src/data.rs", "use crate::store::{Store, engine::sled::Sled};"),
        ("src/store/engine/mod.rs", "pub mod sled;"),
        ("src/store/engine/sled/writer.rs", "use super::super::{Work, overlay};\nuse crate::store::Error;\nlet db: sled::Db;"),
        ("src/http/auth.rs", "// StatusCode::FORBIDDEN is for error.rs\nlet s = StatusCode::CREATED;"),
        ("src/store/key.rs", "fn f() {}\n#[cfg(test)]\nmod tests {\n    fn g() { x.unwrap(); }\n}"),
        ("src/config/mod.rs", "pub scrypt_log_n: u8,"),
        ("src/service/sessions.rs", "use crate::{\n    config,\n    domain::{Role, User},\n    store::Store,\n};"),
    ] {
        assert_eq!(faults(path, text), Vec::<String>::new(), "{path}");
    }
}

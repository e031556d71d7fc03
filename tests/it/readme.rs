//! Checks README and `docs/security.md`: the walk runs as printed, the tables agree with the code, and the files
//! and tests that are named exist.

use crate::support;
use doorward::http::{
    error::Code,
    routes::{Access, ROUTES},
};
use serde_json::Value;
use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

const README: &str = include_str!("../../README.md");

/// Marks the end of a block in the output of the walk.
const END: &str = "-- end of block --";

/// A server with the default settings, except for the port and a longer `hash_wait`, because hashing threads have low
/// priority and the machine is busy. Dropping it kills it.
struct AsShipped(Child);

impl Drop for AsShipped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_walk_runs_as_printed() {
    let dir = tempfile::tempdir().expect("a directory");
    let (child, address) =
        support::launch(dir.path(), &["passwords.hash_wait=1m".into()], &[]).unwrap_or_else(|log| panic!("no start: {log}"));
    let _server = AsShipped(child);
    let said = walk(dir.path(), &format!("http://{address}"));
    let [register, login, me, refresh, admin, role, at_once, verify, logout] = &said[..] else {
        panic!("the README has {} blocks here, this test knows nine: {said:#?}", said.len());
    };

    let registered = json(register);
    assert_eq!(registered["user"]["email"], "ada@example.org");
    assert_eq!(registered["user"]["role"], "viewer");
    assert!(registered["csrfToken"].is_string() && registered["refreshToken"].is_null(), "{registered}");
    assert!(login.contains("NOT verified") && login.contains("at+jwt") && login.contains("viewer"), "{login}");
    assert_eq!(json(me)["email"], "ada@example.org");
    let refreshed = json(refresh);
    assert!(refreshed["accessToken"].is_string() && refreshed["error"].is_null(), "{refreshed}");
    assert!(admin.contains("admin@example.org") && admin.lines().any(|line| line.split_whitespace().eq(["role", "admin"])), "{admin}");
    assert_eq!(json(role)["user"]["role"], "editor");
    assert_eq!(json(at_once)["error"], "TOKEN_REVOKED");

    assert!(verify.starts_with("HTTP/1.1 200 OK"), "{verify}");
    assert!(verify.contains("x-auth-user: ") && verify.contains("x-auth-role: editor"), "{verify}");
    assert!(verify.contains("\"requiredRoles\":[\"admin\"]"), "{verify}");

    let answers: Vec<Value> = serde_json::Deserializer::from_str(logout).into_iter().map(|answer| answer.expect("JSON")).collect();
    let [out, me, refresh] = &answers[..] else { panic!("three answers: {logout}") };
    assert_eq!(out["message"], "Logged out successfully");
    assert_eq!(me["error"], "TOKEN_REVOKED");
    assert_eq!(refresh["error"], "TOKEN_REVOKED");
}

/// Runs the blocks of the walk in one shell, and returns the output of each.
fn walk(dir: &Path, base: &str) -> Vec<String> {
    let (_, rest) = README.split_once("\n## A walk with curl\n").expect("the walk");
    let (section, _) = rest.split_once("\n## ").expect("a section after it");
    let end = format!("\necho; echo '{END}'\n");
    let script: String = blocks(section).flat_map(|block| [block, &end]).collect();
    let binary = Path::new(env!("CARGO_BIN_EXE_doorward")).parent().expect("a directory");
    let path = std::env::var("PATH").expect("a PATH");
    let output = Command::new("bash")
        .args(["-eu", "-o", "pipefail", "-c", &script])
        .current_dir(dir)
        .env_clear()
        .env("PATH", format!("{}:{path}", binary.display()))
        .env("BASE", base)
        .stdin(Stdio::null())
        .output()
        .expect("bash");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{stdout}\n{stderr}", output.status);
    stdout.split_terminator(&format!("{END}\n")).map(|said| said.trim().to_owned()).collect()
}

/// The fenced `sh` blocks of a section.
fn blocks(section: &str) -> impl Iterator<Item = &str> {
    section.split("```sh\n").skip(1).map(|rest| rest.split_once("\n```").expect("the end of a block").0)
}

#[track_caller]
fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The rows of the table that follows a marker, without its head.
fn table(marker: &str) -> Vec<&'static str> {
    let (_, rest) = README.split_once(marker).unwrap_or_else(|| panic!("no {marker} in the README"));
    rest.lines().skip(1).take_while(|line| line.starts_with('|')).skip(2).collect()
}

/// The path of a route as documentation writes it: `:id`, and `:sid` for the session of another user.
fn readable(path: &str) -> String {
    let is_type = |segment: &str| segment.starts_with(|c: char| c.is_ascii_uppercase());
    let mut names = [":id", if path.contains("UserId/keys/") { ":kid" } else { ":sid" }].into_iter();
    let segments: Vec<_> =
        path.split('/').map(|segment| if is_type(segment) { names.next().expect("two ids at most") } else { segment }).collect();
    segments.join("/")
}

#[test]
fn the_api_table_is_the_route_table() {
    let printed = table("<!-- held against src/http/routes.rs by tests/it/readme.rs -->");
    let expected: Vec<String> = ROUTES
        .iter()
        .map(|route| {
            let who = match route.access {
                Access::Anyone => "anyone".to_owned(),
                Access::Authenticated => "signed in".to_owned(),
                Access::Permission(permission) => format!("`{permission}`"),
                Access::Session => "session".to_owned(),
                Access::SessionPermission(permission) => format!("session, `{permission}`"),
                Access::Fresh => "fresh session".to_owned(),
                Access::FreshPermission(permission) => format!("fresh session, `{permission}`"),
                Access::ApiKey => "API key".to_owned(),
                Access::Client(permission) => format!("API key, `{permission}`"),
            };
            let facts = format!("| {} | `{}` | {who} | ", route.method, readable(route.path));
            // The description of a route is prose, so it is taken over from the README.
            let same = format!("| {} | `{}` |", route.method, readable(route.path));
            let prose = printed.iter().find(|row| row.starts_with(&same)).and_then(|row| row.split(" | ").nth(3)).unwrap_or("… |");
            facts + prose
        })
        .collect();
    assert_eq!(printed, expected, "paste this into the README:\n\n{}\n", expected.join("\n"));
}

#[test]
fn the_error_table_is_the_list_of_codes() {
    let printed = table("<!-- held against src/http/code.rs by tests/it/readme.rs -->");
    let expected: Vec<String> =
        Code::ALL.iter().map(|code| format!("| {} | `{}` | {} |", code.status(), code.as_str(), code.message())).collect();
    assert_eq!(printed, expected, "paste this into the README:\n\n{}\n", expected.join("\n"));
}

/// Every setting that the README names is in `config.toml`.
#[test]
fn settings_that_are_named_exist() {
    let settings: toml::Table = include_str!("../../config.toml").parse().expect("TOML");
    let mut named = 0;
    for quoted in README.split('`').skip(1).step_by(2) {
        let key = quoted.split([' ', '=']).next().expect("a first word");
        if let Some((section, name)) = key.split_once('.')
            && let Some(section) = settings.get(section).and_then(toml::Value::as_table)
        {
            assert!(section.contains_key(name), "there is no {key}");
            named += 1;
        }
    }
    assert!(named >= 10, "the README names settings");
}

/// A row of a table of rules in `docs/security.md`.
struct Rule {
    id: &'static str,
    held_in: &'static str,
    tests: &'static str,
}

fn rules() -> Vec<Rule> {
    let rows = include_str!("../../docs/security.md").lines().filter(|line| line.starts_with("| "));
    let cells = rows.map(|row| row.split(" | ").collect::<Vec<_>>()).filter(|row| row.len() == 4 && row[0] != "| id");
    let rules: Vec<_> = cells.map(|row| Rule { id: row[0].trim_start_matches("| "), held_in: row[2], tests: row[3] }).collect();
    assert!(rules.len() >= 100, "it has rules: {}", rules.len());
    rules
}

fn sources() -> String {
    let mut sources = String::new();
    for directory in ["src", "tests"] {
        read_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join(directory), &mut sources);
    }
    sources
}

/// The tests that a row names.
fn named(tests: &str) -> impl Iterator<Item = &str> {
    tests.split('`').skip(1).step_by(2).filter(|name| name.contains('_') && !name.contains([' ', '.', '/']))
}

#[test]
fn what_rules_name_exists() {
    let (root, sources) = (Path::new(env!("CARGO_MANIFEST_DIR")), sources());
    for rule in rules() {
        for path in rule.held_in.split(", ").filter(|path| *path != "–") {
            let at_top = path.starts_with('`').then(|| root.join(path.trim_matches('`')));
            assert!(at_top.unwrap_or_else(|| root.join("src").join(path)).exists(), "{} is said to be held in {path}", rule.id);
        }
        for name in named(rule.tests) {
            assert!(sources.contains(&format!("fn {name}(")), "{} names {name}, which is no test", rule.id);
        }
    }
}

/// The ids that a test's name begins with: `REF-3` and `STO-1` for `ref_3_sto_1_what_it_shows`.
fn ids_of(name: &str, rules: &[Rule]) -> Vec<String> {
    let mut ids = Vec::new();
    let mut family = "";
    for word in name.split('_') {
        if rules.iter().any(|rule| rule.id.split_once('-').is_some_and(|(of, _)| of.eq_ignore_ascii_case(word))) {
            family = word;
        } else if !family.is_empty() && word.parse::<u8>().is_ok() {
            ids.push(format!("{}-{word}", family.to_ascii_uppercase()));
        } else if word != "to" {
            break;
        }
    }
    ids
}

#[test]
fn tests_named_after_a_rule_stand_in_its_row() {
    let (rules, sources) = (rules(), sources());
    let names = sources.split("fn ").skip(1).filter_map(|rest| rest.split_once('(')).map(|(name, _)| name);
    let mut seen = 0;
    for name in names {
        for id in ids_of(name, &rules) {
            let rule = rules.iter().find(|rule| rule.id == id).unwrap_or_else(|| panic!("{name}: there is no rule {id}"));
            assert!(named(rule.tests).any(|named| named == name), "the row of {id} does not name {name}");
            seen += 1;
        }
    }
    assert!(seen >= 200, "tests are named after rules: {seen}");
}

/// Appends the text of every Rust file below a directory.
fn read_all(directory: &Path, to: &mut String) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            read_all(&path, to);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            to.push_str(&std::fs::read_to_string(&path).expect("text"));
        }
    }
}

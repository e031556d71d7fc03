//! Where settings come from: flag > environment > file > default, each value with its origin, so
//! that a wrong one is refused by name.

use super::{Environment, OutOfBounds, Settings};
use crate::failure::Failure;
use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, File, Metadata},
    io::{self, Read},
    path::{Path, PathBuf},
};
use toml::{Table, Value};

/// The file that is read from the working directory when it is there.
const FILE: &str = "config.toml";
const PREFIX: &str = "DOORWARD_";
/// Variables of ours that are no settings.
const RESERVED: [&str; 7] = [
    "DOORWARD_ACCESS_SECRET",
    "DOORWARD_ACCESS_SECRET_FILE",
    "DOORWARD_REFRESH_SECRET",
    "DOORWARD_REFRESH_SECRET_FILE",
    "DOORWARD_ADMIN_EMAIL",
    "DOORWARD_ADMIN_PASSWORD",
    "DOORWARD_ADMIN_PASSWORD_FILE",
];

/// What the command line says of settings.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Flags {
    /// Settings file [default: config.toml here, if there is one]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address to listen on; port 0 takes a free one
    #[arg(long, global = true, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// Directory of the database and the keys
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Any setting, such as `tokens.access_ttl=5m`; repeatable
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// A settings file that nobody named, as it was when it was read.
#[derive(Debug)]
struct Found {
    path: PathBuf,
    /// What stood there: perhaps a link.
    entry: Metadata,
    /// What was read.
    file: Metadata,
}

/// Checked settings, and where each that is not a default came from.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    found: Option<Found>,
    /// Variables with our prefix that others put there, and that are no settings.
    pub passed_over: Vec<String>,
    origins: Origins,
}

impl Loaded {
    /// The settings file that nobody named: where, what stood there, and what was read.
    #[must_use]
    pub fn found(&self) -> Option<(&Path, [&Metadata; 2])> {
        self.found.as_ref().map(|found| (found.path.as_path(), [&found.entry, &found.file]))
    }

    /// Where a dotted key's value came from.
    #[must_use]
    pub fn origin(&self, key: &str) -> String {
        self.origins.get(key).map_or_else(|| "default".to_owned(), ToString::to_string)
    }
}

type Origins = BTreeMap<String, Origin>;

#[derive(Debug, Clone)]
enum Origin {
    File(PathBuf),
    Variable(String),
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// Reads and checks all settings.
///
/// # Errors
/// One message that names origin, key, what was found and what is allowed; exit 78.
pub fn load(flags: &Flags, environment: &Environment) -> Result<Loaded, Failure> {
    let defaults = Table::try_from(Settings::default()).map_err(|error| Failure::config(error.to_string()))?;
    let mut merged = Table::new();
    let mut origins = Origins::new();
    let mut found = None;
    let entry = fs::symlink_metadata(FILE).ok().filter(|_| flags.config.is_none() && Path::new(FILE).exists());
    if let Some(path) = flags.config.clone().or_else(|| entry.as_ref().map(|_| FILE.into())) {
        let (settings, file) = read_file(&path)?;
        merged = settings;
        for key in keys(&merged) {
            origins.insert(key, Origin::File(path.clone()));
        }
        found = entry.map(|entry| Found { path, entry, file });
    }
    let mut overlay = |key: &str, text: &str, origin: Origin| -> Result<(), Failure> {
        let default = lookup(&defaults, key).ok_or_else(|| unknown(&origin, key, &defaults))?;
        if key.starts_with("roles.") {
            // One role set by name changes that role, not which roles there are.
            merged.entry("roles").or_insert_with(|| defaults["roles"].clone());
        }
        insert(&mut merged, key, typed(default, text));
        origins.insert(key.to_owned(), origin);
        Ok(())
    };
    let mut passed_over = Vec::new();
    for name in environment.names().filter(|name| !RESERVED.contains(name)) {
        match keys(&defaults).into_iter().find(|key| variable(key) == name) {
            None if environment.is_about_us(name) => passed_over.push(name.to_owned()),
            key => {
                let text = environment.text(name)?.unwrap_or_default();
                overlay(key.as_deref().unwrap_or(name), text, Origin::Variable(name.to_owned()))?;
            }
        }
    }
    for assignment in &flags.set {
        let (key, text) = assignment
            .split_once('=')
            .ok_or_else(|| Failure::config(format!("flag --set {assignment}: found no '=', allowed: KEY=VALUE")))?;
        overlay(key.trim(), text.trim(), Origin::Flag(format!("--set {key}")))?;
    }
    for (flag, key, text) in [("--listen", "server.listen", &flags.listen), ("--data-dir", "server.data_dir", &flags.data_dir)] {
        if let Some(text) = text {
            overlay(key, text, Origin::Flag(flag.into()))?;
        }
    }
    let settings: Settings = serde_path_to_error::deserialize(Value::Table(merged.clone())).map_err(|error| {
        let path = error.path().to_string();
        // One item of a list is the list's fault: that is what came from somewhere.
        let key = path.split('[').next().unwrap_or_default();
        let why = error.into_inner().to_string().replace('\n', " ");
        let found = key.split_once('.').and_then(|(section, key)| merged.get(section)?.get(key));
        match found.map(ToString::to_string) {
            Some(found) if !why.contains(found.trim_matches('"')) => refusal(&origins, key, &format!("found {found}: {}", why.trim())),
            _ => refusal(&origins, key, why.trim()),
        }
    })?;
    settings
        .check()
        .map_err(|OutOfBounds { key, found, allowed }| refusal(&origins, key, &format!("found {found}, allowed: {allowed}")))?;
    Ok(Loaded { settings, found, passed_over, origins })
}

fn read_file(path: &Path) -> Result<(Table, Metadata), Failure> {
    let read = || {
        let mut file = File::open(path)?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        Ok((text, file.metadata()?))
    };
    let (text, file) = read().map_err(|error: io::Error| Failure::config(format!("{}: cannot be read: {error}", path.display())))?;
    // The parser's message shows the line and points at the place.
    let settings = text.parse().map_err(|error| Failure::config(format!("{}: {error}", path.display())))?;
    Ok((settings, file))
}

/// One message: origin, key, what was found, what is allowed.
fn refusal(origins: &Origins, key: &str, why: &str) -> Failure {
    // An unknown key is reported at the table it stands in: then any key beneath tells the origin.
    let beneath = format!("{key}.");
    let origin = origins.get(key).or_else(|| origins.iter().find(|(k, _)| key == "." || k.starts_with(&beneath)).map(|(_, o)| o));
    match origin {
        Some(origin) => Failure::config(format!("{origin}: {key}: {why}")),
        None => Failure::config(format!("{key}: {why}")),
    }
}

fn unknown(origin: &Origin, key: &str, defaults: &Table) -> Failure {
    Failure::config(match origin {
        Origin::Variable(name) => {
            format!("{origin}: there is no such setting, allowed: {}", nearest(name, keys(defaults).iter().map(|key| variable(key))))
        }
        _ => format!("{origin}: {key}: there is no such setting, allowed: {}", nearest(key, keys(defaults).into_iter())),
    })
}

/// The allowed names, the likeliest meant first.
fn nearest(wrong: &str, names: impl Iterator<Item = String>) -> String {
    let common = |name: &str| {
        wrong.chars().rev().zip(name.chars().rev()).take_while(|(a, b)| a == b).count()
            + wrong.chars().zip(name.chars()).take_while(|(a, b)| a == b).count()
    };
    let mut names: Vec<_> = names.collect();
    names.sort_by_key(|name| std::cmp::Reverse(common(name)));
    names.join(", ")
}

/// The environment variable of a dotted key.
fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_uppercase())
}

/// The dotted keys of all values.
pub(super) fn keys(table: &Table) -> Vec<String> {
    table
        .iter()
        .flat_map(|(name, value)| match value {
            Value::Table(section) => section.keys().map(|key| format!("{name}.{key}")).collect(),
            _ => vec![name.clone()],
        })
        .collect()
}

fn lookup<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        // Roles are named by the operator: any will do, as long as it is a list like the others.
        Some(("roles", _)) => table.get("roles")?.as_table()?.values().next(),
        Some((section, key)) => table.get(section)?.as_table()?.get(key),
        None => table.get(key).filter(|value| !value.is_table()),
    }
}

fn insert(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        Some((section, key)) => {
            let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            if let Some(section) = section.as_table_mut() {
                section.insert(key.to_owned(), value);
            }
        }
        None => {
            table.insert(key.to_owned(), value);
        }
    }
}

/// A text as the type its default has; a text that is no such thing stays one and is refused by type.
fn typed(default: &Value, text: &str) -> Value {
    let parsed = match default {
        Value::Boolean(_) => text.parse().ok().map(Value::Boolean),
        Value::Integer(_) => text.parse().ok().map(Value::Integer),
        Value::Array(_) => {
            let items = text.trim_start_matches('[').trim_end_matches(']').split(',').map(|item| item.trim().trim_matches('"'));
            Some(Value::Array(items.filter(|item| !item.is_empty()).map(|item| Value::String(item.to_owned())).collect()))
        }
        _ => None,
    };
    parsed.unwrap_or_else(|| Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn flags(file: &str, set: &[&str]) -> (tempfile::TempDir, Flags) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("test.toml");
        std::fs::write(&path, file).expect("a file");
        (dir, Flags { config: Some(path), set: set.iter().map(|s| (*s).to_owned()).collect(), ..Flags::default() })
    }

    fn loaded(file: &str, env: &[(&str, &str)], set: &[&str]) -> Result<Loaded, Failure> {
        let (_dir, flags) = flags(file, set);
        load(&flags, &Environment::with(env))
    }

    #[test]
    fn a_flag_wins_over_the_environment_over_the_file_over_the_default() {
        let (file, env, set) = ("[tokens]\naccess_ttl = '1m'", [("DOORWARD_TOKENS_ACCESS_TTL", "2m")], ["tokens.access_ttl=3m"]);
        let ttl = |file, env: &[_], set: &[_]| loaded(file, env, set).expect("loads").settings.tokens.access_ttl;
        assert_eq!(ttl("", &[], &[]), Duration::from_secs(900));
        assert_eq!(ttl(file, &[], &[]), Duration::from_secs(60));
        assert_eq!(ttl(file, &env, &[]), Duration::from_secs(120));
        assert_eq!(ttl(file, &env, &set), Duration::from_secs(180));
        assert_eq!(loaded(file, &env, &set).expect("loads").origin("tokens.access_ttl"), "flag --set tokens.access_ttl");
    }

    #[test]
    fn texts_take_the_type_of_their_setting() {
        let env = [
            ("DOORWARD_INSECURE_DEV", "true"),
            ("DOORWARD_SESSIONS_MAX_PER_USER", "3"),
            ("DOORWARD_SERVER_TRUSTED_PROXIES", "127.0.0.1, ::1/128"),
            ("DOORWARD_SERVICE_PORT", "3000"),
            ("DOORWARD_ACCESS_SECRET", "no setting"),
            ("PATH", "/bin"),
        ];
        let settings = loaded("", &env, &["roles.viewer=articles:read,news:read", "roles.author=news:write"]).expect("loads").settings;
        assert!(settings.insecure_dev);
        assert_eq!(settings.sessions.max_per_user, 3);
        assert_eq!(settings.server.trusted_proxies, ["127.0.0.1/32".parse().expect("a net"), "::1/128".parse().expect("a net")]);
        assert!(settings.roles.allows(&"viewer".parse().expect("a role"), "news:read"));
    }

    #[test]
    fn a_wrong_setting_is_refused_with_origin_key_found_and_allowed() {
        let refused = |file, env: &[_], set: &[_], words: &[&str]| {
            let failure = loaded(file, env, set).expect_err("refused");
            assert_eq!(failure.code(), 78);
            for word in words {
                assert!(failure.to_string().contains(word), "{word} is not in: {failure}");
            }
        };
        refused("[tokens]\nacess_ttl = '1m'", &[], &[], &["test.toml", "tokens", "acess_ttl", "access_ttl"]);
        refused("[tokns]\naccess_ttl = '1m'", &[], &[], &["test.toml", "tokns", "tokens"]);
        refused("[tokens]\naccess_ttl = 'soon'", &[], &[], &["test.toml", "tokens.access_ttl", "soon", "duration"]);
        refused("[tokens]\naccess_ttl = '1s'", &[], &[], &["test.toml", "tokens.access_ttl", "1s", "10s to 1h"]);
        refused("[registration]\nmode = 'all'", &[], &[], &["registration.mode", "all", "open", "invite", "closed"]);
        refused("[server\n", &[], &[], &["test.toml", "line 1"]);
        refused("", &[("DOORWARD_TOKENS_ACESS_TTL", "1m")], &[], &["DOORWARD_TOKENS_ACESS_TTL", "DOORWARD_TOKENS_ACCESS_TTL"]);
        refused("", &[("DOORWARD_PORT", "3000")], &[], &["DOORWARD_PORT", "no such setting"]);
        refused("[server]\ntrusted_proxies = ['10.0.0']", &[], &[], &["test.toml", "server.trusted_proxies", "10.0.0", "such as"]);
        refused("", &[], &["server.trusted_proxies=0.0.0.0/0"], &["server.trusted_proxies", "0.0.0.0/0", "everybody"]);
        refused("", &[("DOORWARD_SESSIONS_MAX_PER_USER", "many")], &[], &["DOORWARD_SESSIONS_MAX_PER_USER", "many"]);
        refused("", &[], &["tokens.ttl=1m"], &["--set tokens.ttl", "tokens.access_ttl"]);
        refused("", &[], &["tokens"], &["--set tokens", "KEY=VALUE"]);
        refused("", &[], &["server.public_url=http://box.lan"], &["--set server.public_url", "box.lan", "insecure_http"]);
    }

    proptest::proptest! {
        #[test]
        fn no_file_variable_or_flag_makes_reading_the_settings_panic(
            file in "(\\[[a-z.]{0,8}\\]\n|[a-z_]{1,14} ?= ?['\"\\[{0-9a-z:/.,}\\]-]{0,12}\n|\\PC{0,20}){0,5}",
            key in proptest::sample::select(vec!["SERVER_LISTEN", "TOKENS_ACCESS_TTL", "SERVER_PUBLIC_URL", "ROLES_VIEWER", "LIMITS_LOGIN_FAILURES"]),
            value in "[0-9a-z:/.,\\[\\]*-]{0,20}|\\PC{0,20}",
        ) {
            // Refused or taken, but told: with the exit code for settings.
            let name = format!("DOORWARD_{key}");
            for outcome in [
                loaded(&file, &[], &[]),
                loaded("", &[(&name, &value)], &[]),
                loaded("", &[], &[&format!("{}={value}", key.to_lowercase().replacen('_', ".", 1))]),
                loaded("", &[], &[&value]),
            ] {
                proptest::prop_assert!(outcome.map_or_else(|failure| failure.code() == 78, |_| true));
            }
        }
    }
}

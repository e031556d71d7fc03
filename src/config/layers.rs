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
    /// Settings that were given by a name of an earlier release, one sentence each.
    pub renamed: Vec<String>,
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

/// Settings of an earlier release that have another name now; the old one is still understood.
const RENAMED: [(&str, &str); 1] = [("demo.enabled", "page.enabled")];

/// Reads and checks all settings.
///
/// # Errors
/// One message that names origin, key, what was found and what is allowed; exit 78.
pub fn load(flags: &Flags, environment: &Environment) -> Result<Loaded, Failure> {
    let defaults = Table::try_from(Settings::default()).map_err(|error| Failure::config(error.to_string()))?;
    let mut layers = Layers { defaults, merged: Table::new(), origins: Origins::new(), renamed: Vec::new() };
    let mut found = None;
    let entry = fs::symlink_metadata(FILE).ok().filter(|_| flags.config.is_none() && Path::new(FILE).exists());
    if let Some(path) = flags.config.clone().or_else(|| entry.as_ref().map(|_| FILE.into())) {
        let (settings, file) = read_file(&path)?;
        layers.add_file(settings, &path);
        found = entry.map(|entry| Found { path, entry, file });
    }
    let passed_over = layers.add_environment(environment)?;
    layers.add_flags(flags)?;
    let settings = layers.settings()?;
    settings
        .check()
        .map_err(|OutOfBounds { key, found, allowed }| refusal(&layers.origins, key, &format!("found {found}, allowed: {allowed}")))?;
    Ok(Loaded { settings, found, passed_over, renamed: layers.renamed, origins: layers.origins })
}

/// The settings as they come together, lowest layer first.
struct Layers {
    defaults: Table,
    merged: Table,
    origins: Origins,
    renamed: Vec<String>,
}

impl Layers {
    fn add_file(&mut self, mut settings: Table, path: &Path) {
        for (old, new) in RENAMED {
            if let Some(value) = remove(&mut settings, old) {
                insert(&mut settings, new, value);
                self.renamed.push(format!("{}: {old} is called {new} now", path.display()));
            }
        }
        for key in keys(&settings) {
            self.origins.insert(key, Origin::File(path.to_owned()));
        }
        self.merged = settings;
    }

    /// Answers with the variables that others put there, and that are no settings.
    fn add_environment(&mut self, environment: &Environment) -> Result<Vec<String>, Failure> {
        let mut passed_over = Vec::new();
        for name in environment.names().filter(|name| !RESERVED.contains(name)) {
            let known = keys(&self.defaults).into_iter().chain(RENAMED.map(|(old, _)| old.to_owned()));
            match known.into_iter().find(|key| variable(key) == name) {
                None if environment.is_about_us(name) => passed_over.push(name.to_owned()),
                key => {
                    let text = environment.text(name)?.unwrap_or_default();
                    self.overlay(key.as_deref().unwrap_or(name), text, Origin::Variable(name.to_owned()))?;
                }
            }
        }
        Ok(passed_over)
    }

    fn add_flags(&mut self, flags: &Flags) -> Result<(), Failure> {
        for assignment in &flags.set {
            let (key, text) = assignment
                .split_once('=')
                .ok_or_else(|| Failure::config(format!("flag --set {assignment}: found no '=', allowed: KEY=VALUE")))?;
            self.overlay(key.trim(), text.trim(), Origin::Flag(format!("--set {key}")))?;
        }
        for (flag, key, text) in [("--listen", "server.listen", &flags.listen), ("--data-dir", "server.data_dir", &flags.data_dir)] {
            if let Some(text) = text {
                self.overlay(key, text, Origin::Flag(flag.into()))?;
            }
        }
        Ok(())
    }

    fn overlay(&mut self, key: &str, text: &str, origin: Origin) -> Result<(), Failure> {
        let new = RENAMED.into_iter().find_map(|(old, new)| (old == key).then_some(new));
        if let Some(new) = new {
            self.renamed.push(format!("{origin}: {key} is called {new} now"));
        }
        let key = new.unwrap_or(key);
        let default = lookup(&self.defaults, key).ok_or_else(|| unknown(&origin, key, &self.defaults))?;
        if key.starts_with("roles.") {
            // One role set by name changes that role, not which roles there are.
            self.merged.entry("roles").or_insert_with(|| self.defaults["roles"].clone());
        }
        insert(&mut self.merged, key, typed(default, text));
        self.origins.insert(key.to_owned(), origin);
        Ok(())
    }

    fn settings(&self) -> Result<Settings, Failure> {
        serde_path_to_error::deserialize(Value::Table(self.merged.clone())).map_err(|error| {
            let path = error.path().to_string();
            // One item of a list is the list's fault: that is what came from somewhere.
            let key = path.split('[').next().unwrap_or_default();
            let why = error.into_inner().to_string().replace('\n', " ");
            let found = key.split_once('.').and_then(|(section, key)| self.merged.get(section)?.get(key));
            match found.map(ToString::to_string) {
                Some(found) if !why.contains(found.trim_matches('"')) => {
                    refusal(&self.origins, key, &format!("found {found}: {}", why.trim()))
                }
                _ => refusal(&self.origins, key, why.trim()),
            }
        })
    }
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

/// Takes a key of a section out, and the section with its last.
fn remove(table: &mut Table, key: &str) -> Option<Value> {
    let (name, key) = key.split_once('.')?;
    let section = table.get_mut(name)?.as_table_mut()?;
    let value = section.remove(key)?;
    if section.is_empty() {
        table.remove(name);
    }
    Some(value)
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
mod tests;

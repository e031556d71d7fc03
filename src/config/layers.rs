//! Where settings come from: flag > environment > file > default. Each value keeps its source, so that
//! an error can name it.

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

/// The settings file that is read from the working directory if there is one and `--config` is not given.
const DEFAULT_FILE: &str = "config.toml";
const PREFIX: &str = "DOORWARD_";
/// Variables with our prefix that are not settings: secrets and the first admin.
const RESERVED: [&str; 7] = [
    "DOORWARD_ACCESS_SECRET",
    "DOORWARD_ACCESS_SECRET_FILE",
    "DOORWARD_REFRESH_SECRET",
    "DOORWARD_REFRESH_SECRET_FILE",
    "DOORWARD_ADMIN_EMAIL",
    "DOORWARD_ADMIN_PASSWORD",
    "DOORWARD_ADMIN_PASSWORD_FILE",
];

/// Command-line flags that set settings.
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

/// The default settings file, found in the working directory and not named by a flag, as it was when it was read.
#[derive(Debug)]
struct DiscoveredFile {
    path: PathBuf,
    /// The directory entry, which may be a symbolic link.
    entry: Metadata,
    /// The file that was read.
    file: Metadata,
}

/// Checked settings, and the source of each that is not a default.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    discovered: Option<DiscoveredFile>,
    /// Variables with our prefix that the platform set and that are not settings.
    pub passed_over: Vec<String>,
    /// Settings that were given by a name from an earlier release, one sentence each.
    pub renamed: Vec<String>,
    sources: Sources,
}

impl Loaded {
    /// The default settings file, if it was read: its path, the metadata of its directory entry (perhaps a link),
    /// and the metadata of the file itself.
    #[must_use]
    pub fn discovered_file(&self) -> Option<(&Path, [&Metadata; 2])> {
        self.discovered.as_ref().map(|found| (found.path.as_path(), [&found.entry, &found.file]))
    }

    /// The source of the value of a dotted key, for people.
    #[must_use]
    pub fn source(&self, key: &str) -> String {
        self.sources.get(key).map_or_else(|| "default".to_owned(), ToString::to_string)
    }
}

type Sources = BTreeMap<String, Source>;

#[derive(Debug, Clone)]
enum Source {
    File(PathBuf),
    Variable(String),
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// Settings that were renamed: old name and new name. The old name still works and gives a warning.
const RENAMED: [(&str, &str); 1] = [("demo.enabled", "page.enabled")];

/// Reads and checks all settings.
///
/// # Errors
/// One message that names source, key, the value found and what is allowed; exit 78.
pub fn load(flags: &Flags, environment: &Environment) -> Result<Loaded, Failure> {
    let defaults = Table::try_from(Settings::default()).map_err(|error| Failure::config(error.to_string()))?;
    let mut layers = Layers { defaults, merged: Table::new(), sources: Sources::new(), renamed: Vec::new() };
    let mut discovered = None;
    let entry = fs::symlink_metadata(DEFAULT_FILE).ok().filter(|_| flags.config.is_none() && Path::new(DEFAULT_FILE).exists());
    if let Some(path) = flags.config.clone().or_else(|| entry.as_ref().map(|_| DEFAULT_FILE.into())) {
        let (settings, file) = read_file(&path)?;
        layers.add_file(settings, &path)?;
        discovered = entry.map(|entry| DiscoveredFile { path, entry, file });
    }
    let passed_over = layers.add_environment(environment)?;
    layers.add_flags(flags)?;
    let settings = layers.settings()?;
    settings
        .check()
        .map_err(|OutOfBounds { key, found, allowed }| invalid(&layers.sources, key, &format!("found {found}, allowed: {allowed}")))?;
    Ok(Loaded { settings, discovered, passed_over, renamed: layers.renamed, sources: layers.sources })
}

/// Merges the layers, lowest first.
struct Layers {
    defaults: Table,
    merged: Table,
    sources: Sources,
    renamed: Vec<String>,
}

impl Layers {
    fn add_file(&mut self, mut settings: Table, path: &Path) -> Result<(), Failure> {
        for (old, new) in RENAMED {
            remove_empty_section(&mut settings, old);
            if let Some(value) = remove(&mut settings, old) {
                if lookup(&settings, new).is_some() {
                    return Err(twice(&Source::File(path.to_owned()), old, new));
                }
                insert(&mut settings, new, value);
                self.renamed.push(format!("{}: {old} is called {new} now", path.display()));
            }
        }
        for key in keys(&settings) {
            self.sources.insert(key, Source::File(path.to_owned()));
        }
        self.merged = settings;
        Ok(())
    }

    /// Returns the variables that the platform set and that are not settings.
    fn add_environment(&mut self, environment: &Environment) -> Result<Vec<String>, Failure> {
        let mut passed_over = Vec::new();
        for name in environment.names().filter(|name| !RESERVED.contains(name)) {
            let known = keys(&self.defaults).into_iter().chain(RENAMED.map(|(old, _)| old.to_owned()));
            match known.into_iter().find(|key| variable(key) == name) {
                None if environment.is_set_by_platform(name) => passed_over.push(name.to_owned()),
                key => {
                    let text = environment.text(name)?.unwrap_or_default();
                    self.overlay(key.as_deref().unwrap_or(name), text, Source::Variable(name.to_owned()))?;
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
            self.overlay(key.trim(), text.trim(), Source::Flag(format!("--set {key}")))?;
        }
        for (flag, key, text) in [("--listen", "server.listen", &flags.listen), ("--data-dir", "server.data_dir", &flags.data_dir)] {
            if let Some(text) = text {
                self.overlay(key, text, Source::Flag(flag.into()))?;
            }
        }
        Ok(())
    }

    fn overlay(&mut self, key: &str, text: &str, source: Source) -> Result<(), Failure> {
        let new = RENAMED.into_iter().find_map(|(old, new)| (old == key).then_some(new));
        if let Some(new) = new {
            self.renamed.push(format!("{source}: {key} is called {new} now"));
        }
        let (named, key) = (key, new.unwrap_or(key));
        if let (Source::Variable(_), Some(Source::Variable(_))) = (&source, self.sources.get(key)) {
            // Each variable is there once, so this one was set by another name.
            let old = RENAMED.into_iter().find_map(|(old, new)| (new == key).then_some(old)).unwrap_or(named);
            return Err(twice(&source, old, key));
        }
        let default = lookup(&self.defaults, key).ok_or_else(|| unknown(&source, key, &self.defaults))?;
        if key.starts_with("roles.") {
            // Setting one role by name changes that role and keeps the others.
            self.merged.entry("roles").or_insert_with(|| self.defaults["roles"].clone());
        }
        insert(&mut self.merged, key, parse_like(default, text));
        self.sources.insert(key.to_owned(), source);
        Ok(())
    }

    fn settings(&self) -> Result<Settings, Failure> {
        serde_path_to_error::deserialize(Value::Table(self.merged.clone())).map_err(|error| {
            let path = error.path().to_string();
            // An error in one item of a list is reported for the list: only the list has a source.
            let key = path.split('[').next().unwrap_or_default();
            let why = error.into_inner().to_string().replace('\n', " ");
            let found = key.split_once('.').and_then(|(section, key)| self.merged.get(section)?.get(key));
            match found.map(ToString::to_string) {
                Some(found) if !why.contains(found.trim_matches('"')) => {
                    invalid(&self.sources, key, &format!("found {found}: {}", why.trim()))
                }
                _ => invalid(&self.sources, key, why.trim()),
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
    // The parser's message shows the line and the column.
    let settings = text.parse().map_err(|error| Failure::config(format!("{}: {error}", path.display())))?;
    Ok((settings, file))
}

/// The message for a setting that is refused: source, key, value found, what is allowed.
fn invalid(sources: &Sources, key: &str, why: &str) -> Failure {
    // An unknown key is reported at its table, which has no source itself; any key in that table has the same one.
    let beneath = format!("{key}.");
    let source = sources.get(key).or_else(|| sources.iter().find(|(k, _)| key == "." || k.starts_with(&beneath)).map(|(_, source)| source));
    match source {
        Some(source) => Failure::config(format!("{source}: {key}: {why}")),
        None => Failure::config(format!("{key}: {why}")),
    }
}

fn unknown(source: &Source, key: &str, defaults: &Table) -> Failure {
    Failure::config(match source {
        Source::Variable(name) => {
            format!("{source}: there is no such setting, allowed: {}", by_similarity(name, keys(defaults).iter().map(|key| variable(key))))
        }
        _ => format!("{source}: {key}: there is no such setting, allowed: {}", by_similarity(key, keys(defaults).into_iter())),
    })
}

/// The allowed names, those most similar to the wrong one first.
fn by_similarity(wrong: &str, names: impl Iterator<Item = String>) -> String {
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
        // The operator chooses the names of roles: any name is valid, and its value has the type of the others.
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

/// Removes a key from its section, and the section if it is then empty.
fn remove(table: &mut Table, key: &str) -> Option<Value> {
    let (name, key) = key.split_once('.')?;
    let section = table.get_mut(name)?.as_table_mut()?;
    let value = section.remove(key)?;
    if section.is_empty() {
        table.remove(name);
    }
    Some(value)
}

/// Removes the section that a key is in, if it is empty: after a setting has moved, its section may be left.
fn remove_empty_section(table: &mut Table, key: &str) {
    let section = key.split_once('.').map_or(key, |(section, _)| section);
    if table.get(section).and_then(Value::as_table).is_some_and(Table::is_empty) {
        table.remove(section);
    }
}

/// The failure for a setting that is there by its old name and its new one.
fn twice(source: &Source, old: &str, new: &str) -> Failure {
    Failure::config(format!("{source}: found both {old} and {new}, which are one setting: remove {old}"))
}

/// Parses a text as the type of the default. A text that does not parse stays a string, so deserialising refuses it.
fn parse_like(default: &Value, text: &str) -> Value {
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

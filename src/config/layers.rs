//! Where settings come from: flag > environment > file > default. Each value keeps its source, so that
//! an error can name it.

use super::{
    Environment, OutOfBounds, Settings,
    keys::{Source, Sources, insert, keys, lookup, remove, remove_empty_section, value_of, variable},
    refusal::{invalid, mistyped, require_known, twice, unknown},
};
use crate::failure::Failure;
use std::{
    fs::{self, File, Metadata},
    io::{self, Read},
    path::{Path, PathBuf},
};
use toml::{Table, Value};

/// The settings file that is read from the working directory if there is one and `--config` is not given.
const DEFAULT_FILE: &str = "config.toml";
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
        require_known(&settings, &Source::File(path.to_owned()), &self.defaults)?;
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
                .ok_or_else(|| Failure::config(format!("flag --set: found {assignment:?}, allowed: KEY=VALUE")))?;
            self.overlay(key.trim(), text.trim(), Source::Flag("--set".into()))?;
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
        if key == "gate.app" && !text.is_empty() {
            return Err(Failure::config(format!("{source}: gate.app: found {text:?}, allowed: [[gate.app]] in a settings file")));
        }
        insert(&mut self.merged, key, parse_like(default, text));
        self.sources.insert(key.to_owned(), source);
        Ok(())
    }

    fn settings(&self) -> Result<Settings, Failure> {
        self.merged.clone().try_into().map_err(|error: toml::de::Error| self.refusal(&error))
    }

    /// What is wrong with a value that has not the type of its setting. The parser does not say whose it is: it is the first
    /// that cannot be read alone.
    fn refusal(&self, error: &toml::de::Error) -> Failure {
        let read_alone = |key: &str, value: &Value| {
            let mut alone = Table::new();
            insert(&mut alone, key, value.clone());
            alone.try_into::<Settings>().err()
        };
        let wrong = keys(&self.merged).into_iter().find_map(|key| {
            let value = value_of(&self.merged, &key)?;
            read_alone(&key, value).map(|error| (key, value, error))
        });
        let Some((key, value, alone)) = wrong else { return invalid(&self.sources, ".", error.message()) };
        if key == "gate.app" && value.is_table() {
            return invalid(&self.sources, &key, "found [gate.app], allowed: [[gate.app]] with two brackets, once for each app");
        }
        if let ("gate.app", Some(apps)) = (key.as_str(), value.as_array()) {
            // What an app has is not shown whole: the parser says what is wrong with it.
            let first = apps.iter().position(|app| read_alone(&key, &Value::Array(vec![app.clone()])).is_some());
            let named = first.and_then(|at| apps[at].get("name")?.as_str());
            let place = named.map_or_else(|| "an app: ".to_owned(), |name| format!("app {name}: "));
            return invalid(&self.sources, &key, &format!("{place}{}", alone.message().replace('\n', " ")));
        }
        mistyped(&self.sources, &key, Some(value), lookup(&self.defaults, &key), alone.message())
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
    let settings =
        text.parse().map_err(|error: toml::de::Error| Failure::config(format!("{}: {}", path.display(), error.to_string().trim_end())))?;
    Ok((settings, file))
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

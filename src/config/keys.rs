//! Dotted keys of settings: in tables, as variables of the environment, and where the value of each came from.

use std::{collections::BTreeMap, fmt, path::PathBuf};
use toml::{Table, Value};

const PREFIX: &str = "DOORWARD_";

/// The source of each value that is not a default, by dotted key.
pub type Sources = BTreeMap<String, Source>;

#[derive(Debug, Clone)]
pub enum Source {
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

/// The environment variable of a dotted key.
pub fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_uppercase())
}

/// The dotted keys of all values.
pub fn keys(table: &Table) -> Vec<String> {
    let beneath = |(name, value): (&String, &Value)| match value {
        // An app whose section has one bracket where there should be two is one value, which is wrong.
        Value::Table(section) if name != "app" => keys(section).into_iter().map(|key| format!("{name}.{key}")).collect(),
        _ => vec![name.clone()],
    };
    table.iter().flat_map(beneath).collect()
}

/// The apps behind the gate, where there are none.
static NO_APPS: Value = Value::Array(Vec::new());

/// The value of a dotted key, in tables with the value of every setting: one that may be there.
pub fn lookup<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        // The operator chooses the names of roles: any name is valid, and its value has the type of the others.
        Some(("roles", name)) if !name.contains('.') => table.get("roles")?.as_table()?.values().next(),
        Some(("gate", "app")) => Some(table.get("gate")?.as_table()?.get("app").unwrap_or(&NO_APPS)),
        _ => value_of(table, key).filter(|value| !value.is_table()),
    }
}

/// The value of a dotted key.
pub fn value_of<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        Some((section, key)) => value_of(table.get(section)?.as_table()?, key),
        None => table.get(key),
    }
}

pub fn insert(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        Some((section, key)) => {
            let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            if let Some(section) = section.as_table_mut() {
                insert(section, key, value);
            }
        }
        None => {
            table.insert(key.to_owned(), value);
        }
    }
}

/// Removes a key from its section, and the section if it is then empty.
pub fn remove(table: &mut Table, key: &str) -> Option<Value> {
    let (name, key) = key.split_once('.')?;
    let section = table.get_mut(name)?.as_table_mut()?;
    let value = section.remove(key)?;
    if section.is_empty() {
        table.remove(name);
    }
    Some(value)
}

/// Removes the section that a key is in, if it is empty: after a setting has moved, its section may be left.
pub fn remove_empty_section(table: &mut Table, key: &str) {
    let section = key.split_once('.').map_or(key, |(section, _)| section);
    if table.get(section).and_then(Value::as_table).is_some_and(Table::is_empty) {
        table.remove(section);
    }
}

//! What a refused setting is told: source, key, what was found and what is allowed.

use super::{
    duration,
    keys::{Source, Sources, keys, lookup, variable},
};
use crate::failure::Failure;
use std::net::SocketAddr;
use toml::{Table, Value};

/// How many settings an unknown one is compared to in its message.
const NEAREST: usize = 3;

/// A setting that is out of bounds, contradicts another, or is of no known name.
pub fn invalid(sources: &Sources, key: &str, why: &str) -> Failure {
    // A table has no source itself; any key in it has the same one. Roles are checked together.
    let beneath = if key.starts_with("roles.") { "roles.".to_owned() } else { format!("{key}.") };
    let source = sources.get(key).or_else(|| sources.iter().find(|(k, _)| key == "." || k.starts_with(&beneath)).map(|(_, source)| source));
    match source {
        Some(source) => Failure::config(format!("{source}: {key}: {why}")),
        None => Failure::config(format!("{key}: {why}")),
    }
}

/// A value that has not the type of its setting.
pub fn mistyped(sources: &Sources, key: &str, found: Option<&Value>, default: Option<&Value>, why: &str) -> Failure {
    let why = why.replace('\n', " ");
    let (why, found) = (why.trim(), found.map(ToString::to_string));
    match (found, default.and_then(|default| allowed(default, why))) {
        (Some(found), Some(allowed)) => invalid(sources, key, &format!("found {found}, allowed: {allowed}")),
        (Some(found), None) if !why.contains(found.trim_matches('"')) => invalid(sources, key, &format!("found {found}: {why}")),
        _ => invalid(sources, key, why),
    }
}

/// What a setting with this default takes, if that says more than the parser does.
fn allowed(default: &Value, why: &str) -> Option<String> {
    let is_of_another_type = why.starts_with("invalid type");
    if let Some((_, names)) = why.split_once("expected one of ").filter(|_| why.starts_with("unknown variant")) {
        return Some(names.replace('`', ""));
    }
    let text = match default {
        Value::Boolean(_) => "true or false",
        Value::Integer(_) if why.starts_with("invalid value: integer") && !why.contains("`-") => "a smaller number",
        Value::Integer(_) => "a whole number, 0 or more",
        Value::Array(_) if is_of_another_type => "a list of texts",
        Value::String(text) if humantime::parse_duration(text).is_ok() => duration::ALLOWED,
        Value::String(text) if text.parse::<SocketAddr>().is_ok() => "an address and a port, such as 127.0.0.1:3000",
        Value::String(_) if is_of_another_type => "a text",
        _ => return None,
    };
    Some(text.to_owned())
}

/// A setting that does not exist. The message names those that are spelt most like it.
pub fn unknown(source: &Source, key: &str, defaults: &Table) -> Failure {
    let known = keys(defaults);
    let none = "there is no such setting; nearest:";
    Failure::config(
        match source {
            Source::Variable(name) => format!("{source}: {none} {}", nearest(name, known.iter().map(|key| variable(key)))),
            _ => format!("{source}: {key}: {none} {}", nearest(key, known.into_iter())),
        } + " (`doorward config show` has all)",
    )
}

fn nearest(wrong: &str, names: impl Iterator<Item = String>) -> String {
    let mut names: Vec<_> = names.map(|name| (strsim::jaro_winkler(wrong, &name), name)).collect();
    names.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    names.into_iter().take(NEAREST).map(|(_, name)| name).collect::<Vec<_>>().join(", ")
}

/// A file with a setting that is in no place where one can be.
pub fn require_known(settings: &Table, source: &Source, defaults: &Table) -> Result<(), Failure> {
    keys(settings).iter().find(|key| lookup(defaults, key).is_none()).map_or(Ok(()), |key| Err(unknown(source, key, defaults)))
}

/// A setting that is there by its old name and its new one.
pub fn twice(source: &Source, old: &str, new: &str) -> Failure {
    Failure::config(format!("{source}: found both {old} and {new}, which are one setting: remove {old}"))
}

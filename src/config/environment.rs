//! The environment variables with our prefix. Kubernetes and compose files put variables there too, some of
//! them with our prefix, and values may be bytes that are not UTF-8. A bad variable must end a start with a
//! message that names it, never with a panic, and never with its value.

use crate::failure::Failure;
use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
};

const PREFIX: &str = "DOORWARD_";

/// The variables whose names begin with `DOORWARD_`.
#[derive(Default)]
pub struct Environment(BTreeMap<String, OsString>);

impl Environment {
    /// Reads the environment of this process.
    #[must_use]
    pub fn of_process() -> Self {
        std::env::vars_os().collect()
    }

    /// The value of a variable, as bytes.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(name).map(OsString::as_os_str)
    }

    /// The value of a variable that must be text.
    ///
    /// # Errors
    /// The value is not UTF-8; the message names the variable and does not show the value.
    pub fn text(&self, name: &str) -> Result<Option<&str>, Failure> {
        let not_text = || Failure::config(format!("environment variable {name}: found bytes that are no UTF-8, allowed: text"));
        self.get(name).map(|value| value.to_str().ok_or_else(not_text)).transpose()
    }

    /// The names of all variables.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether a variable was set by Kubernetes to tell where a service named `doorward` is
    /// (`DOORWARD_PORT=tcp://10.0.0.9:3000`, `DOORWARD_SERVICE_HOST` …), or is one that compose files use for the
    /// image. Neither is a setting.
    #[must_use]
    pub fn is_set_by_platform(&self, name: &str) -> bool {
        let Some(rest) = name.strip_prefix(PREFIX) else { return false };
        let is_link =
            |value: &OsStr| value.to_str().is_some_and(|value| ["tcp://", "udp://", "sctp://"].iter().any(|p| value.starts_with(p)));
        let after = |part: &str| format!("_{rest}").split_once(part).map(|(_, end)| end.to_owned());
        let is_port = |end: String| {
            let mut parts = end.splitn(3, '_');
            let number = parts.next().is_some_and(|port| port.parse::<u16>().is_ok());
            let protocol = parts.next().is_some_and(|protocol| matches!(protocol, "TCP" | "UDP" | "SCTP"));
            number && protocol && parts.next().is_none_or(|what| matches!(what, "ADDR" | "PORT" | "PROTO"))
        };
        matches!(rest, "VERSION" | "IMAGE")
            || after("_SERVICE_HOST").is_some_and(|end| end.is_empty())
            || after("_SERVICE_PORT").is_some_and(|end| end.is_empty() || end.starts_with('_'))
            || after("_PORT").is_some_and(|end| end.is_empty()) && self.get(name).is_some_and(is_link)
            || after("_PORT_").is_some_and(is_port)
    }
}

impl FromIterator<(OsString, OsString)> for Environment {
    fn from_iter<I: IntoIterator<Item = (OsString, OsString)>>(variables: I) -> Self {
        let ours = variables.into_iter().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        Self(ours.filter(|(name, _)| name.starts_with(PREFIX)).collect())
    }
}

#[cfg(test)]
impl Environment {
    /// An environment with these variables.
    pub(super) fn with(variables: &[(&str, &str)]) -> Self {
        variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    #[test]
    fn what_others_put_there_is_told_from_settings() {
        for (name, value) in [
            ("DOORWARD_PORT", "tcp://10.0.0.9:3000"),
            ("DOORWARD_SERVICE_HOST", "10.0.0.9"),
            ("DOORWARD_SERVICE_PORT", "3000"),
            ("DOORWARD_SERVICE_PORT_HTTP", "3000"),
            ("DOORWARD_PORT_3000_TCP", "tcp://10.0.0.9:3000"),
            ("DOORWARD_PORT_3000_TCP_ADDR", "10.0.0.9"),
            ("DOORWARD_PORT_3000_TCP_PORT", "3000"),
            ("DOORWARD_PORT_3000_UDP_PROTO", "udp"),
            ("DOORWARD_LOGIN_SERVICE_HOST", "10.0.0.9"),
            ("DOORWARD_VERSION", "0.1.0"),
        ] {
            assert!(Environment::with(&[(name, value)]).is_set_by_platform(name), "{name}");
        }
        for (name, value) in [
            ("DOORWARD_PORT", "3000"),
            ("DOORWARD_SERVER_PORT", "3000"),
            ("DOORWARD_PORT_X_TCP", "tcp://10.0.0.9:3000"),
            ("DOORWARD_PORT_3000_TCP_NAME", "x"),
            ("DOORWARD_SERVICE_HOSTS", "x"),
            ("DOORWARD_TOKENS_ACESS_TTL", "1m"),
        ] {
            assert!(!Environment::with(&[(name, value)]).is_set_by_platform(name), "{name}");
        }
    }

    #[test]
    fn log_1_bytes_that_are_no_text_are_refused_by_name_and_only_where_they_are_ours() {
        let raw = |text: &[u8]| OsString::from_vec(text.to_vec());
        let environment: Environment =
            [(raw(b"OTHERS"), raw(b"\xfe")), (raw(b"DOORWARD_\xff"), raw(b"x")), (raw(b"DOORWARD_LOG_LEVEL"), raw(b"\xfehidden"))]
                .into_iter()
                .collect();
        assert_eq!(environment.names().collect::<Vec<_>>(), ["DOORWARD_LOG_LEVEL"]);
        let failure = environment.text("DOORWARD_LOG_LEVEL").expect_err("no text");
        assert!(failure.to_string().contains("DOORWARD_LOG_LEVEL") && !failure.to_string().contains("hidden"), "{failure}");
    }
}

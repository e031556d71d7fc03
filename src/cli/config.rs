//! `doorward config …`

use super::output::print;
use crate::{
    config::{Loaded, OperatorSecrets, keys},
    failure::Failure,
    server,
};
use clap::Subcommand;
use serde_json::json;
use std::collections::BTreeMap;

#[derive(Subcommand)]
pub enum Command {
    /// Read all settings and say whether they are good
    Check,
    /// Show all settings and where each came from; secrets are masked
    Show,
}

pub fn run(command: &Command, loaded: &Loaded, secrets: &OperatorSecrets, json: bool) -> Result<(), Failure> {
    match command {
        // `load` has already refused invalid settings; what files of theirs are worth, and warnings are left.
        Command::Check => {
            let of_files = server::check_files(&loaded.settings)?;
            let warnings = loaded.renamed.iter().cloned().chain(loaded.settings.warnings()).chain(secrets.warnings.iter().cloned());
            let warnings: Vec<_> = warnings.chain(of_files).collect();
            print(json, &json!({ "ok": true, "warnings": warnings }), |_| {
                let warned = warnings.iter().map(|warning| format!("warning: {warning}\n"));
                format!("{}all settings are good", warned.collect::<String>())
            })
        }
        Command::Show => {
            let shown = |set: bool| if set { "***" } else { "from the keyring" };
            let secrets = [
                ("DOORWARD_ACCESS_SECRET", shown(secrets.access.is_some())),
                ("DOORWARD_REFRESH_SECRET", shown(secrets.refresh.is_some())),
            ];
            let text = toml::to_string(&loaded.settings).map_err(|error| Failure::new(error.to_string()))?;
            let values: toml::Table = text.parse().map_err(|error: toml::de::Error| Failure::new(error.to_string()))?;
            let sources: BTreeMap<_, _> = keys(&values).into_iter().map(|key| (key.clone(), loaded.source(&key))).collect();
            let answer = json!({ "settings": values, "sources": sources, "secrets": secrets.iter().copied().collect::<BTreeMap<_, _>>() });
            print(json, &answer, |_| show(&values, loaded, &secrets))
        }
    }
}

fn show(values: &toml::Table, loaded: &Loaded, secrets: &[(&str, &str)]) -> String {
    let mut lines = Vec::new();
    let line = |key: &str, name: &str, value: &toml::Value| {
        let source = loaded.source(key);
        format!("{:<50} # {source}", format!("{name} = {value}"))
    };
    for (name, value) in values.iter().filter(|(_, value)| !value.is_table()) {
        lines.push(line(name, name, value));
    }
    for (section, table) in values.iter().filter_map(|(name, value)| Some((name, value.as_table()?))) {
        lines.push(format!("\n[{section}]"));
        for (name, value) in table {
            lines.push(line(&format!("{section}.{name}"), name, value));
        }
    }
    lines.push("\n# secrets".into());
    lines.extend(secrets.iter().map(|(name, shown)| format!("# {name} = {shown}")));
    lines.join("\n")
}

//! `doorward check`

use super::output::print;
use crate::failure::Failure;
use serde_json::Value;

/// Prints the report of the check. Any violation is a failure (exit 65).
pub fn run(report: &Value, json: bool) -> Result<(), Failure> {
    let violations: Vec<_> = report["violations"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    print(json, report, |report| {
        let counts = report["counts"].as_object().into_iter().flatten();
        let mut lines: Vec<_> = counts.map(|(table, count)| format!("{table:<20}{count}")).collect();
        lines.extend(violations.iter().map(ToString::to_string));
        if violations.is_empty() {
            lines.push("everything is as it was written".into());
        }
        lines.join("\n")
    })?;
    match violations.len() {
        0 => Ok(()),
        found => {
            Err(Failure::data(format!("{found} violation(s): bring the data directory back from a backup, or delete the users concerned")))
        }
    }
}

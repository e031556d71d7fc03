//! `doorward check`

use super::output::print;
use crate::failure::Failure;
use serde_json::Value;

/// Prints a report; violations are a failure (exit 65).
pub fn run(report: &Value, json: bool) -> Result<(), Failure> {
    let violations: Vec<_> = report["violations"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    print(json, report, |report| {
        for (table, count) in report["counts"].as_object().into_iter().flatten() {
            println!("{table:<20}{count}");
        }
        violations.iter().for_each(|violation| println!("{violation}"));
        if violations.is_empty() {
            println!("everything is as it was written");
        }
    })?;
    match violations.len() {
        0 => Ok(()),
        found => {
            Err(Failure::data(format!("{found} violation(s): bring the data directory back from a backup, or delete the users concerned")))
        }
    }
}

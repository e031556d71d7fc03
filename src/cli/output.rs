//! How commands print: JSON for machines, columns for people, the same facts in both.

use crate::failure::Failure;
use serde_json::Value;
use std::io::{IsTerminal, Write};

/// Prints an answer as JSON, or as `human` does.
pub fn print(json: bool, answer: &Value, human: impl FnOnce(&Value)) -> Result<(), Failure> {
    if json {
        let text = serde_json::to_string_pretty(answer).map_err(|error| Failure::new(error.to_string()))?;
        println!("{text}");
    } else {
        human(answer);
    }
    Ok(())
}

/// A member of an answer as text; nothing when it is not there.
pub fn text<'a>(answer: &'a Value, member: &str) -> std::borrow::Cow<'a, str> {
    match &answer[member] {
        Value::String(text) => text.as_str().into(),
        Value::Null => "".into(),
        other => other.to_string().into(),
    }
}

/// Rows under headings, as wide as they need.
pub fn table<const N: usize>(headings: [&str; N], rows: impl IntoIterator<Item = [String; N]>) {
    let mut lines = vec![headings.map(str::to_uppercase)];
    lines.extend(rows);
    let widths: Vec<_> = (0..N).map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0)).collect();
    for line in &lines {
        let cells: Vec<_> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        println!("{}", cells.join("  ").trim_end());
    }
}

/// Asks yes or no; anything but yes is no. Without a terminal there is nobody to ask.
pub fn confirm(question: &str) -> Result<(), Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new(format!("{question} Nobody is there to confirm it: say --yes")));
    }
    eprint!("{question} [y/N] ");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    if read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err(Failure::new("nothing was changed")) }
}

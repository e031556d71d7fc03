//! How commands print: JSON for machines, columns for people, the same facts in both. Writing to
//! standard output may fail: the disk may be full, or the reader of a pipe may have ended.

use crate::failure::Failure;
use serde_json::Value;
use std::io::{self, IsTerminal, Write};

/// Prints an answer as JSON, or as `human` formats it. A closed pipe is no error: its reader wanted no more.
///
/// # Errors
/// Standard output cannot be written; exit 74.
pub fn print(json: bool, answer: &Value, human: impl FnOnce(&Value) -> String) -> Result<(), Failure> {
    let text = if json { serde_json::to_string_pretty(answer).map_err(|error| Failure::new(error.to_string()))? } else { human(answer) };
    match write(&text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::io(format!("stdout: cannot be written: {error}"))),
        _ => Ok(()),
    }
}

/// Writes lines to standard output, with exactly one line end after the last.
pub fn write(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.trim_end_matches('\n').as_bytes())?;
    stdout.write_all(b"\n")?;
    stdout.flush()
}

/// A member of an answer as text; empty if it is missing.
pub fn text<'a>(answer: &'a Value, member: &str) -> std::borrow::Cow<'a, str> {
    match &answer[member] {
        Value::String(text) => text.as_str().into(),
        Value::Null => "".into(),
        other => other.to_string().into(),
    }
}

/// Formats rows under headings, each column as wide as its longest cell.
pub fn table<const N: usize>(headings: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut lines = vec![headings.map(str::to_uppercase)];
    lines.extend(rows);
    let widths: Vec<_> = (0..N).map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0)).collect();
    let line = |line: &[String; N]| {
        let cells: Vec<_> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Asks a yes-or-no question; anything but yes counts as no. Fails if stdin is no terminal.
pub fn confirm(question: &str) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new(format!("{question} Nobody is there to confirm it: say --yes")));
    }
    // If stderr cannot be written, wait for the answer all the same.
    let _ = write!(io::stderr(), "{question} [y/N] ");
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer);
    if read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err(Failure::new("nothing was changed")) }
}

//! `doorward proxy-config`: the configuration of a proxy that asks the gate before each request to an app.
//!
//! The files beside this one are what is printed, but for names and addresses.

mod render;
mod template;
#[cfg(test)]
mod tests;

pub use render::{DEFAULT_UPSTREAM, Options, Origin, PrintedFile, Proxy, Target, render};

use super::output::print;
use crate::failure::Failure;
use serde_json::json;
use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// What the command is given.
#[derive(clap::Args)]
pub struct Args {
    /// Whose configuration
    #[arg(value_enum)]
    proxy: Proxy,
    /// The app, by its name in the settings
    #[arg(value_name = "APP")]
    app: String,
    #[command(flatten)]
    options: Options,
    /// Which file to print, of a proxy that needs two
    #[arg(long, value_enum, default_value = "main", conflicts_with = "out")]
    file: Part,
    /// Write all files into this directory, over those of the same names
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// A file of a proxy that needs two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// The proxy's configuration
    Main,
    /// The script it runs
    Lua,
}

/// Prints or writes the configuration for an app, of which `find` knows the facts.
///
/// # Errors
/// There is no such app, a value cannot be written into such a file, or the disk failed.
pub fn run(args: &Args, json: bool, find: impl FnOnce(&str) -> Result<Target, Failure>) -> Result<(), Failure> {
    let target = find(&args.app)?;
    if let Some(directory) = &args.out {
        let directory = std::path::absolute(directory).map_err(|error| unwritten(directory, &error))?;
        let files = render(args.proxy, &target, &args.options, directory.to_str()).map_err(Failure::new)?;
        let written = write_all(&directory, &files)?;
        return print(json, &json!({ "written": written }), |_| written.join("\n"));
    }
    let files = render(args.proxy, &target, &args.options, None).map_err(Failure::new)?;
    let wanted = match args.file {
        Part::Main => files.first(),
        Part::Lua => files.get(1),
    };
    let file = wanted.ok_or_else(|| Failure::new("--file lua: this proxy needs no script"))?;
    print(json, &json!({ "name": file.name, "text": file.text }), |_| file.text.clone())
}

/// Writes the files, for the proxy's user to read as well: nothing in them is secret. Returns their paths.
fn write_all(directory: &Path, files: &[PrintedFile]) -> Result<Vec<String>, Failure> {
    files
        .iter()
        .map(|file| {
            let path = directory.join(file.name);
            fs::write(&path, &file.text)
                .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o644)))
                .map_err(|error| unwritten(&path, &error))?;
            Ok(path.display().to_string())
        })
        .collect()
}

fn unwritten(path: &Path, error: &io::Error) -> Failure {
    Failure::io(format!("{}: cannot be written: {error}", path.display()))
}

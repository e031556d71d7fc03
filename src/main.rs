//! Parses the arguments and sets the exit code; everything else is in the library.

use clap::Parser;
use doorward::cli::Cli;
use std::{io::Write, process::ExitCode};

fn main() -> ExitCode {
    match doorward::cli::run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // If stderr cannot be written either, there is nowhere left to report it.
            let _ = writeln!(std::io::stderr(), "doorward: {failure}");
            ExitCode::from(failure.code())
        }
    }
}

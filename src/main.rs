//! Arguments in, exit code out; everything else is the library's.

use clap::Parser;
use doorward::cli::Cli;
use std::{io::Write, process::ExitCode};

fn main() -> ExitCode {
    match doorward::cli::run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody is left to be told where stderr takes no more.
            let _ = writeln!(std::io::stderr(), "doorward: {failure}");
            ExitCode::from(failure.code())
        }
    }
}

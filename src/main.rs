//! Arguments in, exit code out; everything else is the library's.

use clap::Parser;
use doorward::cli::Cli;
use std::process::ExitCode;

fn main() -> ExitCode {
    match doorward::cli::run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("doorward: {failure}");
            ExitCode::from(failure.code())
        }
    }
}

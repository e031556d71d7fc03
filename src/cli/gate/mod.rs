//! `doorward gate …`, and what `doorward proxy-config` needs of the settings.

mod apps;
mod check;
mod explain;
mod probe;

pub use apps::target;

use super::{control::Request, output::print};
use crate::{config::Settings, failure::Failure};
use clap::Subcommand;
use serde_json::Value;

#[derive(Subcommand)]
pub enum Command {
    /// Say who passes to an address, and which rule decides
    Explain {
        /// The address, as a browser has it
        url: String,
        /// Who asks: e-mail address or id; nobody if left out
        #[arg(long)]
        user: Option<String>,
        /// The request's method
        #[arg(long, default_value = "GET")]
        method: String,
    },
    /// Ask an app's public address from outside, signed out, and say what lets in whom it should not. It needs curl
    Check(check::Args),
}

pub fn run(command: Command, settings: &Settings, json: bool, send: impl Fn(Request) -> Result<Value, Failure>) -> Result<(), Failure> {
    match command {
        Command::Explain { url, user, method } => {
            let user = user.map(|user| send(Request::UserShow { user })).transpose()?;
            print(json, &explain::explain(settings, &url, &method, user.as_ref())?, explain::shown)
        }
        Command::Check(args) => check::run(&args, settings, json),
    }
}

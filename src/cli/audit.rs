//! `doorward audit`

use super::{
    control::Request,
    output::{self, text},
};
use crate::{failure::Failure, service::audit::QueryWords};
use serde_json::Value;
use std::{io, time::Duration};

/// How often a command that follows asks for news.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

#[derive(clap::Args)]
pub struct Args {
    /// Go on with what happens from now on
    #[arg(long, short)]
    follow: bool,
    /// How many events, the latest ones; 0 is all that meet the conditions
    #[arg(long, short = 'n', default_value_t = 100)]
    limit: usize,
    /// Only events of these kinds, with commas between
    #[arg(long)]
    event: Option<String>,
    /// Only about this user, done by or to them: e-mail address, id, or the name of a service account
    #[arg(long)]
    user: Option<String>,
    /// Only done by: a user's id, operator, server or anyone
    #[arg(long)]
    actor: Option<String>,
    /// Only about this session
    #[arg(long)]
    session: Option<String>,
    /// Only from this address
    #[arg(long)]
    address: Option<String>,
    /// From then on: 2026-01-31T12:00:00Z, or how long ago: 24h
    #[arg(long)]
    since: Option<String>,
    /// Until then: 2026-01-31T12:00:00Z, or how long ago: 24h
    #[arg(long)]
    until: Option<String>,
}

/// Prints events, the latest last: one JSON object a line, or columns.
///
/// `send` asks a server or opens the data directory; `ask` asks a server only.
pub fn run(
    args: Args,
    json: bool,
    send: impl Fn(Request) -> Result<Value, Failure>,
    ask: impl Fn(Request) -> Result<Value, Failure>,
) -> Result<(), Failure> {
    let Args { follow, limit, event, user, actor, session, address, since, until } = args;
    let words = QueryWords { event, user, actor, session, address, since, until };
    let limit = if limit == 0 { usize::MAX } else { limit };
    let (mut pages, mut before, mut left) = (Vec::new(), None, limit);
    let last = loop {
        let page = send(Request::Audit { words: words.clone(), before: before.clone(), after: None, limit: left })?;
        left = left.saturating_sub(events(&page).len());
        before = page["next"].as_str().map(str::to_owned);
        pages.push(page);
        if left == 0 || before.is_none() {
            break text(&pages[0], "last").into_owned();
        }
    };
    let newest_last = pages.iter().rev().flat_map(|page| events(page).iter().rev().map(move |event| line(page, event, json)));
    let is_open = print(newest_last)?;
    if follow && is_open { follow_on(&words, last, json, ask) } else { Ok(()) }
}

/// Prints what happens from now on, until the server stops or nobody reads.
fn follow_on(words: &QueryWords, mut last: String, json: bool, ask: impl Fn(Request) -> Result<Value, Failure>) -> Result<(), Failure> {
    loop {
        let page = ask(Request::Audit { words: words.clone(), before: None, after: Some(last.clone()), limit: usize::MAX })?;
        if !print(events(&page).iter().map(|event| line(&page, event, json)))? {
            return Ok(());
        }
        match page["next"].as_str() {
            // There is more already.
            Some(next) => next.clone_into(&mut last),
            None => {
                last = text(&page, "last").into_owned();
                std::thread::sleep(POLL_INTERVAL);
            }
        }
    }
}

fn events(page: &Value) -> &[Value] {
    page["events"].as_array().map_or(&[], Vec::as_slice)
}

/// Prints lines. Returns whether somebody still reads.
fn print(lines: impl Iterator<Item = String>) -> Result<bool, Failure> {
    for line in lines {
        match output::write(&line) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(false),
            Err(error) => return Err(Failure::io(format!("stdout: cannot be written: {error}"))),
        }
    }
    Ok(true)
}

/// One event in one line: when, what, who, to whom, from where, and the rest.
fn line(page: &Value, event: &Value, json: bool) -> String {
    if json {
        return event.to_string();
    }
    let named = |member: &str| {
        let id = text(event, member);
        page["users"][&*id].as_str().map_or_else(|| id.clone().into_owned(), str::to_owned)
    };
    let target = match (text(event, "target"), text(event, "actor")) {
        (target, actor) if target == actor => String::new(),
        _ => named("target"),
    };
    let rest = ["session", "role", "key", "app", "invite", "path", "more", "why"];
    let rest = rest.into_iter().filter(|member| !event[*member].is_null()).map(|member| format!("{member}={}", text(event, member)));
    let columns = [
        format!("{:<24}", text(event, "at")),
        format!("{:<22}", text(event, "event")),
        named("actor"),
        if target.is_empty() { String::new() } else { format!("→ {target}") },
        text(event, "from").into_owned(),
    ];
    let columns = columns.into_iter().chain(rest).filter(|column| !column.is_empty());
    columns.collect::<Vec<_>>().join("  ").trim_end().to_owned()
}

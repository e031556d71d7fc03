//! `doorward backup` and `doorward restore`

use super::{
    control,
    output::print,
    process::{log_warnings_only, runtime},
    progress::Progress,
};
use crate::{
    app::App,
    config::{Loaded, OperatorSecrets, Settings},
    data::{self, Header, News, Restoring, Summary},
    domain::Clock,
    failure::Failure,
};
use serde_json::{Value, json};
use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    /// Where to write it; - is stdout
    #[arg(required = true)]
    file: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Show that a backup can be restored; nothing is touched
    Verify {
        /// The backup; - is stdin
        file: PathBuf,
    },
}

#[derive(clap::Args)]
pub struct RestoreArgs {
    /// The backup; - is stdin
    file: PathBuf,
    /// Also where there is an installation: it is kept beside the restored one
    #[arg(long)]
    replace: bool,
}

/// Makes or verifies a backup.
pub fn run(args: Args, json: bool, loaded: &Loaded, secrets: &OperatorSecrets) -> Result<(), Failure> {
    match (args.command, args.file) {
        (Some(Command::Verify { file }), _) => verify(&file, json),
        (None, Some(file)) => make(&file, json, loaded, secrets),
        // The command line is refused before.
        (None, None) => Ok(()),
    }
}

fn is_standard(file: &Path) -> bool {
    file.as_os_str() == "-"
}

fn make(file: &Path, json: bool, loaded: &Loaded, secrets: &OperatorSecrets) -> Result<(), Failure> {
    // As the one to whom the data belongs: what root may write to, they may not.
    let owner = data::act_as_owner(&loaded.settings.server.data_dir, loaded.discovered_file())?;
    let progress = Progress::new("backing up", None);
    let write = |out: &mut dyn Write| control::write_backup(loaded, secrets, &mut progress.writing(out));
    if is_standard(file) {
        let mut stdout = BufWriter::new(io::stdout().lock());
        let summary = write(&mut stdout)?;
        stdout.flush().map_err(|error| Failure::io(format!("stdout: cannot be written: {error}")))?;
        drop(progress);
        // Stdout has the backup: what is said of it goes elsewhere.
        let _ = writeln!(io::stderr(), "{}", made(&answer(file, &summary)));
        return Ok(());
    }
    let summary = data::write_backup(file, &loaded.settings.backup.pipe, write).map_err(|failure| match owner {
        Some(owner) => Failure::with_code(
            failure.code(),
            format!("{failure} (as root, this works as {owner}: name a place of theirs, or `doorward backup - > FILE`)"),
        ),
        None => failure,
    })?;
    drop(progress);
    print(json, &answer(file, &summary), made)
}

fn answer(file: &Path, summary: &Summary) -> Value {
    json!({
        "file": file.display().to_string(),
        "rows": summary.rows(),
        "users": summary.of_table(b'u'),
        "sessions": summary.of_table(b's'),
        "sha256": summary.sha256,
    })
}

fn made(answer: &Value) -> String {
    format!(
        "{}: {} users, {} sessions, {} rows in all",
        answer["file"].as_str().unwrap_or_default(),
        answer["users"],
        answer["sessions"],
        answer["rows"]
    )
}

/// Opens a backup and says how long it is, if that is known.
fn open(file: &Path) -> Result<(Box<dyn Read>, Option<u64>), Failure> {
    if is_standard(file) {
        return Ok((Box::new(io::stdin()), None));
    }
    let failed = |error: io::Error| Failure::io(format!("{}: cannot be read: {error}", file.display()));
    let opened = File::open(file).map_err(failed)?;
    let found = opened.metadata().map_err(failed)?;
    Ok((Box::new(opened), found.is_file().then_some(found.len())))
}

fn named(file: &Path) -> impl Fn(Failure) -> Failure {
    let name = if is_standard(file) { "stdin".to_owned() } else { file.display().to_string() };
    move |failure| Failure::with_code(failure.code(), format!("{name}: {failure}"))
}

fn verify(file: &Path, json: bool) -> Result<(), Failure> {
    let (input, length) = open(file)?;
    let progress = Progress::new("verifying", length);
    let input = BufReader::new(progress.reading(input));
    let verified = runtime()?.block_on(data::verify(input, Clock::default().now())).map_err(named(file))?;
    drop(progress);
    let answer = json!({
        "release": verified.header.release,
        "createdAt": verified.header.created_at,
        "schema": verified.header.schema,
        "sha256": verified.summary.sha256,
        "counts": verified.report.counts,
        "violations": verified.report.violations,
    });
    print(json, &answer, |answer| {
        let end = if verified.report.violations.is_empty() {
            "it can be restored"
        } else {
            "it can be restored, and was damaged already when it was made"
        };
        format!("of {} (release {})\n{}\n{end}", verified.header.created_at, verified.header.release, counts(answer))
    })?;
    match verified.report.violations.len() {
        0 => Ok(()),
        found => Err(Failure::data(format!("{found} violation(s) in the database that it was made of: take another backup"))),
    }
}

fn counts(answer: &Value) -> String {
    let counts = answer["counts"].as_object().into_iter().flatten().map(|(table, count)| format!("{table:<20}{count}"));
    let violations = answer["violations"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
    counts.chain(violations).collect::<Vec<_>>().join("\n")
}

/// Restores a backup.
pub fn restore(args: &RestoreArgs, json: bool, loaded: &Loaded, secrets: &OperatorSecrets) -> Result<(), Failure> {
    let settings = &loaded.settings;
    // Opened as who asks: a backup may be for root alone.
    let (input, length) = open(&args.file)?;
    data::act_as_owner(&settings.server.data_dir, loaded.discovered_file())?;
    log_warnings_only(settings);
    let data_dir = Restoring::target(&settings.server.data_dir, args.replace)?;
    let answer = runtime()?.block_on(async {
        let progress = Progress::new("restoring", length);
        let input = BufReader::new(progress.reading(input));
        let restoring = Restoring::read(data_dir, input).await.map_err(named(&args.file))?;
        drop(progress);
        let lost = restoring.lost().await;
        let counts = end_everything(settings, secrets, &restoring).await?;
        let (header, summary) = (restoring.header.clone(), restoring.summary.clone());
        let replaced = restoring.place_it(Clock::default().now())?;
        Ok::<_, Failure>(restored(&header, &summary, &counts, lost, replaced))
    })?;
    print(json, &answer, |answer| {
        let lines = answer["said"].as_array().into_iter().flatten().filter_map(Value::as_str);
        std::iter::once(counts(answer)).chain(lines.map(str::to_owned)).collect::<Vec<_>>().join("\n")
    })
}

/// Opens the restored data as a start would, and ends what must not live again. Returns what the database has.
async fn end_everything(settings: &Settings, secrets: &OperatorSecrets, restoring: &Restoring) -> Result<Value, Failure> {
    let mut settings = settings.clone();
    restoring.place().clone_into(&mut settings.server.data_dir);
    let app = App::open(&settings, secrets).await?;
    app.end_everything(format!("restored from a backup of {}: every session and API key was ended", restoring.header.created_at)).await?;
    let report = app.check().await?;
    drop(app);
    // A copy of a database of an earlier release: the backup is that already.
    let _ = fs::remove_dir_all(restoring.place().join("backups"));
    serde_json::to_value(report).map_err(|error| Failure::new(error.to_string()))
}

fn restored(header: &Header, summary: &Summary, report: &Value, lost: Result<Option<News>, Failure>, replaced: Option<PathBuf>) -> Value {
    let mut said = vec![
        format!("restored as of {}", header.created_at),
        "every session and API key was ended: people sign in again, keys are made anew".to_owned(),
        "passwords, roles and who is disabled are as they were then".to_owned(),
    ];
    let mut news = Value::Null;
    match lost {
        Ok(None) => {}
        Ok(Some(lost)) => {
            news = json!({ "users": lost.users, "events": lost.events, "latest": lost.latest });
            said.push(older(lost));
        }
        Err(failure) => said.push(format!("what was there cannot be read, so it is not known what it has beyond the backup: {failure}")),
    }
    if let Some(replaced) = &replaced {
        said.push(format!("what was there is in {}: remove it once you are sure", replaced.display()));
    }
    json!({
        "createdAt": header.created_at,
        "release": header.release,
        "sha256": summary.sha256,
        "counts": report["counts"],
        "violations": report["violations"],
        "lost": news,
        "replaced": replaced.map(|path| path.display().to_string()),
        "said": said,
    })
}

fn older(lost: News) -> String {
    match lost.latest {
        None if lost.users == 0 => "the database that it replaces has nothing newer".to_owned(),
        latest => format!(
            "it is older than the database that it replaces: that has {} events more{} and {} users whom the backup does not know",
            lost.events,
            latest.map(|at| format!(", the latest of {at},")).unwrap_or_default(),
            lost.users
        ),
    }
}

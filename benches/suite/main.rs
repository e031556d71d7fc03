//! The benchmark suite: `benches/run`, or `cargo bench --package doorward-bench -- --help`. What it measures and
//! how is in `benches/README.md`.

mod count;
mod gate;
mod generator;
mod goals;
mod host;
mod measure;
mod peer;
mod plot;
mod process;
mod report;
mod sections;
mod seed;
mod signatures;

use clap::{Parser, Subcommand};
use doorward::{config::Flags, domain::Algorithm};
use std::{
    env,
    error::Error,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

/// Measures Doorward beside its limits and its peers.
#[derive(Parser)]
struct Cli {
    /// A quick run over everything, to see that it works: its figures mean nothing
    #[arg(long)]
    smoke: bool,
    /// Sections: tokens, signatures, gate, refresh, logout, hashing, flood, start, scale
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Contenders, by the names in benches/peers/*/peer.toml
    #[arg(long, value_delimiter = ',')]
    contenders: Vec<String>,
    /// Operations of the section `tokens`
    #[arg(long, value_delimiter = ',')]
    operations: Vec<String>,
    /// Rounds, in each of which every contender has a turn
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of a turn; of one that hashes, three times as many
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Users of the large database
    #[arg(long, default_value_t = 1_000_000)]
    users: u64,
    /// Where results go
    #[arg(long, default_value_os_t = top().join("target/bench"))]
    out: PathBuf,
    #[command(subcommand)]
    command: Option<Command>,
    /// Given by cargo, behind everything else
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Draw the plots and the tables of a run again
    Report,
    /// Measure what it costs to count one event for the metrics
    Count,
    /// What the suite starts of itself
    #[command(hide = true, subcommand)]
    Serve(Serve),
    #[command(hide = true, subcommand)]
    Loop(Loop),
    #[command(hide = true)]
    Seed {
        #[arg(long)]
        users: u64,
        #[arg(long)]
        alone: bool,
        #[command(flatten)]
        flags: Flags,
    },
}

#[derive(Subcommand)]
enum Serve {
    NoFsync(Flags),
    Warp {
        #[arg(long)]
        listen: std::net::SocketAddr,
    },
}

#[derive(Subcommand)]
enum Loop {
    Scrypt {
        #[command(flatten)]
        span: Span,
    },
    Append {
        #[arg(long)]
        waiting: u32,
        #[command(flatten)]
        span: Span,
    },
    Signatures {
        #[arg(long)]
        algorithm: Algorithm,
        #[command(flatten)]
        span: Span,
    },
}

#[derive(clap::Args)]
struct Span {
    #[arg(long)]
    seconds: f64,
    #[arg(long)]
    directory: PathBuf,
}

/// The top of the repository.
fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package is a folder of the repository")
}

/// The path of the measured program: the one in the variable `DOORWARD`, or else the one that `benches/run` built.
fn doorward() -> io::Result<PathBuf> {
    if let Some(other) = env::var_os("DOORWARD") {
        return Ok(other.into());
    }
    // This program is target/release/deps/suite-….
    let built = env::current_exe()?.parent().and_then(Path::parent).map(|folder| folder.join("doorward"));
    built.filter(|built| built.is_file()).ok_or_else(|| io::Error::other("Doorward is not built: use benches/run"))
}

fn main() -> Result<(), Box<dyn Error>> {
    let cli = Cli::parse();
    if cli.bench {
        // Cargo starts benches in the folder of their package; paths on the command line are relative to the top.
        env::set_current_dir(top())?;
    }
    match cli.command {
        None => suite(&cli),
        Some(Command::Count) => {
            count::count();
            Ok(())
        }
        Some(Command::Report) => report::write(&report::read(&cli.out)?, &cli.out),
        Some(Command::Serve(Serve::NoFsync(flags))) => host::no_fsync(&flags),
        Some(Command::Serve(Serve::Warp { listen })) => host::warp(listen),
        Some(Command::Loop(Loop::Scrypt { span })) => {
            println!("{}", host::scrypt_loop(span.length())?);
            Ok(())
        }
        Some(Command::Loop(Loop::Append { waiting, span })) => {
            println!("{}", host::append_loop(&span.directory, waiting, span.length())?);
            Ok(())
        }
        Some(Command::Loop(Loop::Signatures { algorithm, span })) => {
            // Halves of one process take turns, so that both run as fast as the machine is at that time.
            let signed = signatures::Signed::new(algorithm);
            let turn = span.length() / 10;
            let turns: Vec<_> = (0..5).map(|_| (signed.first_sight(turn), signed.signatures(turn))).collect();
            eprintln!("first sight and signature alone, per second: {turns:.0?}");
            let ratio = turns.iter().map(|(first, _)| first).sum::<f64>() / turns.iter().map(|(_, alone)| alone).sum::<f64>();
            println!("{ratio}");
            Ok(())
        }
        Some(Command::Seed { users, alone, flags }) => seed::seed(&flags, users, alone),
    }
}

impl Span {
    fn length(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

fn suite(cli: &Cli) -> Result<(), Box<dyn Error>> {
    let doorward = doorward()?;
    let mut contenders = peer::all(&top().join("benches/peers"), &doorward)?;
    let smoke = ["doorward", "doorward-no-fsync", "warp", "express-map-tuned"].map(String::from);
    let wanted = if cli.smoke && cli.contenders.is_empty() { &smoke[..] } else { &cli.contenders };
    contenders.retain(|contender| wanted.is_empty() || wanted.contains(&contender.name));
    let (rounds, seconds, users) = if cli.smoke { (1, 0.2, 2000) } else { (cli.rounds, cli.seconds, cli.users) };
    // Long enough for one slow hash on every thread; otherwise a window could end without an answer.
    let (window, long) = (Duration::from_secs_f64(seconds), Duration::from_secs_f64((seconds * 3.0).max(4.0)));
    let data = cli.out.join("data");
    std::fs::create_dir_all(&data)?;
    contenders.iter().try_for_each(peer::Contender::install)?;
    process::stay_on_own_core()?;
    let plan = sections::Plan { contenders, operations: cli.operations.clone(), rounds, window, long, users, data, doorward };
    let mut results = measure::Results::default();
    for (name, section) in sections::SECTIONS {
        if cli.only.is_empty() || cli.only.iter().any(|only| only == name) {
            eprintln!("{name}");
            section(&plan, &mut results)?;
        }
    }
    let run = report::Run::of(results, &plan);
    report::write(&run, &cli.out)
}

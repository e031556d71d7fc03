//! Writes the results of a run as JSON, tables and plots.

use crate::{
    goals::{self, Goal},
    measure::{Results, Spread, Window},
    plot,
    sections::Plan,
};
use serde::{Deserialize, Serialize};
use std::{error::Error, fmt::Write, fs, path::Path, process::Command};

/// The results of a run, and the machine and plan behind them.
#[derive(Serialize, Deserialize)]
pub struct Run {
    /// Processor, kernel, versions.
    pub machine: Vec<String>,
    /// Rounds, seconds of a turn, users of the large database.
    pub plan: String,
    /// The measurements.
    pub results: Results,
}

impl Run {
    /// A run with these results, on this machine and today.
    pub fn of(results: Results, plan: &Plan) -> Self {
        let say = |program: &str, arguments: &[&str]| {
            let output = Command::new(program).args(arguments).output().ok();
            output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
        };
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default().trim_start_matches([' ', '\t', ':']);
        let cores = std::fs::read_dir("/sys/devices/system/cpu").into_iter().flatten().flatten();
        let cores = cores.filter(|entry| entry.file_name().to_string_lossy().strip_prefix("cpu").is_some_and(|n| n.parse::<u32>().is_ok()));
        let machine = vec![
            format!("{cpu}, {} cores", cores.count()),
            format!("Linux {}", say("uname", &["-r"])),
            say("rustc", &["--version"]),
            format!("Node.js {}", say("node", &["--version"])),
            say("date", &["-u", "+%Y-%m-%d"]),
        ];
        let plan = format!(
            "{} rounds, {} s a turn ({} s with hashing), {} users",
            plan.rounds,
            plan.window.as_secs_f64(),
            plan.long.as_secs_f64(),
            plan.users
        );
        Self { machine, plan, results }
    }
}

/// Reads the run that was last written.
pub fn read(out: &Path) -> Result<Run, Box<dyn Error>> {
    Ok(serde_json::from_slice(&fs::read(out.join("results.json"))?)?)
}

/// Writes everything, and prints the table of goals.
pub fn write(run: &Run, out: &Path) -> Result<(), Box<dyn Error>> {
    fs::write(out.join("results.json"), serde_json::to_vec_pretty(run)?)?;
    let goals = goals::all(&run.results);
    let table = goal_table(&goals);
    let text = format!(
        "{}\n\n{}\n\n## Goals\n\n{table}\n## Turns\n\n{}\n## Figures\n\n{}",
        run.machine.join(" · "),
        run.plan,
        window_table(&run.results),
        figure_table(&run.results)
    );
    fs::write(out.join("results.md"), text)?;
    plot::draw(&run.results, out)?;
    println!("{table}");
    println!("{}: results.json, results.md and plots", out.display());
    let bad: Vec<_> = run.results.windows.iter().filter(|(_, windows)| windows.iter().any(|w| w.bad > 0 || w.answers == 0)).collect();
    let names: Vec<_> = bad.iter().map(|(name, _)| name.as_str()).collect();
    if names.is_empty() { Ok(()) } else { Err(format!("answers that were not the expected ones: {}", names.join(", ")).into()) }
}

fn goal_table(goals: &[Goal]) -> String {
    let mut table = "| work | measure | goal | min / median / max | |\n|---|---|---|---|---|\n".to_owned();
    for goal in goals {
        let measured = goal.measured.map_or_else(|| "–".into(), show);
        let met = match goal.is_met() {
            Some(true) => "reached",
            Some(false) => "**missed**",
            None => "not measured",
        };
        let _ = writeln!(table, "| {} | {} | {} {} | {measured} | {met} |", goal.work, goal.measure, goal.relation, goal.bound);
    }
    table
}

fn window_table(results: &Results) -> String {
    let mut table = "| contender/work/connections | requests/s | µs of cpu | p50 ms | p99 ms | p99.9 ms | bad | foreign |\n\
                     |---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for (name, windows) in &results.windows {
        let spread = |figure: fn(&Window) -> f64| Spread::of(windows.iter().map(figure).collect()).map_or_else(String::new, show);
        #[allow(clippy::cast_precision_loss)]
        let cells = [
            spread(|w| w.per_second),
            spread(|w| w.cpu),
            spread(|w| w.p50 as f64 / 1e3),
            spread(|w| w.p99 as f64 / 1e3),
            // This percentile means little with few answers.
            if windows.iter().all(|w| w.answers >= 10_000) { spread(|w| w.p999 as f64 / 1e3) } else { "–".into() },
            windows.iter().map(|w| w.bad).sum::<u64>().to_string(),
            spread(|w| w.foreign),
        ];
        let _ = writeln!(table, "| {name} | {} |", cells.join(" | "));
    }
    table
}

fn figure_table(results: &Results) -> String {
    let mut table = "| figure | min / median / max |\n|---|---|\n".to_owned();
    for name in results.figures.keys() {
        let _ = writeln!(table, "| {name} | {} |", results.spread(name).map_or_else(String::new, show));
    }
    table
}

/// `min / median / max`, with three significant digits.
fn show(spread: Spread) -> String {
    let number = |figure: f64| match figure {
        f if f >= 100.0 => format!("{f:.0}"),
        f if f >= 10.0 => format!("{f:.1}"),
        f => format!("{f:.2}"),
    };
    format!("{} / {} / {}", number(spread.min), number(spread.median), number(spread.max))
}

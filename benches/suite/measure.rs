//! The measurement of one window, and the statistics over all of them.

use crate::{
    generator::{Load, Pace, Script, run},
    peer::Running,
    process::{Meter, Server, machine_cpu, own_cpu},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    io,
    time::{Duration, Instant},
};

/// The measurements of one window. Times are in microseconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Window {
    /// Expected answers per second.
    pub per_second: f64,
    /// Processor time of the server and all its processes, per request.
    pub cpu: f64,
    /// The median latency.
    pub p50: u64,
    /// The 99th percentile of the latency.
    pub p99: u64,
    /// The 99.9th percentile of the latency.
    pub p999: u64,
    /// The number of answers behind the percentiles.
    pub answers: u64,
    /// Answers that were not the expected one.
    pub bad: u64,
    /// Cores that the server kept busy.
    pub busy: f64,
    /// Cores that other processes kept busy or that the host took away.
    pub foreign: f64,
}

/// All measurements, by name, such as `doorward/verify/32`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Results {
    /// Windows, one per round.
    pub windows: BTreeMap<String, Vec<Window>>,
    /// Other figures, one per round.
    pub figures: BTreeMap<String, Vec<f64>>,
}

/// Minimum, median and maximum of some figures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The minimum.
    pub min: f64,
    /// The median.
    pub median: f64,
    /// The maximum.
    pub max: f64,
}

impl Spread {
    /// The spread of these figures, if there are any.
    pub fn of(mut figures: Vec<f64>) -> Option<Self> {
        figures.sort_by(f64::total_cmp);
        let (min, max) = (*figures.first()?, *figures.last()?);
        let middle = figures.len() / 2;
        let median = if figures.len() % 2 == 1 { figures[middle] } else { f64::midpoint(figures[middle - 1], figures[middle]) };
        Some(Self { min, median, max })
    }
}

impl Results {
    /// Records a window.
    pub fn window(&mut self, name: String, window: Window) {
        eprintln!(
            "  {name}: {:.0}/s, {:.1} us of cpu, p99 {} us, foreign {:.2}",
            window.per_second, window.cpu, window.p99, window.foreign
        );
        self.windows.entry(name).or_default().push(window);
    }

    /// Records another figure.
    pub fn figure(&mut self, name: impl Into<String>, figure: f64) {
        let name = name.into();
        eprintln!("  {name}: {figure:.3}");
        self.figures.entry(name).or_default().push(figure);
    }

    /// One figure of the window of each round.
    pub fn of(&self, name: &str, figure: impl Fn(&Window) -> f64) -> Vec<f64> {
        self.windows.get(name).into_iter().flatten().map(figure).collect()
    }

    /// `a / b`, round by round.
    pub fn ratio(&self, a: &str, b: &str, figure: impl Fn(&Window) -> f64 + Copy) -> Option<Spread> {
        Spread::of(self.of(a, figure).into_iter().zip(self.of(b, figure)).map(|(a, b)| a / b).collect())
    }

    /// The spread of a figure.
    pub fn spread(&self, name: &str) -> Option<Spread> {
        Spread::of(self.figures.get(name)?.clone())
    }
}

/// Runs one load against a server.
pub fn measure(running: &Running, connections: usize, pace: Pace, script: &mut dyn Script, window: Duration) -> io::Result<Window> {
    let mut loads = [Load::new(running.server.address, connections, pace, script)?];
    let mut windows = measure_all(&[&running.server], &mut loads, window)?;
    Ok(windows.remove(0))
}

/// Runs loads side by side. The processor time in each window is that of all these servers for all loads together.
pub fn measure_all(servers: &[&Server], loads: &mut [Load<'_>], window: Duration) -> io::Result<Vec<Window>> {
    let meters: Vec<_> = servers.iter().map(|server| server.meter()).collect();
    let (own, (machine, stolen)) = (own_cpu(), machine_cpu());
    let (mut spent, begun) = (None, Instant::now());
    run(loads, window, |took| {
        let server = meters.iter().map(Meter::read).sum::<Duration>();
        let (machine_now, stolen_now) = machine_cpu();
        let ours = server + own_cpu().saturating_sub(own);
        let foreign = machine_now.saturating_sub(machine).saturating_sub(ours) + stolen_now.saturating_sub(stolen);
        spent = Some((took.as_secs_f64(), server.as_secs_f64(), foreign.as_secs_f64()));
    })?;
    let (seconds, server, foreign) = spent.expect("a window that ran was closed");
    #[allow(clippy::cast_precision_loss)]
    let windows = loads.iter().map(|load| {
        let tally = &load.tally;
        if let Some(answer) = &tally.first_bad {
            eprintln!("  {} answers were not the expected one; the first: {answer}", tally.bad);
        }
        Window {
            per_second: tally.good as f64 / tally.last.map_or(seconds, |last| (last - begun).as_secs_f64()),
            cpu: server * 1e6 / (tally.good + tally.bad).max(1) as f64,
            p50: tally.latency.value_at_quantile(0.5),
            p99: tally.latency.value_at_quantile(0.99),
            p999: tally.latency.value_at_quantile(0.999),
            answers: tally.latency.len(),
            bad: tally.bad,
            busy: server / seconds,
            foreign: foreign / seconds,
        }
    });
    Ok(windows.collect())
}

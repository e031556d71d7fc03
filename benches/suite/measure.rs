//! One window of one contender, and what all windows amount to.

use crate::{
    generator::{Load, Pace, Script, run},
    peer::Running,
    process::{machine_cpu, own_cpu},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    io,
    time::{Duration, Instant},
};

/// What one window saw. Times are in microseconds unless they say otherwise.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Window {
    /// Expected answers a second.
    pub per_second: f64,
    /// Processor time of the server and all its processes, for each request.
    pub cpu: f64,
    /// Latency.
    pub p50: u64,
    /// Latency.
    pub p99: u64,
    /// Latency.
    pub p999: u64,
    /// How many answers the percentiles rest on.
    pub answers: u64,
    /// Answers that were not the expected one.
    pub bad: u64,
    /// Cores that the server kept busy.
    pub busy: f64,
    /// Cores that neither server nor generator kept busy, or that the host took away.
    pub foreign: f64,
}

/// Everything that was measured, by name: `doorward/verify/32`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Results {
    /// Windows, one a round.
    pub windows: BTreeMap<String, Vec<Window>>,
    /// Other figures, one a round.
    pub figures: BTreeMap<String, Vec<f64>>,
}

/// The least, the median and the most of some figures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The least.
    pub min: f64,
    /// The median.
    pub median: f64,
    /// The most.
    pub max: f64,
}

impl Spread {
    /// Of these figures, if there are any.
    pub fn of(mut figures: Vec<f64>) -> Option<Self> {
        figures.sort_by(f64::total_cmp);
        let (min, max) = (*figures.first()?, *figures.last()?);
        let middle = figures.len() / 2;
        let median = if figures.len() % 2 == 1 { figures[middle] } else { f64::midpoint(figures[middle - 1], figures[middle]) };
        Some(Self { min, median, max })
    }
}

impl Results {
    /// Notes a window.
    pub fn window(&mut self, name: String, window: Window) {
        eprintln!(
            "  {name}: {:.0}/s, {:.1} us of cpu, p99 {} us, foreign {:.2}",
            window.per_second, window.cpu, window.p99, window.foreign
        );
        self.windows.entry(name).or_default().push(window);
    }

    /// Notes another figure.
    pub fn figure(&mut self, name: impl Into<String>, figure: f64) {
        let name = name.into();
        eprintln!("  {name}: {figure:.3}");
        self.figures.entry(name).or_default().push(figure);
    }

    /// One figure of each round's window.
    pub fn of(&self, name: &str, figure: impl Fn(&Window) -> f64) -> Vec<f64> {
        self.windows.get(name).into_iter().flatten().map(figure).collect()
    }

    /// `a / b`, round by round.
    pub fn ratio(&self, a: &str, b: &str, figure: impl Fn(&Window) -> f64 + Copy) -> Option<Spread> {
        Spread::of(self.of(a, figure).into_iter().zip(self.of(b, figure)).map(|(a, b)| a / b).collect())
    }

    /// A figure's spread.
    pub fn spread(&self, name: &str) -> Option<Spread> {
        Spread::of(self.figures.get(name)?.clone())
    }
}

/// One load against a server.
pub fn measure(running: &Running, connections: usize, pace: Pace, script: &mut dyn Script, window: Duration) -> io::Result<Window> {
    let mut loads = [Load::new(running.server.address, connections, pace, script)?];
    let mut windows = measure_all(running, &mut loads, window)?;
    Ok(windows.remove(0))
}

/// Loads side by side against one server: the processor time of each is that of all.
pub fn measure_all(running: &Running, loads: &mut [Load<'_>], window: Duration) -> io::Result<Vec<Window>> {
    let (meter, own, (machine, stolen)) = (running.server.meter(), own_cpu(), machine_cpu());
    let (mut spent, begun) = (None, Instant::now());
    run(loads, window, |took| {
        let server = meter.read();
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

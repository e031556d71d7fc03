//! What it costs to count one event for the metrics: `benches/run count`.

use doorward::{config, service::Error, telemetry::Metrics};
use std::{
    hint::black_box,
    time::{Duration, Instant},
};

const EVENTS: u32 = 3_000_000;

/// Prints the nanoseconds that each takes.
pub fn count() {
    let settings = config::Metrics { enabled: true, ..config::Metrics::default() };
    let Some(metrics) = Metrics::start(&settings) else { return };
    metrics.count_requests(&[("GET", "/".to_owned())]);
    let took = Duration::from_micros(11);
    let with_times = || {
        let begun = Instant::now();
        metrics.answered(black_box(0), 200, begun.elapsed());
    };
    print("an answer, with both looks at the clock", with_times);
    print("an answer", || metrics.answered(black_box(0), 200, black_box(took)));
    print("a sign-in", || metrics.signed_in(&black_box(Ok::<(), Error>(()))));
}

fn print(what: &str, event: impl Fn()) {
    let round = || {
        let begun = Instant::now();
        (0..EVENTS).for_each(|_| event());
        begun.elapsed() / EVENTS
    };
    // The least of some rounds: whatever else the machine does only adds to it.
    let least = (0..5).map(|_| round()).min().unwrap_or_default();
    println!("{:>6} ns  {what}", least.as_nanos());
}

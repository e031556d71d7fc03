//! What is measured, for Prometheus. The layers below do not know of it: they tell a closure of theirs what they did, or
//! are looked at when somebody asks ([`Levels`]).
//!
//! Whatever counts is found once, at the start, and kept: looking it up by its labels would cost more than counting. Each
//! label is one of a fixed set, so the number of series is known; none is a user, an address, a session or a role.

mod names;
mod outcome;
mod process;

use super::Levels;
use crate::{
    config,
    domain::Timestamp,
    service::{Error, events},
    store::{
        Counts,
        engine::{self, Committed},
    },
};
use names::Name;
use outcome::{Refresh, SignIn};
use parking_lot::Mutex;
use process::Process;
use prometheus::{
    Counter, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
    core::Collector, proto::MetricFamily,
};
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

/// Upper bounds of the buckets of every time, in seconds.
const SECONDS: [f64; 14] = [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// Those of the sizes of groups.
const WORKS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];
/// The classes of statuses that are answered.
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];
const VALID: &str = "names and labels are constants, each there once";

/// What is counted, and what was.
pub struct Metrics {
    registry: Registry,
    /// A row for each route, once there is a listener.
    routes: OnceLock<Vec<Route>>,
    connections: IntGauge,
    sign_ins: Vec<IntCounter>,
    refreshes: Vec<IntCounter>,
    hash_wait: Histogram,
    hash_duration: Histogram,
    group_size: Histogram,
    commit: Histogram,
    sync: Histogram,
    counts: Mutex<Option<Counts>>,
}

/// What is counted of one route.
struct Route {
    by_class: [IntCounter; CLASSES.len()],
    duration: Histogram,
}

/// A connection that is counted until this is dropped.
pub struct Connected(IntGauge);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Begins to count, if the settings say that somebody will ask.
    #[must_use]
    pub fn start(settings: &config::Metrics) -> Option<Arc<Self>> {
        let is_on = settings.enabled || settings.listen.is_some();
        is_on.then(|| Arc::new(Self::on(Registry::new())))
    }

    fn on(registry: Registry) -> Self {
        let connections = IntGauge::new(names::CONNECTIONS.name, names::CONNECTIONS.help).expect(VALID);
        register(&registry, &connections);
        Self {
            routes: OnceLock::new(),
            connections,
            sign_ins: outcomes(&registry, names::SIGN_INS, SignIn::ALL.iter().map(|outcome| outcome.label())),
            refreshes: outcomes(&registry, names::REFRESHES, Refresh::ALL.iter().map(|outcome| outcome.label())),
            hash_wait: histogram(&registry, names::HASH_WAIT, &SECONDS),
            hash_duration: histogram(&registry, names::HASH_DURATION, &SECONDS),
            group_size: histogram(&registry, names::STORE_GROUP, &WORKS),
            commit: histogram(&registry, names::STORE_COMMIT, &SECONDS),
            sync: histogram(&registry, names::STORE_SYNC, &SECONDS),
            counts: Mutex::default(),
            registry,
        }
    }

    /// Tells of each group of changes.
    #[must_use]
    pub fn store_watch(self: &Arc<Self>) -> engine::Watch {
        let metrics = Arc::clone(self);
        Box::new(move |Committed { works, took, sync }| {
            metrics.group_size.observe(number(works as u64));
            metrics.commit.observe(took.as_secs_f64());
            metrics.sync.observe(sync.as_secs_f64());
        })
    }

    /// Tells of each hashed password how long it waited and how long it took.
    #[must_use]
    pub fn hash_watch(self: &Arc<Self>) -> Box<dyn Fn(Duration, Duration) + Send + Sync> {
        let metrics = Arc::clone(self);
        Box::new(move |waited, took| {
            metrics.hash_wait.observe(waited.as_secs_f64());
            metrics.hash_duration.observe(took.as_secs_f64());
        })
    }

    /// Counts requests from now on, by routes of these methods and paths. Only the first call has an effect.
    ///
    /// # Panics
    /// When a route is there twice.
    pub fn count_requests(&self, routes: &[(&str, String)]) {
        self.routes.get_or_init(|| {
            let requests = counters(names::REQUESTS, &["method", "route", "status"]);
            let opts = HistogramOpts::new(names::REQUEST_DURATION.name, names::REQUEST_DURATION.help).buckets(SECONDS.to_vec());
            let durations = HistogramVec::new(opts, &["method", "route"]).expect(VALID);
            register(&self.registry, &requests);
            register(&self.registry, &durations);
            let row = |(method, path): &(&str, String)| Route {
                by_class: CLASSES.map(|class| requests.with_label_values(&[method, path.as_str(), class])),
                duration: durations.with_label_values(&[method, path.as_str()]),
            };
            routes.iter().map(row).collect()
        });
    }

    /// Counts an answer of a route, by its place in the list that was given.
    pub fn answered(&self, route: usize, status: u16, took: Duration) {
        if let Some(route) = self.routes.get().and_then(|routes| routes.get(route)) {
            route.by_class[usize::from(status / 100).saturating_sub(2).min(CLASSES.len() - 1)].inc();
            route.duration.observe(took.as_secs_f64());
        }
    }

    /// Counts a sign-in.
    pub fn signed_in<T>(&self, result: &Result<T, Error>) {
        self.sign_ins[SignIn::of(result) as usize].inc();
    }

    /// Counts a refresh.
    pub fn refreshed<T>(&self, result: &Result<T, Error>) {
        self.refreshes[Refresh::of(result) as usize].inc();
    }

    /// Counts a connection for as long as the result is kept.
    #[must_use]
    pub fn connected(this: &Arc<Self>) -> Connected {
        this.connections.inc();
        Connected(this.connections.clone())
    }

    /// Notes how many users and sessions there are.
    pub fn counted(&self, counts: Counts) {
        *self.counts.lock() = Some(counts);
    }

    /// Everything as text (format 0.0.4).
    ///
    /// # Panics
    /// Never: names and labels are constants.
    #[must_use]
    pub fn render(&self, levels: &Levels) -> String {
        let mut families = self.registry.gather();
        for times in families.iter_mut().filter(|family| family.name() == names::REQUEST_DURATION.name) {
            // Most routes of most boxes are never asked for, and each would have a line for every bucket.
            times.mut_metric().retain(|route| route.get_histogram().get_sample_count() > 0);
        }
        families.retain(|family| !family.get_metric().is_empty());
        families.push(build_info());
        families.push(event_counts());
        families.extend(self.counts.lock().map(of_counts).into_iter().flatten());
        families.extend(of_levels(levels));
        families.extend(of_process(&Process::look()));
        families.sort_by(|a, b| a.name().cmp(b.name()));
        TextEncoder::new().encode_to_string(&families).expect(VALID)
    }
}

fn register(registry: &Registry, collector: &(impl Collector + Clone + 'static)) {
    registry.register(Box::new(collector.clone())).expect(VALID);
}

fn histogram(registry: &Registry, Name { name, help }: Name, buckets: &[f64]) -> Histogram {
    let histogram = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec())).expect(VALID);
    register(registry, &histogram);
    histogram
}

fn counters(Name { name, help }: Name, labels: &[&str]) -> IntCounterVec {
    IntCounterVec::new(Opts::new(name, help), labels).expect(VALID)
}

/// A counter for each of these outcomes.
fn outcomes(registry: &Registry, name: Name, labels: impl Iterator<Item = &'static str>) -> Vec<IntCounter> {
    let counters = counters(name, &["outcome"]);
    register(registry, &counters);
    labels.map(|label| counters.with_label_values(&[label])).collect()
}

fn build_info() -> MetricFamily {
    let opts = Opts::new(names::BUILD_INFO.name, names::BUILD_INFO.help)
        .const_label("version", env!("CARGO_PKG_VERSION"))
        .const_label("os", std::env::consts::OS)
        .const_label("arch", std::env::consts::ARCH);
    let gauge = Gauge::with_opts(opts).expect(VALID);
    gauge.set(1.0);
    only(&gauge)
}

fn event_counts() -> MetricFamily {
    let counters = counters(names::EVENTS, &["event"]);
    events::counts().for_each(|(kind, count)| counters.with_label_values(&[kind.as_str()]).inc_by(count));
    let mut family = only(&counters);
    family.mut_metric().sort_by(|a, b| a.get_label()[0].value().cmp(b.get_label()[0].value()));
    family
}

fn of_counts(Counts { users, sessions }: Counts) -> [MetricFamily; 2] {
    [gauge(names::USERS, number(users)), gauge(names::SESSIONS, number(sessions))]
}

fn of_levels(levels: &Levels) -> Vec<MetricFamily> {
    let Levels { hash_queue, deny_list, is_writable, load, min_free_bytes, last_backup, backup_every } = levels;
    // Where backups are due and none was ever made, the last one is as old as can be.
    let last_backup = last_backup.map(Timestamp::secs).or_else(|| backup_every.map(|_| 0));
    let known = [
        (names::HASH_QUEUE, Some(*hash_queue as u64)),
        (names::DENY_LIST, Some(*deny_list as u64)),
        (names::STORE_WRITABLE, Some(u64::from(*is_writable))),
        (names::STORE_QUEUE, Some(load.queued as u64)),
        (names::STORE_DISK, load.disk_bytes),
        (names::STORE_FREE, load.free_bytes),
        (names::STORE_MIN_FREE, Some(*min_free_bytes)),
        (names::BACKUP_LAST, last_backup),
        (names::BACKUP_EVERY, backup_every.map(|every| every.as_secs())),
    ];
    known.into_iter().filter_map(|(name, level)| Some(gauge(name, number(level?)))).collect()
}

fn of_process(process: &Process) -> Vec<MetricFamily> {
    let cpu = Counter::new(names::PROCESS_CPU.name, names::PROCESS_CPU.help).expect(VALID);
    cpu.inc_by(process.cpu_seconds);
    let known = [
        (names::PROCESS_RESIDENT, process.resident_bytes.map(number)),
        (names::PROCESS_VIRTUAL, process.virtual_bytes.map(number)),
        (names::PROCESS_FDS, process.open_fds.map(|fds| number(fds as u64))),
        (names::PROCESS_MAX_FDS, process.max_fds.map(number)),
        (names::PROCESS_START, process.started_at),
    ];
    let gauges = known.into_iter().filter_map(|(name, value)| Some(gauge(name, value?)));
    std::iter::once(only(&cpu)).chain(gauges).collect()
}

fn gauge(Name { name, help }: Name, value: f64) -> MetricFamily {
    let gauge = Gauge::new(name, help).expect(VALID);
    gauge.set(value);
    only(&gauge)
}

/// The one family of a metric.
fn only(metric: &impl Collector) -> MetricFamily {
    metric.collect().pop().unwrap_or_default()
}

#[allow(clippy::cast_precision_loss, reason = "nothing here is as large as 2^52")]
const fn number(count: u64) -> f64 {
    count as f64
}

//! The performance goals, compared with the measurements.

use crate::{
    gate,
    measure::{Results, Spread, Window},
};
use serde::Serialize;

/// One line of the table of goals.
#[derive(Debug, Serialize)]
pub struct Goal {
    /// The operation that is measured.
    pub work: String,
    /// The unit, or the comparison.
    pub measure: String,
    /// `>=` or `<=`.
    pub relation: &'static str,
    /// The bound.
    pub bound: f64,
    /// The measurement, if there is one.
    pub measured: Option<Spread>,
}

impl Goal {
    /// Whether the median meets the bound; `None` if it was not measured.
    pub fn is_met(&self) -> Option<bool> {
        self.measured.map(|spread| if self.relation == ">=" { spread.median >= self.bound } else { spread.median <= self.bound })
    }
}

const CPU: fn(&Window) -> f64 = |window| window.cpu;
const RATE: fn(&Window) -> f64 = |window| window.per_second;
#[allow(clippy::cast_precision_loss)]
const P99: fn(&Window) -> f64 = |window| window.p99 as f64 / 1000.0;

/// All goals, with their measurements.
pub fn all(results: &Results) -> Vec<Goal> {
    let mut goals = Vec::new();
    let mut goal = |work: &str, measure: &str, relation, bound, measured| {
        goals.push(Goal { work: work.into(), measure: measure.into(), relation, bound, measured });
    };
    // Their processor time divided by ours.
    let times = |ours: &str, theirs: &str| results.ratio(theirs, ours, CPU);
    let once = |name: &str, figure: fn(&Window) -> f64| Spread::of(results.of(name, figure));

    let verify = "doorward/verify/32";
    goal("`/api/auth/verify`", "processor time of bare warp + one HS256 verification ÷ ours", ">=", 0.80, times(verify, "warp/verify/32"));
    goal("`/api/auth/verify`", "processor time of Express as written ÷ ours", ">=", 55.0, times(verify, "express-map/verify/32"));
    goal("`/api/auth/verify`", "processor time of Express tuned ÷ ours", ">=", 12.0, times(verify, "express-map-tuned/verify/32"));
    goal("`/api/auth/verify`", "processor time of PocketBase's own record ÷ ours", ">=", 15.0, times(verify, "pocketbase/me/32"));
    for (algorithm, contender) in [("EdDSA", "doorward-eddsa"), ("RS256", "doorward-rs256")] {
        let work = format!("`/api/auth/verify`, {algorithm}, seen before");
        goal(&work, "processor time of HS256 ÷ its", ">=", 0.75, times(&format!("{contender}/verify/32"), verify));
        let first = results.spread(&format!("{algorithm}/first sight, of its signature alone"));
        goal(&format!("a token of {algorithm}, at first sight"), "of the rate of its signature alone", ">=", 0.85, first);
    }
    for apps in gate::APPS {
        let server = format!("doorward with {}", gate::title(apps));
        let beside = results.ratio(&format!("{server}/gate/32"), &format!("{server}/verify/32"), CPU);
        goal(&format!("a question to the gate, apps: {apps}"), "processor time ÷ that of `verify`", "<=", 1.25, beside);
    }
    goal(
        "`/api/users/me`",
        "processor time of bare warp + one HS256 verification ÷ ours",
        ">=",
        0.65,
        times("doorward/me/32", "warp/verify/32"),
    );
    for bad in ["verify_bad", "verify_none", "me_bad", "me_none"] {
        let (route, what) = bad.split_once('_').unwrap_or((bad, ""));
        let what = if what == "bad" { "a bad token" } else { "no token" };
        let good = format!("doorward/{route}/32");
        let ours = format!("doorward/{bad}/32");
        goal(&format!("`{route}`, {what}"), "processor time of a good token ÷ ours", ">=", 1.0, times(&ours, &good));
    }
    for connections in [32, 128] {
        let refresh = format!("doorward/refresh/{connections}");
        let work = format!("refresh, durable, {connections} connections");
        let beside = |who: &str| times(&refresh, &format!("{who}/refresh/{connections}"));
        let unwaiting = results.ratio(&refresh, &format!("doorward-no-fsync/refresh/{connections}"), RATE);
        goal(&work, "of the rate of the same that does not wait", ">=", 0.45, unwaiting);
        goal(&work, "processor time of Express on PostgreSQL as written ÷ ours", ">=", 55.0, beside("express-pg"));
        goal(&work, "processor time of Express on PostgreSQL tuned ÷ ours", ">=", 18.0, beside("express-pg-tuned"));
        goal(&work, "processor time of PocketBase, which neither rotates nor revokes ÷ ours", ">=", 2.5, beside("pocketbase"));
        goal(&work, "µs of processor time", "<=", 45.0, once(&refresh, CPU));
    }
    // Each measurement has one run of the scrypt loop before it and one after it.
    let hashes = |operation: &str| {
        let loops = results.figures.get("scrypt")?;
        let at = usize::from(operation == "register");
        let turns = loops.chunks(2).skip(at).step_by(2);
        let rates = results.of(&format!("doorward/{operation}/8"), RATE);
        Spread::of(rates.iter().zip(turns).map(|(rate, around)| rate * 2.0 / around.iter().sum::<f64>()).collect())
    };
    goal("login", "of the scrypt crate in a loop", ">=", 0.97, hashes("login"));
    goal("register", "of the scrypt crate in a loop", ">=", 0.97, hashes("register"));
    goal(
        "login, memory above idle",
        "MB: one table of 33.6 and 1 more",
        "<=",
        34.6,
        results.spread("doorward/login/MB above idle at most"),
    );
    let quiet = "doorward/me at 200 a second/quiet";
    for flooding in [8, 64] {
        let beside = format!("doorward/me at 200 a second/beside {flooding}");
        let work = format!("`/me` beside {flooding} flooding connections");
        goal(&work, "ms, p99", "<=", 1.0, once(&beside, P99));
        goal(&work, "of its quiet p99", "<=", 2.0, results.ratio(&beside, quiet, P99));
    }
    goal("cold start, new", "ms to the first 200", "<=", 30.0, results.spread("doorward/start/ms"));
    goal("cold start, many users", "ms to the first 200", "<=", 500.0, results.spread("many, nobody signed in/start/ms"));
    goal("cold start, many users and sessions", "ms to the first 200", "<=", 500.0, results.spread("many/start/ms"));
    goal("idle memory, new", "MB, PSS", "<=", 12.0, results.spread("doorward/idle/MB"));
    goal("idle memory, many users and sessions", "MB, PSS", "<=", 250.0, results.spread("many/idle/MB"));
    goal("first page of many users", "ms, p99", "<=", 2.0, once("many/first_page", P99));
    goal("last page of many users", "ms, p99", "<=", 2.0, once("many/last_page", P99));
    for operation in ["verify", "refresh", "login"] {
        let grown = results.ratio(&format!("many/{operation}"), &format!("few/{operation}"), CPU);
        goal(&format!("`{operation}` with many users"), "of its cost with a thousand", "<=", 1.15, grown);
    }
    goal("binary", "MB", "<=", 9.0, results.spread("doorward/binary/MB"));
    goals
}

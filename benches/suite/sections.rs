//! The sections of the suite. In each round of a section, the contenders take turns.

use crate::{
    gate::gate,
    generator::{Load, Pace, Script},
    measure::{Results, measure, measure_all},
    peer::{Chain, Client, Contender, Each, Hashing, Running, Same, by_wrk},
    process::pinned,
};
use std::{
    env, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// What to measure, with which contenders, and for how long.
pub struct Plan {
    /// Contenders by name.
    pub contenders: Vec<Contender>,
    /// Operations of the section `tokens`, if not all.
    pub operations: Vec<String>,
    /// Number of rounds; in each, every contender has a turn.
    pub rounds: usize,
    /// The length of one turn.
    pub window: Duration,
    /// The length of a turn that hashes.
    pub long: Duration,
    /// Users of the large database.
    pub users: u64,
    /// The directory for the data of the servers, on a disk.
    pub data: PathBuf,
    /// The measured build of Doorward.
    pub doorward: PathBuf,
}

/// A section.
pub type Section = fn(&Plan, &mut Results) -> io::Result<()>;

/// All sections, by name.
pub const SECTIONS: [(&str, Section); 9] = [
    ("tokens", tokens),
    ("signatures", signatures),
    ("gate", gate),
    ("refresh", refresh),
    ("logout", logout),
    ("hashing", hashing),
    ("flood", flood),
    ("start", start),
    ("scale", scale),
];

impl Plan {
    /// Starts the contenders that offer this operation, each with a data directory of its own.
    fn start(&self, section: &str, operation: &str, hashing: Hashing) -> io::Result<Vec<Running>> {
        let able = self.contenders.iter().filter(|contender| contender.operation(operation).is_some());
        able.map(|contender| contender.start(&self.fresh(section, &contender.name)?, hashing)).collect()
    }

    /// The contender that is Doorward as it is shipped.
    pub fn contender(&self) -> io::Result<&Contender> {
        let contender = self.contenders.iter().find(|contender| contender.name == "doorward");
        contender.ok_or_else(|| io::Error::other("this section needs doorward among the contenders"))
    }

    fn doorward(&self, section: &str, data: Option<&Path>, hashing: Hashing) -> io::Result<Running> {
        let contender = self.contender()?;
        match data {
            Some(data) => contender.start(data, hashing),
            None => contender.start(&self.fresh(section, "doorward")?, hashing),
        }
    }

    /// An empty directory.
    pub fn fresh(&self, section: &str, name: &str) -> io::Result<PathBuf> {
        let path = self.data.join(section).join(name);
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// Runs one of the suite's own loops on the servers' core and returns its rate.
    fn limit(&self, name: &str, arguments: &[&str], span: Duration) -> io::Result<f64> {
        let output = pinned(env::current_exe()?)
            .args(["loop", name])
            .args(arguments)
            .args(["--seconds", &span.as_secs_f64().to_string()])
            .arg("--directory")
            .arg(&self.data)
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        said.trim().parse().map_err(|_| io::Error::other(format!("{name}: {said}{}", String::from_utf8_lossy(&output.stderr))))
    }
}

/// Requests that change nothing.
fn tokens(plan: &Plan, results: &mut Results) -> io::Result<()> {
    const CONNECTIONS: usize = 32;
    const OPERATIONS: [&str; 8] = ["health", "bare", "verify", "verify_bad", "verify_none", "me", "me_bad", "me_none"];
    let mut all = Vec::new();
    for mut running in plan.start("tokens", "login", Hashing::Cheap)? {
        let clients = running.clients(8, 1)?;
        all.push((running, clients));
    }
    for round in 0..plan.rounds {
        for (running, clients) in &mut all {
            // Logs in again in each round, because access tokens live only for minutes.
            clients.iter_mut().try_for_each(|client| running.once("login", client))?;
        }
        for name in OPERATIONS {
            if !plan.operations.is_empty() && !plan.operations.iter().any(|only| only == name) {
                continue;
            }
            for (running, clients) in &all {
                let Some(operation) = running.contender.operation(name) else { continue };
                let mut script = Same::new(&operation, clients);
                if round == 0 {
                    // A warm-up, for contenders with a just-in-time compiler.
                    measure(running, CONNECTIONS, Pace::Closed, &mut script, plan.window)?;
                }
                let window = measure(running, CONNECTIONS, Pace::Closed, &mut script, plan.window)?;
                results.window(format!("{}/{name}/{CONNECTIONS}", running.contender.name), window);
                // The same with wrk, as a check on our generator.
                if name == "verify" {
                    let rate = by_wrk(running, &operation, &clients[0], CONNECTIONS, plan.window)?;
                    results.figure(format!("{}/{name}/{CONNECTIONS} by wrk", running.contender.name), rate);
                }
            }
        }
    }
    Ok(())
}

/// Tokens that were not seen before, beside their signatures alone.
fn signatures(plan: &Plan, results: &mut Results) -> io::Result<()> {
    for _ in 0..plan.rounds {
        for algorithm in ["EdDSA", "ES256", "RS256"] {
            let ratio = plan.limit("signatures", &["--algorithm", algorithm], plan.window)?;
            results.figure(format!("{algorithm}/first sight, of its signature alone"), ratio);
        }
    }
    Ok(())
}

/// Chains of refreshes, and the rate of durable appends on the same disk.
fn refresh(plan: &Plan, results: &mut Results) -> io::Result<()> {
    const CONNECTIONS: [usize; 3] = [1, 32, 128];
    let mut all = Vec::new();
    for mut running in plan.start("refresh", "refresh", Hashing::Cheap)? {
        let clients = running.clients(CONNECTIONS[2], 16)?;
        all.push((running, clients));
    }
    for round in 0..plan.rounds {
        for connections in CONNECTIONS {
            let waiting = connections.to_string();
            let disk = |results: &mut Results| -> io::Result<()> {
                let rate = plan.limit("append", &["--waiting", &waiting], plan.window / 2)?;
                results.figure(format!("append/{waiting}"), rate);
                Ok(())
            };
            disk(results)?;
            for (running, clients) in &mut all {
                let operation = running.contender.operation("refresh").expect("only those that refresh were started");
                let mut script = Chain::new(&running.contender, operation, clients);
                if round == 0 {
                    measure(running, connections, Pace::Closed, &mut script, plan.window)?;
                }
                let window = measure(running, connections, Pace::Closed, &mut script, plan.window)?;
                results.window(format!("{}/refresh/{connections}", running.contender.name), window);
            }
            disk(results)?;
        }
        for waiting in ["16", "64"] {
            results.figure(format!("append/{waiting}"), plan.limit("append", &["--waiting", waiting], plan.window / 2)?);
        }
    }
    Ok(())
}

/// Each client logs out once.
fn logout(plan: &Plan, results: &mut Results) -> io::Result<()> {
    let mut all = plan.start("logout", "logout", Hashing::Cheap)?;
    all.retain(|running| running.contender.is_cheap());
    for _ in 0..plan.rounds {
        for running in &mut all {
            let clients = running.clients(1000, 16)?;
            let operation = running.contender.operation("logout").expect("only those that log out were started");
            let window = measure(running, 32, Pace::Closed, &mut Each::of(operation, clients), Duration::from_secs(60))?;
            results.window(format!("{}/logout/32", running.contender.name), window);
        }
    }
    Ok(())
}

/// Logins and registrations, and the same hash in a loop.
fn hashing(plan: &Plan, results: &mut Results) -> io::Result<()> {
    const CONNECTIONS: usize = 8;
    let mut all = Vec::new();
    for mut running in plan.start("hashing", "login", Hashing::Default)? {
        if !running.contender.has_hash() {
            continue;
        }
        let clients = running.clients(CONNECTIONS, 1)?;
        all.push((running, clients));
    }
    for round in 0..plan.rounds {
        for operation in ["login", "register"] {
            results.figure("scrypt", plan.limit("scrypt", &[], plan.long / 2)?);
            for (running, clients) in &all {
                let idle = running.server.forget_peak();
                let asked = running.contender.operation(operation).expect("every contender registers and logs in");
                let mut script: Box<dyn Script> = match operation {
                    "login" => Box::new(Same::new(&asked, clients)),
                    _ => Box::new(Each::newcomers(asked, round as u64)),
                };
                let window = measure(running, CONNECTIONS, Pace::Closed, &mut *script, plan.long)?;
                let name = &running.contender.name;
                results.window(format!("{name}/{operation}/{CONNECTIONS}"), window);
                if round == 0 && operation == "login" {
                    results.figure(format!("{name}/login/MB above idle at most"), megabytes(running.server.peak().saturating_sub(idle)));
                }
            }
            results.figure("scrypt", plan.limit("scrypt", &[], plan.long / 2)?);
        }
    }
    Ok(())
}

/// Two hundred requests a second, first alone and then beside a flood of logins.
fn flood(plan: &Plan, results: &mut Results) -> io::Result<()> {
    const RATE: f64 = 200.0;
    let mut running = plan.doorward("flood", None, Hashing::Default)?;
    // As many accounts as connections: tries of one account that are not decided yet count as failures.
    let mut clients = running.clients(64, 1)?;
    let operation = |name: &str| running.contender.operation(name).expect("doorward offers it");
    let (me, login) = (operation("me"), operation("login"));
    for _ in 0..plan.rounds {
        clients.iter_mut().take(8).try_for_each(|client| running.once("login", client))?;
        let mut requests = Same::new(&me, &clients[..8]);
        let quiet = measure(&running, 16, Pace::Open(RATE), &mut requests, plan.long)?;
        results.window("doorward/me at 200 a second/quiet".into(), quiet);
        for flooding in [8, 64] {
            let mut logins = Same::new(&login, &clients[..flooding]).or(503);
            let mut loads = [
                Load::new(running.server.address, 16, Pace::Open(RATE), &mut requests)?,
                Load::new(running.server.address, flooding, Pace::Closed, &mut logins)?,
            ];
            let mut windows = measure_all(&[&running.server], &mut loads, plan.long)?;
            results.window(format!("doorward/login/flood of {flooding}"), windows.remove(1));
            results.window(format!("doorward/me at 200 a second/beside {flooding}"), windows.remove(0));
            #[allow(clippy::cast_precision_loss)]
            results.figure(format!("doorward/login/flood of {flooding}, told to wait (503)"), logins.others as f64);
        }
    }
    Ok(())
}

/// The time of a cold start up to the first answer, and the memory after it.
fn start(plan: &Plan, results: &mut Results) -> io::Result<()> {
    for _ in 0..plan.rounds.max(2) * 2 {
        for contender in &plan.contenders {
            let running = contender.start(&plan.fresh("start", &contender.name)?, Hashing::Default)?;
            results.figure(format!("{}/start/ms", contender.name), running.server.took.as_secs_f64() * 1e3);
            std::thread::sleep(Duration::from_secs(1));
            results.figure(format!("{}/idle/MB", contender.name), megabytes(running.server.memory()));
        }
    }
    let binary = fs::metadata(&plan.doorward)?.len();
    results.figure("doorward/binary/MB", megabytes(binary));
    Ok(())
}

/// The costs with many users, compared with those of a thousand.
fn scale(plan: &Plan, results: &mut Results) -> io::Result<()> {
    const NEAR_THE_END: &[u8] = b"fff00000@bench.example";
    let few = plan.data.join("seeded-1000");
    let many = plan.data.join(format!("seeded-{}", plan.users));
    let alone = plan.data.join(format!("seeded-{}-alone", plan.users));
    seed(&few, 1000, &[])?;
    seed(&many, plan.users, &[])?;
    seed(&alone, plan.users, &["--alone"])?;
    for _ in 0..plan.rounds.max(2) * 2 {
        for (data, name) in [(&few, "few"), (&alone, "many, nobody signed in"), (&many, "many")] {
            let running = plan.doorward("scale", Some(data), Hashing::Default)?;
            results.figure(format!("{name}/start/ms"), running.server.took.as_secs_f64() * 1e3);
            std::thread::sleep(Duration::from_secs(1));
            results.figure(format!("{name}/idle/MB"), megabytes(running.server.memory()));
        }
    }
    let mut both = Vec::new();
    for (data, name) in [(&few, "few"), (&many, "many")] {
        let mut running = plan.doorward("scale", Some(data), Hashing::Default)?;
        // Repeated logins end the oldest sessions of a user, so other clients do the refreshes.
        let (clients, refreshing) = (running.clients(8, 1)?, running.clients(32, 1)?);
        both.push((running, clients, refreshing, name));
    }
    for _ in 0..plan.rounds {
        for (running, clients, ..) in &mut both {
            clients.iter_mut().try_for_each(|client| running.once("login", client))?;
        }
        for operation in ["verify", "me", "refresh", "login"] {
            for (running, clients, refreshing, name) in &mut both {
                let asked = running.contender.operation(operation).expect("doorward offers it");
                let window = match operation {
                    "refresh" => measure(running, 32, Pace::Closed, &mut Chain::new(&running.contender, asked, refreshing), plan.window)?,
                    "login" => measure(running, 8, Pace::Closed, &mut Same::new(&asked, clients), plan.long)?,
                    _ => measure(running, 32, Pace::Closed, &mut Same::new(&asked, clients), plan.window)?,
                };
                results.window(format!("{name}/{operation}"), window);
            }
        }
        let (running, ..) = &both[1];
        let mut admin =
            Client { email: "seed@bench.example".into(), cursor: data_encoding::BASE64URL_NOPAD.encode(NEAR_THE_END), ..Client::default() };
        running.once("login", &mut admin)?;
        for page in ["first_page", "last_page"] {
            let asked = running.contender.operation(page).expect("doorward offers it");
            let window = measure(running, 1, Pace::Open(200.0), &mut Same::new(&asked, &[admin.clone()]), plan.long)?;
            results.window(format!("many/{page}"), window);
        }
    }
    let (running, ..) = &both[1];
    results.figure("many/after load/MB", megabytes(running.server.memory()));
    results.figure("many/disk/MB", megabytes(size_of(&many.join("data"))?));
    Ok(())
}

/// Fills a data directory, unless an earlier run has done so.
fn seed(data: &Path, users: u64, how: &[&str]) -> io::Result<()> {
    let done = data.join("seeded");
    if done.exists() {
        return Ok(());
    }
    let _ = fs::remove_dir_all(data);
    fs::create_dir_all(data)?;
    // On all cores, because nothing is measured here.
    let status = std::process::Command::new("taskset")
        .args(["-c", "0-1"])
        .arg(env::current_exe()?)
        .args(["seed", "--users", &users.to_string(), "--set", "passwords.hash_threads=2", "--data-dir"])
        .arg(data.join("data"))
        .args(how)
        .status()?;
    if !status.success() {
        return Err(io::Error::other("the database could not be filled"));
    }
    fs::write(done, users.to_string())
}

fn size_of(path: &Path) -> io::Result<u64> {
    let meta = fs::symlink_metadata(path)?;
    if !meta.is_dir() {
        return Ok(meta.len());
    }
    fs::read_dir(path)?.map(|entry| size_of(&entry?.path())).sum()
}

/// Millions of bytes.
#[allow(clippy::cast_precision_loss)]
pub fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

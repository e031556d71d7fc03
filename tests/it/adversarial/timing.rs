//! The time of an answer must tell nothing about an account (AUT-2).

use crate::support::{Actor, PASSWORD, Server, TURN};
use serde_json::json;
use std::time::{Duration, Instant};

const SAMPLES: usize = 200;

/// The probability that two samples this different come from one distribution: the rank test of
/// Mann and Whitney, two-sided, by its normal approximation, which is good for samples of 20 or more.
#[allow(clippy::many_single_char_names, reason = "the names of the formula")]
fn rank_test(a: &[Duration], b: &[Duration]) -> f64 {
    let mut all: Vec<_> = a.iter().map(|t| (*t, true)).chain(b.iter().map(|t| (*t, false))).collect();
    all.sort_unstable();
    let ranks: usize = all.iter().zip(1..).filter_map(|((_, is_a), rank)| is_a.then_some(rank)).sum();
    let [n, m, ranks] = [a.len(), b.len(), ranks].map(|count| f64::from(u32::try_from(count).expect("small")));
    let u = ranks - n * (n + 1.0) / 2.0;
    let z = (u - n * m / 2.0) / (n * m * (n + m + 1.0) / 12.0).sqrt();
    two_sided(z.abs())
}

/// The normal distribution's two tails beyond `z` (Abramowitz and Stegun 7.1.26, exact to 2e-7).
fn two_sided(z: f64) -> f64 {
    let x = z / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let series = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    series.into_iter().fold(0.0, |sum, factor| (sum + factor) * t) * (-x * x).exp()
}

fn median(samples: &[Duration]) -> Duration {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

#[test]
fn the_rank_test_tells_samples_apart_and_only_those() {
    let even: Vec<_> = (0..200).map(|n| Duration::from_micros(1000 + 2 * n)).collect();
    let odd: Vec<_> = (0..200).map(|n| Duration::from_micros(1001 + 2 * n)).collect();
    let slower: Vec<_> = even.iter().map(|t| *t + Duration::from_micros(100)).collect();
    assert!(rank_test(&even, &odd) > 0.9);
    assert!(rank_test(&even, &slower) < 0.001);
    assert!((two_sided(1.96) - 0.05).abs() < 0.0001);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aut_2_the_time_of_a_failed_sign_in_says_nothing_about_the_account() {
    let _turn = TURN.lock().await;
    let settings =
        ["passwords.scrypt_log_n=10", "limits.login_failures_per_account=100000", "server.trusted_proxies=127.0.0.1/32", "log.level=info"];
    let server = Server::with(&settings);
    Actor::registered(&server, "known@example.org").await;
    Actor::registered(&server, "disabled@example.org").await;
    server.json(&["user", "disable", "disabled@example.org"], "");
    let (long_email, long_password) = (format!("{}@example.org", "a".repeat(400)), "x".repeat(1025));
    let kinds = [
        ("known", "known@example.org", "not this one"),
        ("unknown", "nobody@example.org", "not this one"),
        ("disabled", "disabled@example.org", PASSWORD),
        ("malformed", "no address", "not this one"),
        ("over-long address", &long_email, "not this one"),
        ("over-long password", "known@example.org", &long_password),
    ];
    // Other load on the machine can cause a difference once; only one that shows twice counts.
    let mut different = differences(&server, &kinds).await;
    if !different.is_empty() {
        let again = differences(&server, &kinds).await;
        different.retain(|kind| again.contains(kind));
    }
    assert!(different.is_empty(), "told apart from a wrong password: {different:?}");
}

/// The kinds whose answer times differ from those of the first: significantly and by a percent, or by five.
async fn differences(server: &Server, kinds: &[(&'static str, &str, &str)]) -> Vec<&'static str> {
    let client = Actor::at(server);
    let mut times = vec![Vec::with_capacity(SAMPLES); kinds.len()];
    for round in 0..SAMPLES + 5 {
        // The order changes from round to round, so that no kind always follows the same one.
        for position in 0..kinds.len() {
            let which = (round * 7 + position * (1 + 4 * (round % 2))) % kinds.len();
            let (_, email, password) = kinds[which];
            // Each request has an address of its own, so that no limit per address applies.
            let from = format!("198.{}.{}.{position}", 18 + round / 250, round % 250);
            let request = client
                .request("POST", "/api/auth/login")
                .header("x-forwarded-for", from)
                .json(&json!({ "email": email, "password": password }))
                .build_split();
            let request = (request.0, request.1.expect("a request"));
            let begun = Instant::now();
            let response = request.0.execute(request.1).await.expect("an answer");
            let took = begun.elapsed();
            assert_eq!(response.status(), 401);
            response.bytes().await.expect("a body");
            // The first rounds are a warm-up and are not counted.
            if round >= 5 {
                times[which].push(took);
            }
        }
    }
    let usual = median(&times[0]);
    let mut different = Vec::new();
    for (samples, (kind, ..)) in times.iter().zip(kinds).skip(1) {
        let (p, median) = (rank_test(&times[0], samples), median(samples));
        let apart = median.abs_diff(usual);
        println!("{kind}: {} samples, median {median:?} against {usual:?}, p = {p:.3}", samples.len());
        // A row more or less in a scan is some ten microseconds in an unoptimised build, half a percent of this hash,
        // which is 128 times cheaper than the default one. A step left out or done twice has always been 2 % and more.
        if (p <= 0.01 && apart * 100 >= usual) || apart * 20 >= usual {
            different.push(*kind);
        }
    }
    different
}

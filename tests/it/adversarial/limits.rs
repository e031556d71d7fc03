//! The default limits, against clients from many addresses behind a trusted proxy.

use crate::support::{Actor, Answer, PASSWORD, Server};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::Barrier, task::JoinSet};

const PROXIED: [&str; 1] = ["server.trusted_proxies=127.0.0.1"];

/// A new client at this address.
fn from(server: &Server, address: &str) -> Actor {
    at(Actor::at(server), address)
}

/// The same client at another address.
fn at(mut actor: Actor, address: &str) -> Actor {
    actor.headers = vec![("x-forwarded-for".into(), address.into())];
    actor
}

async fn guess(mut actor: Actor, email: &str) -> Answer {
    actor.login(email, "not this one", "body").await
}

/// Checks a 429 against LIM-11. Returns the name of its policy and its wait in seconds.
#[track_caller]
fn limited(answer: &Answer) -> (String, u64) {
    assert_eq!(answer.outcome(), (429, "RATE_LIMITED"), "{}", answer.text);
    let wait: u64 = answer.header("retry-after").expect("Retry-After").parse().expect("whole seconds");
    assert!(wait >= 1);
    assert_eq!(answer.body["retryAfter"], wait);
    // Structured fields: a string with integer parameters.
    let field = |name: &str| {
        let mut parts = answer.header(name).expect("a header").split(';');
        let policy = parts.next().and_then(|item| item.strip_prefix('"')?.strip_suffix('"')).expect("a string").to_owned();
        let parameters: Vec<(String, u64)> = parts
            .map(|part| part.split_once('=').map(|(key, value)| (key.to_owned(), value.parse().expect("an integer"))).expect("a parameter"))
            .collect();
        (policy, parameters)
    };
    let (policy, parameters) = field("ratelimit");
    assert_eq!(parameters, [("r".to_owned(), 0), ("t".to_owned(), wait)]);
    let (named, parameters) = field("ratelimit-policy");
    assert_eq!(named, policy);
    assert!(matches!(&parameters[..], [(q, 1..), (w, 1..)] if q == "q" && w == "w"), "{parameters:?}");
    (policy, wait)
}

#[tokio::test]
async fn lim_1_11_the_sixth_guess_must_wait_whether_the_account_exists_or_not() {
    let server = Server::with(&PROXIED);
    let mut owner = from(&server, "198.51.100.1");
    owner.register("alice@example.org", "body").await.expect(201);
    for email in ["alice@example.org", "nobody@example.org", "no address at all"] {
        let guesser = from(&server, "203.0.113.5");
        for n in 0..5 {
            assert_eq!(guess(guesser.clone(), email).await.outcome(), (401, "INVALID_CREDENTIALS"), "{email} {n}");
        }
        let begun = Instant::now();
        let sixth = guess(guesser.clone(), email).await;
        let took = begun.elapsed();
        assert_eq!(limited(&sixth), ("login".into(), 1), "{email}");
        assert_eq!(sixth.header("ratelimit-policy"), Some("\"login\";q=5;w=900"), "{email}");
        println!("the sixth guess is refused after {took:?}");
        // The right password has to wait as well: otherwise a 429 would tell that a guess was wrong.
        assert_eq!(limited(&guesser.clone().login(email, PASSWORD, "body").await).0, "login", "{email}");
    }
    // The owner, at another address, does not have to wait.
    owner.login("alice@example.org", PASSWORD, "body").await.expect(200);
    // Each further failure doubles the wait, a try during the wait does not count, and the right password ends it.
    let mut guesser = from(&server, "203.0.113.5");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(guess(guesser.clone(), "alice@example.org").await.status, 401);
    assert_eq!(limited(&guess(guesser.clone(), "alice@example.org").await).1, 2);
    let wait = limited(&guess(guesser.clone(), "alice@example.org").await).1;
    tokio::time::sleep(Duration::from_secs(wait)).await;
    guesser.login("alice@example.org", PASSWORD, "body").await.expect(200);
    for n in 0..5 {
        assert_eq!(guess(guesser.clone(), "alice@example.org").await.status, 401, "{n}: the count begins anew");
    }
    limited(&guess(guesser, "alice@example.org").await);
}

#[tokio::test]
async fn lim_2_an_address_has_fifty_failures_over_all_accounts_and_any_number_of_successes() {
    let server = Server::lifting(&[("limits.hashes_per_minute", "it counts successes, too, and so comes first")], &PROXIED);
    let mut office = from(&server, "198.51.100.1");
    office.register("alice@example.org", "body").await.expect(201);
    for _ in 0..200 {
        office.login("alice@example.org", PASSWORD, "body").await.expect(200);
    }
    let sprayer = from(&server, "203.0.113.5");
    for n in 0..50 {
        assert_eq!(guess(sprayer.clone(), &format!("user{n}@example.org")).await.status, 401, "{n}");
    }
    let (policy, wait) = limited(&guess(sprayer.clone(), "user50@example.org").await);
    assert_eq!(policy, "login-address");
    assert!(wait <= 18, "{wait}");
    limited(&sprayer.clone().login("alice@example.org", PASSWORD, "body").await);
    office.login("alice@example.org", PASSWORD, "body").await.expect(200);
}

#[tokio::test]
async fn lim_3_five_hundred_addresses_do_not_keep_the_owner_out() {
    let server = Server::with(&PROXIED);
    let mut owner = from(&server, "198.51.100.1");
    owner.register("alice@example.org", "cookie").await.expect(201);
    let mut eve = from(&server, "198.51.100.2");
    eve.register("eve@example.org", "cookie").await.expect(201);
    let mut outcomes = [0, 0];
    for n in 0..500 {
        let answer = guess(from(&server, &format!("203.0.{}.{}", n / 250, n % 250)), "alice@example.org").await;
        if answer.status == 401 {
            outcomes[0] += 1;
        } else {
            assert_eq!(limited(&answer).0, "login-account");
            outcomes[1] += 1;
        }
    }
    println!("{} guesses were tried, {} refused", outcomes[0], outcomes[1]);
    // A hundred guesses, and one more for each minute this took.
    assert!((100..=110).contains(&outcomes[0]), "{outcomes:?}");
    // A device token lets its owner log in from any address. Without one, or with Eve's, an unused address is refused too.
    limited(&from(&server, "198.51.100.3").login("alice@example.org", PASSWORD, "body").await);
    limited(&at(eve.clone(), "198.51.100.4").login("alice@example.org", PASSWORD, "body").await);
    at(owner.clone(), "198.51.100.5").login("alice@example.org", PASSWORD, "cookie").await.expect(200);
    at(owner.clone(), "203.0.0.1").login("alice@example.org", PASSWORD, "cookie").await.expect(200);
    // A stolen device token allows no more guesses than an address does.
    for _ in 0..5 {
        assert_eq!(guess(at(owner.clone(), "203.0.113.7"), "alice@example.org").await.status, 401);
    }
    limited(&guess(at(owner, "203.0.113.8"), "alice@example.org").await);
    eve.login("eve@example.org", PASSWORD, "cookie").await.expect(200);
}

#[tokio::test]
async fn lim_4_registering_refreshing_and_changing_passwords_have_limits_of_their_own() {
    let server = Server::with(&PROXIED);
    for n in 0..20 {
        from(&server, "203.0.113.5").register(&format!("user{n}@example.org"), "body").await.expect(201);
    }
    let (policy, wait) = limited(&from(&server, "203.0.113.5").register("user20@example.org", "body").await);
    assert_eq!(policy, "register");
    assert!(wait <= 60, "{wait}");
    let mut alice = from(&server, "203.0.113.6");
    alice.register("alice@example.org", "body").await.expect(201);
    let mut other = alice.clone();
    other.login("alice@example.org", PASSWORD, "body").await.expect(200);

    // A loop of refreshes is limited per session, from whatever address, and the session survives.
    for n in 0..30 {
        alice = at(alice, &format!("198.51.100.{n}"));
        alice.refresh().await.expect(200);
    }
    let (policy, wait) = limited(&at(alice.clone(), "198.51.100.99").try_refresh().await);
    assert_eq!(policy, "refresh");
    assert!(wait <= 2, "{wait}");
    other.refresh().await.expect(200);
    alice.me().await.expect(200);
    tokio::time::sleep(Duration::from_secs(wait)).await;
    alice.refresh().await.expect(200);

    for _ in 0..5 {
        let guess = other.change_password("not this one", "another battery horse").await;
        assert_eq!(guess.outcome(), (401, "INVALID_CREDENTIALS"));
    }
    assert_eq!(limited(&other.change_password(PASSWORD, "another battery horse").await).0, "password");
}

#[tokio::test]
async fn lim_5_7_spellings_of_an_address_or_an_account_share_their_tries() {
    let server = Server::with(&PROXIED);
    let v6: Vec<_> = (1..=6).map(|n| format!("2001:db8:1:2:{n}::{n}")).collect();
    let v4: Vec<_> = ["192.0.2.1", "::ffff:192.0.2.1", "::ffff:c000:201"].iter().cycle().take(6).map(ToString::to_string).collect();
    for addresses in [v6, v4] {
        for (n, address) in addresses.iter().enumerate() {
            let answer = guess(from(&server, address), "alice@example.org").await;
            assert_eq!(answer.status, if n < 5 { 401 } else { 429 }, "{address}");
        }
    }
    assert_eq!(guess(from(&server, "2001:db8:1:3::1"), "alice@example.org").await.status, 401, "another subscriber");
    let spellings =
        ["bob@bücher.example", "BOB@Bücher.example", " bob@bücher.example", "bob@xn--bcher-kva.example\t", "Bob@BÜCHER.EXAMPLE"];
    for (n, email) in spellings.iter().chain(&spellings).enumerate() {
        let answer = guess(from(&server, "192.0.2.9"), email).await;
        assert_eq!(answer.status, if n < 5 { 401 } else { 429 }, "{email}");
    }
}

#[tokio::test]
async fn lim_6_who_is_no_trusted_proxy_cannot_say_where_it_comes_from() {
    let server = Server::with(&[]);
    for n in 0..7 {
        let answer = guess(from(&server, &format!("203.0.113.{n}")), "alice@example.org").await;
        assert_eq!(answer.status, if n < 5 { 401 } else { 429 }, "{n}");
    }
    let log = server.log();
    let warnings: Vec<_> = log.lines().filter(|line| line.contains("WARN") && line.contains("server.trusted_proxies")).collect();
    assert_eq!(warnings.len(), 1, "said once: {log}");
    assert!(warnings[0].contains("X-Forwarded-For") && warnings[0].contains("127.0.0.1"), "{}", warnings[0]);
}

#[tokio::test]
async fn lim_6_what_is_no_address_is_no_way_around() {
    let server = Server::with(&PROXIED);
    let long = "9".repeat(8000);
    for (n, garbage) in
        ["garbage", "", ",,,", "999.1.1.1", "1.2.3.4:80, x", &long, "unknown", "203.0.113.1:", "[203.0.113.2]"].iter().enumerate()
    {
        let answer = guess(from(&server, garbage), "alice@example.org").await;
        assert_eq!(answer.status, if n < 5 { 401 } else { 429 }, "{garbage:.40}");
    }
    // A client may send `X-Forwarded-For` itself; the proxy adds the real address at the right.
    for n in 0..7 {
        let answer = guess(from(&server, &format!("198.51.100.{n}, 203.0.113.77")), "bob@example.org").await;
        assert_eq!(answer.status, if n < 5 { 401 } else { 429 }, "{n}");
    }
    assert!(!server.log().contains("not trusted"), "a proxy that is trusted is not warned of: {}", server.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lim_10_of_fifty_parallel_guesses_five_are_tried() {
    // Hashing is slow enough that all requests arrive before the first is answered.
    let server = Server::with(&[&PROXIED[..], &["passwords.scrypt_log_n=14"]].concat());
    for email in ["alice@example.org", "nobody@example.org"] {
        if email.starts_with("alice") {
            from(&server, "198.51.100.1").register(email, "body").await.expect(201);
        }
        let (barrier, mut tasks) = (Arc::new(Barrier::new(50)), JoinSet::new());
        for _ in 0..50 {
            let (guesser, barrier) = (from(&server, "203.0.113.5"), Arc::clone(&barrier));
            tasks.spawn(async move {
                barrier.wait().await;
                guess(guesser, email).await
            });
        }
        let answers = tasks.join_all().await;
        let tried = answers.iter().filter(|answer| answer.outcome() == (401, "INVALID_CREDENTIALS")).count();
        assert!((1..=5).contains(&tried), "{email}: {tried} were tried");
        answers.iter().filter(|answer| answer.status != 401).for_each(|answer| drop(limited(answer)));
    }
}

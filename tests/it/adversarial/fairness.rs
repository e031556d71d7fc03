//! Who gets in while others attack, at the limits as they are shipped, from many addresses behind a trusted proxy.

use crate::support::{Actor, PASSWORD, Server, TURN, send};
use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

const PROXIED: &str = "server.trusted_proxies=127.0.0.1";
const NEW: &str = "another horse battery";

fn at(mut actor: Actor, address: &str) -> Actor {
    actor.headers = vec![("x-forwarded-for".into(), address.into())];
    actor
}

fn from(server: &Server, address: &str) -> Actor {
    at(Actor::at(server), address)
}

/// A hundred wrong guesses at alice's password from /64s all over a network; then 429 for who is not known.
async fn besiege(server: &Server) {
    let mut guesses = 0;
    for n in 0.. {
        let mut stranger = from(server, &format!("2001:db8:{:x}:{n:x}::1", n / 8));
        for _ in 0..5 {
            match stranger.login("alice@example.org", "not this one", "body").await.status {
                401 => guesses += 1,
                429 => break,
                other => panic!("{other}"),
            }
        }
        if guesses >= 99 {
            break;
        }
        assert!(n < 100, "only {guesses} guesses were taken");
    }
    // The last one, which is for who has not failed yet, and then a stranger who has not failed either.
    assert_eq!(from(server, "203.0.113.77").login("alice@example.org", "not this one", "body").await.status, 401);
    let stranger = from(server, "203.0.113.200").login("alice@example.org", PASSWORD, "body").await;
    assert_eq!(
        (stranger.outcome(), stranger.header("ratelimit").map(|limit| &limit[..15])),
        ((429, "RATE_LIMITED"), Some("\"login-account\""))
    );
}

#[tokio::test]
async fn lim_3_while_an_account_is_besieged_its_owner_gets_in_by_device_by_network_and_when_signed_in() {
    let server = Server::with(&[PROXIED]);
    let home = "198.51.100.7";
    let mut browser = from(&server, home);
    browser.register("alice@example.org", "cookie").await.expect(201);
    let phone = from(&server, "198.51.100.8").login("alice@example.org", PASSWORD, "body").await.expect(200);
    let device = phone.text_of("deviceToken");
    besiege(&server).await;

    // At home, in a browser that was never used before.
    from(&server, home).login("alice@example.org", PASSWORD, "cookie").await.expect(200);
    // On the road, in the browser and in the app that signed in before.
    let mut travelling = at(browser.clone(), "203.0.113.9");
    travelling.login("alice@example.org", PASSWORD, "cookie").await.expect(200);
    let body = json!({ "email": "alice@example.org", "password": PASSWORD, "tokenTransport": "body", "deviceToken": device });
    let mut app = from(&server, "203.0.113.10");
    let answer = send(app.request("POST", "/api/auth/login").json(&body)).await.expect(200);
    app.take(&answer);
    // Signed in, to change the password while it is attacked.
    let answer = app.change_password(PASSWORD, NEW).await.expect(200);
    app.take(&answer);
    app.me().await.expect(200);

    // And an operator can let the owner in from anywhere.
    assert_eq!(from(&server, "203.0.113.11").login("alice@example.org", NEW, "body").await.status, 429);
    server.json(&["user", "unlock", "alice@example.org"], "");
    from(&server, "203.0.113.11").login("alice@example.org", NEW, "body").await.expect(200);
}

#[tokio::test]
async fn lim_3_what_a_device_was_known_by_is_worth_nothing_after_a_new_password() {
    let server = Server::with(&[PROXIED]);
    let mut owner = from(&server, "198.51.100.7");
    owner.register("alice@example.org", "cookie").await.expect(201);
    // Somebody who had the password once, and made as many tokens of it as they liked.
    let mut tokens = Vec::new();
    for n in 0..25 {
        let answer = from(&server, &format!("203.0.{n}.5")).login("alice@example.org", PASSWORD, "body").await.expect(200);
        tokens.push(answer.text_of("deviceToken"));
    }
    server.json(&["user", "password", "alice@example.org"], NEW);
    besiege(&server).await;
    for (n, token) in tokens.iter().enumerate() {
        let guess = json!({ "email": "alice@example.org", "password": "not this one", "deviceToken": token });
        let guesser = from(&server, &format!("192.0.2.{n}"));
        let answer = send(guesser.request("POST", "/api/auth/login").json(&guess)).await;
        assert_eq!(answer.outcome(), (429, "RATE_LIMITED"), "token {n} is a stranger's");
    }
}

/// Ten accounts to an address, each signing in with its right password in a loop: they take turns with others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lim_9_two_addresses_that_sign_in_without_pause_keep_nobody_else_from_it() {
    let _turn = TURN.lock().await;
    let server = Server::with(&[PROXIED, "passwords.scrypt_log_n=15", "passwords.scrypt_p=3", "passwords.hash_threads=2"]);
    server.json(&["user", "add", "honest@example.org"], PASSWORD);
    for (source, n) in (0..2).flat_map(|source| (0..10).map(move |n| (source, n))) {
        server.json(&["user", "add", &format!("hostile{source}-{n}@example.org")], PASSWORD);
    }
    let (is_over, begun) = (Arc::new(AtomicBool::new(false)), Instant::now());
    let mut attack = JoinSet::new();
    for n in 0..100 {
        let (mut hostile, is_over) = (from(&server, &format!("203.0.113.{}", n % 2)), Arc::clone(&is_over));
        attack.spawn(async move {
            let mut taken = 0;
            while !is_over.load(Relaxed) {
                let email = format!("hostile{}-{}@example.org", n % 2, n / 2 % 10);
                if hostile.login(&email, PASSWORD, "body").await.status == 200 {
                    taken += 1;
                } else {
                    // Hashing threads give way to everything else: that this machine sends the attack as well must not
                    // be what stops them.
                    tokio::time::sleep(Duration::from_millis(250)).await;
                }
            }
            taken
        });
    }
    for n in 0..5 {
        let answer = from(&server, &format!("198.51.{n}.1")).login("honest@example.org", PASSWORD, "body").await;
        assert_eq!(answer.outcome(), (200, ""), "{n}: {}", answer.text);
    }
    is_over.store(true, Relaxed);
    let taken: usize = attack.join_all().await.into_iter().sum();
    // Thirty at once and one more every two seconds for each of the two, right or wrong.
    let most = 2 * (31 + begun.elapsed().as_secs() / 2);
    assert!((1..=most).contains(&(taken as u64)), "{taken} of {most}");
}

#[tokio::test]
async fn lim_9_a_guess_counts_once_its_hash_was_begun_even_if_nobody_waits_for_the_answer() {
    let _turn = TURN.lock().await;
    let server = Server::with(&[PROXIED, "passwords.scrypt_log_n=15", "passwords.scrypt_p=3"]);
    server.json(&["user", "add", "alice@example.org"], PASSWORD);
    let body = json!({ "email": "alice@example.org", "password": "not this one" }).to_string();
    let request = format!(
        "POST /api/auth/login HTTP/1.1\r\nHost: {}\r\nX-Forwarded-For: 203.0.113.5\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        server.address,
        body.len()
    );
    for n in 0..5 {
        let mut stream = TcpStream::connect(&server.address).await.expect("connected");
        stream.write_all(request.as_bytes()).await.expect("sent");
        // Long enough for the hash to begin, not for its end.
        let answered = tokio::time::timeout(Duration::from_millis(60), stream.read_u8()).await.is_ok();
        drop(stream);
        assert!(!answered, "{n}: faster than it should be");
    }
    // Whoever hung up is noticed a moment later.
    let mut guesser = from(&server, "203.0.113.5");
    let mut outcome = guesser.login("alice@example.org", "not this one", "body").await.status;
    for _ in 0..5 {
        if outcome == 429 {
            break;
        }
        outcome = guesser.login("alice@example.org", "not this one", "body").await.status;
    }
    assert_eq!(outcome, 429, "five are free, and those were five");
}

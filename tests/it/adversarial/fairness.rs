//! Users can still log in while an attack from many addresses runs, at the default limits, behind a trusted proxy.

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
const NEW_PASSWORD: &str = "another horse battery";

fn at(mut actor: Actor, address: &str) -> Actor {
    actor.headers = vec![("x-forwarded-for".into(), address.into())];
    actor
}

fn from(server: &Server, address: &str) -> Actor {
    at(Actor::at(server), address)
}

/// Guesses alice's password a hundred times, wrongly and from many /64 networks. After that, unknown devices get 429.
async fn guess_from_many_networks(server: &Server) {
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
    // The hundredth guess comes from an address that has not failed yet; after it, even such an address is refused.
    assert_eq!(from(server, "203.0.113.77").login("alice@example.org", "not this one", "body").await.status, 401);
    let stranger = from(server, "203.0.113.200").login("alice@example.org", PASSWORD, "body").await;
    assert_eq!(
        (stranger.outcome(), stranger.header("ratelimit").map(|limit| &limit[..15])),
        ((429, "RATE_LIMITED"), Some("\"login-account\""))
    );
}

#[tokio::test]
async fn lim_3_while_an_account_is_attacked_its_owner_gets_in_by_device_by_network_and_when_signed_in() {
    let server = Server::with(&[PROXIED]);
    let home = "198.51.100.7";
    let mut browser = from(&server, home);
    browser.register("alice@example.org", "cookie").await.expect(201);
    let phone = from(&server, "198.51.100.8").login("alice@example.org", PASSWORD, "body").await.expect(200);
    let device = phone.text_of("deviceToken");
    guess_from_many_networks(&server).await;

    // From the home network, in a browser that was never used before.
    from(&server, home).login("alice@example.org", PASSWORD, "cookie").await.expect(200);
    // From another network, in the browser and in the app that logged in before.
    let mut travelling = at(browser.clone(), "203.0.113.9");
    travelling.login("alice@example.org", PASSWORD, "cookie").await.expect(200);
    let body = json!({ "email": "alice@example.org", "password": PASSWORD, "tokenTransport": "body", "deviceToken": device });
    let mut app = from(&server, "203.0.113.10");
    let answer = send(app.request("POST", "/api/auth/login").json(&body)).await.expect(200);
    app.take(&answer);
    // A logged-in user can change the password during the attack.
    let answer = app.change_password(PASSWORD, NEW_PASSWORD).await.expect(200);
    app.take(&answer);
    app.me().await.expect(200);

    // An operator can unlock the account for logins from anywhere.
    assert_eq!(from(&server, "203.0.113.11").login("alice@example.org", NEW_PASSWORD, "body").await.status, 429);
    server.json(&["user", "unlock", "alice@example.org"], "");
    from(&server, "203.0.113.11").login("alice@example.org", NEW_PASSWORD, "body").await.expect(200);
}

#[tokio::test]
async fn lim_3_what_a_device_was_known_by_is_worth_nothing_after_a_new_password() {
    let server = Server::with(&[PROXIED]);
    let mut owner = from(&server, "198.51.100.7");
    owner.register("alice@example.org", "cookie").await.expect(201);
    // An attacker who once knew the password has collected many device tokens.
    let mut tokens = Vec::new();
    for n in 0..25 {
        let answer = from(&server, &format!("203.0.{n}.5")).login("alice@example.org", PASSWORD, "body").await.expect(200);
        tokens.push(answer.text_of("deviceToken"));
    }
    server.json(&["user", "password", "alice@example.org"], NEW_PASSWORD);
    guess_from_many_networks(&server).await;
    for (n, token) in tokens.iter().enumerate() {
        let guess = json!({ "email": "alice@example.org", "password": "not this one", "deviceToken": token });
        let guesser = from(&server, &format!("192.0.2.{n}"));
        let answer = send(guesser.request("POST", "/api/auth/login").json(&guess)).await;
        assert_eq!(answer.outcome(), (429, "RATE_LIMITED"), "token {n} is a stranger's");
    }
}

/// Two addresses log in to ten accounts each, with the right passwords and in a loop. Logins from other addresses must not
/// wait behind all of theirs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lim_9_two_addresses_that_sign_in_without_pause_keep_nobody_else_from_it() {
    let _turn = TURN.lock().await;
    let server = Server::with(&[PROXIED, "passwords.scrypt_log_n=15", "passwords.scrypt_p=3", "passwords.hash_threads=2"]);
    server.json(&["user", "add", "bystander@example.org"], PASSWORD);
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
                    // The hashing threads have low priority, and this machine runs the attackers too: without a pause
                    // they would take all processor time.
                    tokio::time::sleep(Duration::from_millis(250)).await;
                }
            }
            taken
        });
    }
    for n in 0..5 {
        let answer = from(&server, &format!("198.51.{n}.1")).login("bystander@example.org", PASSWORD, "body").await;
        assert_eq!(answer.outcome(), (200, ""), "{n}: {}", answer.text);
    }
    is_over.store(true, Relaxed);
    let taken: usize = attack.join_all().await.into_iter().sum();
    // Each of the two addresses has a burst of thirty hashes and one more every two seconds, whatever the password.
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
        // Long enough for the hash to begin, too short for it to finish.
        let answered = tokio::time::timeout(Duration::from_millis(60), stream.read_u8()).await.is_ok();
        drop(stream);
        assert!(!answered, "{n}: faster than it should be");
    }
    // The server notices a closed connection only a moment later.
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

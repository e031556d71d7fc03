//! Refreshes at the same moment: one wins, and the others are not treated as reuse.

use crate::support::{Actor, Answer, PASSWORD, Server};
use serde_json::json;
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio::{sync::Barrier, task::JoinSet};

const THREADS: usize = 50;
const ROUNDS: usize = 20;

/// Fifty tasks refresh with the same token at once.
async fn stampede(actor: &Actor) -> Vec<Answer> {
    let (barrier, mut tasks) = (Arc::new(Barrier::new(THREADS)), JoinSet::new());
    for _ in 0..THREADS {
        let (actor, barrier) = (actor.clone(), Arc::clone(&barrier));
        tasks.spawn(async move {
            barrier.wait().await;
            actor.try_refresh().await
        });
    }
    tasks.join_all().await
}

/// All fifty present the current token, so each is counted by the limit before one of them wins.
const STAMPEDE: (&str, &str) = ("limits.refresh_per_minute", "fifty at once, many times over");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ref_3_of_parallel_refreshes_exactly_one_wins() {
    let server = Server::lifting(&[STAMPEDE], &[]);
    Actor::registered_with_tokens(&server, "alice@example.org").await;
    let mut lost_races = 0;
    for round in 0..ROUNDS {
        let mut alice = Actor::at(&server);
        alice.login("alice@example.org", PASSWORD, "body").await.expect(200);
        let answers = stampede(&alice).await;
        let mut children = HashSet::new();
        let mut caught = false;
        for answer in &answers {
            match answer.outcome() {
                (200, _) => assert!(children.insert(answer.text_of("refreshToken")), "round {round}: two winners of one child"),
                (409, "REFRESH_CONFLICT") => {
                    lost_races += 1;
                    assert_eq!((answer.header("retry-after"), answer.set_cookies().len()), (Some("1"), 0));
                }
                (401, "TOKEN_REUSE_DETECTED" | "TOKEN_REVOKED") => caught = true,
                other => panic!("round {round}: {other:?}"),
            }
        }
        assert_eq!(children.len(), 1, "round {round}");
        let child = alice.refresh_with(children.iter().next().expect("one")).await;
        assert_eq!(child.status, if caught { 401 } else { 200 }, "round {round}: caught {caught}, {}", child.text);
    }
    // Of a thousand requests, some arrived before the winner's commit and were answered 409, though no browser sent them.
    assert!(lost_races > 0, "nobody ever just lost a race");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ref_3_the_tabs_of_a_browser_lose_races_and_nothing_else() {
    // The window is long enough even for a slow machine.
    let server = Server::lifting(&[STAMPEDE], &["sessions.conflict_window=30s"]);
    let mut alice = Actor::registered(&server, "alice@example.org").await.as_browser();
    for round in 0..ROUNDS {
        let answers = stampede(&alice).await;
        let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
        assert_eq!(won.len(), 1, "round {round}");
        for answer in lost {
            assert_eq!(answer.outcome(), (409, "REFRESH_CONFLICT"), "round {round}");
            assert_eq!((answer.header("retry-after"), answer.body["retryAfter"].as_u64()), (Some("1"), Some(1)));
            assert_eq!(answer.set_cookies().len(), 0, "the winner's cookie stays in the jar");
        }
        alice.me().await.expect(200);
        alice.take(won[0]);
        alice.me().await.expect(200);
    }
    alice.refresh().await.expect(200);
}

#[tokio::test]
async fn a_browser_that_comes_late_has_lost_a_race_and_one_that_comes_later_is_a_thief() {
    let server = Server::with(&["sessions.conflict_window=20s"]);
    let mut alice = Actor::registered(&server, "alice@example.org").await.as_browser();
    let slow_tab = alice.clone();
    alice.refresh().await.expect(200);
    let lost = slow_tab.try_refresh().await;
    assert_eq!(lost.outcome(), (409, "REFRESH_CONFLICT"));
    assert_eq!(lost.set_cookies().len(), 0);
    alice.refresh().await.expect(200);
    assert_eq!(slow_tab.try_refresh().await.outcome(), (409, "REFRESH_CONFLICT"), "two generations back, still in time");
    server.advance(Duration::from_secs(21));
    alice.me().await.expect(200);
    assert_eq!(slow_tab.try_refresh().await.outcome(), (401, "TOKEN_REUSE_DETECTED"));
    assert_eq!(alice.me().await.outcome(), (401, "TOKEN_REVOKED"));
}

#[tokio::test]
async fn the_conflict_window_is_two_seconds_unless_configured() {
    let server = Server::start();
    let mut alice = Actor::registered(&server, "alice@example.org").await.as_browser();
    let slow_tab = alice.clone();
    alice.refresh().await.expect(200);
    server.advance(Duration::from_secs(2));
    assert_eq!(slow_tab.try_refresh().await.outcome(), (401, "TOKEN_REUSE_DETECTED"));
}

#[tokio::test]
async fn a_client_that_is_no_browser_has_no_conflict_window() {
    let server = Server::with(&["sessions.conflict_window=30s"]);
    for transport in ["cookie", "body"] {
        let mut alice = Actor::at(&server);
        alice.register(&format!("{transport}@example.org"), transport).await.expect(201);
        let thief = alice.clone();
        alice.refresh().await.expect(200);
        assert_eq!(thief.try_refresh().await.outcome(), (401, "TOKEN_REUSE_DETECTED"), "{transport}");
        assert_eq!(alice.me().await.outcome(), (401, "TOKEN_REVOKED"));
    }
}

#[tokio::test]
async fn ref_4_within_its_grace_the_predecessor_gets_the_same_child() {
    let server = Server::with(&["sessions.refresh_grace=30s"]);
    for transport in ["cookie", "body"] {
        let mut alice = Actor::at(&server);
        alice.register(&format!("{transport}@example.org"), transport).await.expect(201);
        let before = alice.clone();
        alice.refresh().await.expect(200);
        // The answer is lost, three times in a row.
        for _ in 0..3 {
            let mut again = before.clone();
            again.refresh().await.expect(200);
            assert_eq!(again.refresh_token(), alice.refresh_token(), "{transport}");
            again.me().await.expect(200);
        }
        assert_eq!(before.try_refresh().await.outcome(), (409, "REFRESH_CONFLICT"), "{transport}: once too often is no theft");
        alice.refresh().await.expect(200);
        // Once the new token has been used, the old one counts as reuse.
        assert_eq!(before.try_refresh().await.outcome(), (401, "TOKEN_REUSE_DETECTED"), "{transport}");
        assert_eq!(alice.try_refresh().await.outcome(), (401, "TOKEN_REVOKED"));
    }
}

#[tokio::test]
async fn ref_4_once_the_child_is_used_or_the_grace_is_over_it_is_reuse() {
    let server = Server::with(&["sessions.refresh_grace=20s"]);
    let mut alice = Actor::registered_with_tokens(&server, "alice@example.org").await;
    let grandparent = alice.refresh_token();
    alice.refresh().await.expect(200);
    let parent = alice.refresh_token();
    alice.refresh().await.expect(200);
    assert_eq!(alice.refresh_with(&parent).await.expect(200).text_of("refreshToken"), alice.refresh_token());
    assert_eq!(alice.refresh_with(&grandparent).await.outcome(), (401, "TOKEN_REUSE_DETECTED"));
    assert_eq!(alice.me().await.outcome(), (401, "TOKEN_REVOKED"));

    alice.login("alice@example.org", PASSWORD, "body").await.expect(200);
    let parent = alice.refresh_token();
    alice.refresh().await.expect(200);
    server.advance(Duration::from_secs(21));
    assert_eq!(alice.refresh_with(&parent).await.outcome(), (401, "TOKEN_REUSE_DETECTED"));
    assert_eq!(alice.me().await.outcome(), (401, "TOKEN_REVOKED"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ref_4_in_a_stampede_grace_never_makes_a_second_child() {
    let server = Server::lifting(&[STAMPEDE], &["sessions.refresh_grace=30s"]);
    let alice = Actor::registered_with_tokens(&server, "alice@example.org").await;
    let answers = stampede(&alice).await;
    let children: HashSet<_> = answers.iter().filter(|answer| answer.status == 200).map(|answer| answer.text_of("refreshToken")).collect();
    assert_eq!(children.len(), 1);
    assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 401 | 409)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ref_7_no_refresh_slips_past_a_sign_out() {
    let server = Server::lifting(&[("limits.hashes_per_minute", "a login for each of two hundred rounds")], &[]);
    Actor::registered_with_tokens(&server, "alice@example.org").await;
    for round in 0..200 {
        let mut alice = Actor::at(&server);
        alice.login("alice@example.org", PASSWORD, "body").await.expect(200);
        let barrier = Arc::new(Barrier::new(2));
        let (mut leaving, refreshing, start) = (alice.clone(), alice.clone(), Arc::clone(&barrier));
        let left = tokio::spawn(async move {
            start.wait().await;
            leaving.logout().await.expect(200);
        });
        barrier.wait().await;
        let refreshed = refreshing.try_refresh().await;
        left.await.expect("logged out");
        assert!(matches!(refreshed.status, 200 | 401), "round {round}: {}", refreshed.text);
        alice.take(&refreshed);
        assert_eq!(alice.me().await.outcome(), (401, "TOKEN_REVOKED"), "round {round}");
        assert_eq!(alice.try_refresh().await.outcome(), (401, "TOKEN_REVOKED"), "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aut_14_no_sign_in_slips_past_being_disabled() {
    // The hash is slow enough that the user is disabled while it is computed.
    let failures = ("limits.login_failures", "a login of a disabled user counts as a failure");
    let server = Server::lifting(&[failures, ("limits.hashes_per_minute", "a login for every round")], &["passwords.scrypt_log_n=13"]);
    let admin = Actor::with_role(&server, "admin@example.org", "admin").await;
    let alice = Actor::registered_with_tokens(&server, "alice@example.org").await;
    let path = format!("/api/users/{}", alice.id);
    for round in 0..30 {
        let barrier = Arc::new(Barrier::new(2));
        let (mut arriving, start) = (Actor::at(&server), Arc::clone(&barrier));
        let arrived = tokio::spawn(async move {
            start.wait().await;
            let answer = arriving.login("alice@example.org", PASSWORD, "body").await;
            (arriving, answer)
        });
        barrier.wait().await;
        // Disables before, during or after the verification of the password, depending on the round.
        tokio::time::sleep(Duration::from_millis(2 * (round % 15))).await;
        admin.patch(&path, &json!({ "disabled": true })).await.expect(200);
        let (arrived, answer) = arrived.await.expect("answered");
        assert!(matches!(answer.outcome(), (200, "") | (401, "INVALID_CREDENTIALS")), "round {round}: {}", answer.text);
        // The session must be void while the user is disabled, and after the user is enabled again.
        if round % 2 == 0 {
            admin.patch(&path, &json!({ "disabled": false })).await.expect(200);
        }
        if answer.status == 200 {
            assert_eq!(arrived.me().await.outcome(), (401, "TOKEN_REVOKED"), "round {round}");
            assert_eq!(arrived.try_refresh().await.outcome(), (401, "TOKEN_REVOKED"), "round {round}");
        }
        admin.patch(&path, &json!({ "disabled": false })).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ref_11_of_parallel_password_changes_exactly_one_counts() {
    let server = Server::lifting(&[("limits.login_failures", "four at once of which three are wrong by then")], &[]);
    let alice = Actor::registered_with_tokens(&server, "alice@example.org").await;
    // As many requests as may wait for one account.
    let (barrier, mut tasks) = (Arc::new(Barrier::new(4)), JoinSet::new());
    for i in 0..4 {
        let (alice, barrier) = (alice.clone(), Arc::clone(&barrier));
        tasks.spawn(async move {
            barrier.wait().await;
            let password = format!("a new password {i}");
            (alice.change_password(PASSWORD, &password).await, password)
        });
    }
    let answers = tasks.join_all().await;
    let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|(answer, _)| answer.status == 200);
    assert_eq!(won.len(), 1);
    assert!(lost.iter().all(|(answer, _)| matches!(answer.outcome(), (401, "INVALID_CREDENTIALS" | "TOKEN_REVOKED"))));
    for (_, password) in &lost {
        assert_eq!(Actor::at(&server).login("alice@example.org", password, "body").await.outcome(), (401, "INVALID_CREDENTIALS"));
    }
    Actor::at(&server).login("alice@example.org", &won[0].1, "body").await.expect(200);
    let mut heir = alice.clone();
    heir.take(&won[0].0);
    heir.me().await.expect(200);
    heir.refresh().await.expect(200);
}

//! A password change, or the disabling of a user, in a race with the user's refreshes and logins.

use crate::support::{Actor, PASSWORD, Server};
use std::sync::Arc;
use tokio::sync::Barrier;

const ROUNDS: usize = 20;

/// REF-11, REF-7: whichever request comes first, after the change only the session that made it is valid.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ref_11_no_refresh_and_no_sign_in_slips_past_a_password_change() {
    let server = Server::lifting(&[("limits.hashes_per_minute", "four hashes for every round")], &[]);
    let mut owner = Actor::registered_with_tokens(&server, "alice@example.org").await;
    let (mut old, mut new) = (PASSWORD.to_owned(), "another battery horse".to_owned());
    for round in 0..ROUNDS {
        let mut thief = Actor::at(&server);
        thief.login("alice@example.org", &old, "body").await.expect(200);
        let mut newcomer = Actor::at(&server);
        let barrier = Arc::new(Barrier::new(3));
        let refreshed = tokio::spawn({
            let (thief, barrier) = (thief.clone(), Arc::clone(&barrier));
            async move {
                barrier.wait().await;
                thief.try_refresh().await
            }
        });
        let login = tokio::spawn({
            let (mut newcomer, barrier, old) = (newcomer.clone(), Arc::clone(&barrier), old.clone());
            async move {
                barrier.wait().await;
                newcomer.login("alice@example.org", &old, "body").await
            }
        });
        barrier.wait().await;
        let changed = owner.change_password(&old, &new).await.expect(200);
        owner.take(&changed);
        let (refreshed, login) = (refreshed.await.expect("answered"), login.await.expect("answered"));
        assert!(matches!(refreshed.outcome(), (200, _) | (401, "TOKEN_REVOKED")), "round {round}: {}", refreshed.text);
        assert!(matches!(login.outcome(), (200, _) | (401, "INVALID_CREDENTIALS")), "round {round}: {}", login.text);
        thief.take(&refreshed);
        assert_eq!(thief.me().await.outcome(), (401, "TOKEN_REVOKED"), "round {round}");
        assert_eq!(thief.try_refresh().await.outcome(), (401, "TOKEN_REVOKED"), "round {round}");
        if login.status == 200 {
            newcomer.take(&login);
            assert_eq!(newcomer.me().await.outcome(), (401, "TOKEN_REVOKED"), "round {round}");
            assert_eq!(newcomer.try_refresh().await.outcome(), (401, "TOKEN_REVOKED"), "round {round}");
        }
        owner.me().await.expect(200);
        owner.refresh().await.expect(200);
        std::mem::swap(&mut old, &mut new);
    }
}

/// A login that races with the disabling of its user leaves no valid session (AUT-14).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aut_14_no_sign_in_slips_past_being_disabled() {
    let failures = ("limits.login_failures", "a login of a disabled user counts as a failure");
    let server = Server::lifting(&[failures, ("limits.hashes_per_minute", "a login for every round")], &[]);
    let admin = Actor::with_role(&server, "admin@example.org", "admin").await;
    let user = Actor::registered_with_tokens(&server, "bob@example.org").await;
    let path = format!("/api/users/{}", user.id);
    for round in 0..ROUNDS {
        let barrier = Arc::new(Barrier::new(2));
        let mut bob = Actor::at(&server);
        let login = tokio::spawn({
            let (mut bob, barrier) = (bob.clone(), Arc::clone(&barrier));
            async move {
                barrier.wait().await;
                bob.login("bob@example.org", PASSWORD, "body").await
            }
        });
        barrier.wait().await;
        admin.patch(&path, &serde_json::json!({ "disabled": true })).await.expect(200);
        let login = login.await.expect("answered");
        assert!(matches!(login.outcome(), (200, _) | (401, "INVALID_CREDENTIALS")), "round {round}: {}", login.text);
        if login.status == 200 {
            bob.take(&login);
            assert_eq!(bob.me().await.outcome(), (401, "TOKEN_REVOKED"), "round {round}");
            assert_eq!(bob.try_refresh().await.outcome(), (401, "TOKEN_REVOKED"), "round {round}");
        }
        admin.patch(&path, &serde_json::json!({ "disabled": false })).await.expect(200);
        if login.status == 200 {
            assert_eq!(bob.try_refresh().await.outcome(), (401, "TOKEN_REVOKED"), "round {round}: enabling brings nothing back");
        }
    }
}

//! SIGKILL at random moments under load: nothing acknowledged is lost, and no change is stored in part
//! (STO-1, STO-3, REF-2, REV-3).
//!
//! Several clients make changes and record what was answered with a 2xx and what was never answered. The
//! server is killed, started again on the same data, and compared with the records: an acknowledged change
//! must be there, one that was not answered may be there as a whole or not at all. `DOORWARD_TEST_CRASHES`
//! sets the number of kills.

use crate::support::{Actor, PASSWORD, Server};
use serde_json::{Value, json};
use std::time::Duration;

const CLIENTS: usize = 6;
/// The longest time before a server is killed, in milliseconds.
const MAX_UPTIME_MS: u64 = 120;

/// The acknowledged state of one account.
struct Record {
    email: String,
    id: Option<String>,
    /// The role that was acknowledged last.
    role: &'static str,
    refresh: String,
    /// The last refresh token that an acknowledged refresh or logout made void.
    dead_refresh: Option<String>,
    /// Access tokens that an acknowledged change made void.
    dead_access: Vec<String>,
    access: String,
    state: State,
    /// The request that was sent and not answered.
    pending: Option<Step>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    LoggedIn,
    LoggedOut,
    Deleted,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Register,
    Refresh,
    Promote,
    Logout,
    Delete,
}

/// Sends one request. `None` if the server died before the whole answer arrived.
async fn ask(request: reqwest::RequestBuilder) -> Option<(u16, Value)> {
    let answer = request.send().await.ok()?;
    let status = answer.status().as_u16();
    let text = answer.text().await.ok()?;
    Some((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
}

fn text(body: &Value, member: &str) -> String {
    body[member].as_str().unwrap_or_else(|| panic!("no {member} in {body}")).to_owned()
}

/// Creates accounts and changes them until the server is gone.
async fn client(anyone: Actor, admin: Actor, name: String) -> Vec<Record> {
    let mut records = Vec::new();
    for number in 0.. {
        let mut record = Record {
            email: format!("{name}-{number}@example.org"),
            id: None,
            role: "viewer",
            refresh: String::new(),
            dead_refresh: None,
            dead_access: Vec::new(),
            access: String::new(),
            state: State::LoggedIn,
            pending: None,
        };
        let steps: &[Step] = match number % 4 {
            0 => &[Step::Register, Step::Refresh, Step::Refresh, Step::Promote],
            1 => &[Step::Register, Step::Refresh, Step::Logout],
            2 => &[Step::Register, Step::Promote, Step::Delete],
            _ => &[Step::Register],
        };
        let mut alive = true;
        for &step in steps {
            record.pending = Some(step);
            let Some((status, body)) = ask(record.request(step, &anyone, &admin)).await else {
                alive = false;
                break;
            };
            assert!((200..300).contains(&status), "{}: {step:?}: {status}: {body}", record.email);
            record.acknowledge(step, &body);
        }
        records.push(record);
        if !alive {
            break;
        }
    }
    records
}

impl Record {
    fn request(&self, step: Step, anyone: &Actor, admin: &Actor) -> reqwest::RequestBuilder {
        let id = self.id.as_deref().unwrap_or_default();
        match step {
            Step::Register => {
                let body = json!({ "email": self.email, "password": PASSWORD, "tokenTransport": "body" });
                anyone.request("POST", "/api/auth/register").json(&body)
            }
            Step::Refresh => anyone.request("POST", "/api/auth/refresh").json(&json!({ "refreshToken": self.refresh })),
            Step::Promote => admin.bearer("PATCH", &format!("/api/users/{id}/role")).json(&json!({ "role": "editor" })),
            Step::Logout => {
                anyone.request("POST", "/api/auth/logout").bearer_auth(&self.access).json(&json!({ "refreshToken": self.refresh }))
            }
            Step::Delete => admin.bearer("DELETE", &format!("/api/users/{id}")),
        }
    }

    fn acknowledge(&mut self, step: Step, body: &Value) {
        self.pending = None;
        match step {
            Step::Register => {
                self.id = Some(text(&body["user"], "id"));
                (self.access, self.refresh) = (text(body, "accessToken"), text(body, "refreshToken"));
            }
            Step::Refresh => {
                self.dead_refresh = Some(std::mem::replace(&mut self.refresh, text(body, "refreshToken")));
                self.access = text(body, "accessToken");
            }
            Step::Promote => {
                self.role = "editor";
                self.dead_access.push(self.access.clone());
            }
            Step::Logout => {
                self.state = State::LoggedOut;
                self.dead_access.push(self.access.clone());
            }
            Step::Delete => {
                self.state = State::Deleted;
                self.dead_access.push(self.access.clone());
            }
        }
    }

    /// The number of acknowledged changes in this record.
    fn acknowledged(&self) -> usize {
        usize::from(self.id.is_some())
            + usize::from(self.dead_refresh.is_some())
            + usize::from(self.role != "viewer")
            + usize::from(self.state != State::LoggedIn)
    }

    /// Compares the restarted server with this record. Returns what is lost, in words.
    async fn verify(&self, anyone: &Actor, admin: &Actor) -> Vec<String> {
        let mut lost = Vec::new();
        let mut check = |holds: bool, what: String| {
            if !holds {
                lost.push(format!("{} ({:?}, pending {:?}): {what}", self.email, self.state, self.pending));
            }
        };
        let login = json!({ "email": self.email, "password": PASSWORD, "tokenTransport": "body" });
        let (login_status, login_body) = reached(ask(anyone.request("POST", "/api/auth/login").json(&login)).await);
        let Some(id) = &self.id else {
            // The registration is there as a whole or not at all: the address is taken exactly if the login works.
            let (status, body) = reached(ask(self.request(Step::Register, anyone, admin)).await);
            let whole = matches!((login_status, status), (200, 409) | (401, 201));
            check(whole, format!("half a registration: login {login_status}, registering again {status} {body}"));
            return lost;
        };
        let (shown_status, shown) = reached(ask(admin.bearer("GET", &format!("/api/users/{id}"))).await);
        let may_be_gone = self.pending == Some(Step::Delete);
        let is_gone = shown_status == 404;
        if self.state == State::Deleted || (may_be_gone && is_gone) {
            check(is_gone && login_status == 401, format!("deleted, yet shown with {shown_status}, login {login_status}"));
        } else {
            check(shown_status == 200 && login_status == 200, format!("shown with {shown_status}, login {login_status}"));
            let role = shown["user"]["role"].as_str().unwrap_or_default();
            let may_be_promoted = self.pending == Some(Step::Promote) && role == "editor";
            check(role == self.role || may_be_promoted, format!("role {role}, acknowledged was {}", self.role));
            check(login_body["user"]["role"] == role, "login and list tell different roles".into());
        }
        for token in &self.dead_access {
            let (status, body) = reached(ask(anyone.request("GET", "/api/users/me").bearer_auth(token)).await);
            check(status == 401 && body["error"] == "TOKEN_REVOKED", format!("a revoked access token: {status} {body}"));
        }
        let refresh = |token: &str| ask(anyone.request("POST", "/api/auth/refresh").json(&json!({ "refreshToken": token })));
        let (status, body) = reached(refresh(&self.refresh).await);
        let error = body["error"].as_str().unwrap_or_default();
        let holds = match (self.state, self.pending) {
            (State::LoggedIn, None | Some(Step::Promote | Step::Register)) => status == 200,
            // The unanswered refresh may have happened; this token is then a used one.
            (State::LoggedIn, Some(Step::Refresh)) => status == 200 || error == "TOKEN_REUSE_DETECTED",
            (State::LoggedIn, Some(Step::Logout | Step::Delete)) => status == 200 || error == "TOKEN_REVOKED",
            (State::LoggedOut | State::Deleted, _) => error == "TOKEN_REVOKED",
        };
        check(holds, format!("the refresh token that was acknowledged last: {status} {body}"));
        if let (Some(token), true) = (&self.dead_refresh, status == 200) {
            let (status, body) = reached(refresh(token).await);
            check(body["error"] == "TOKEN_REUSE_DETECTED", format!("a refresh token that was used: {status} {body}"));
        }
        lost
    }
}

/// The answer of a server that was not killed, so there must be one.
fn reached(answer: Option<(u16, Value)>) -> (u16, Value) {
    let (status, body) = answer.expect("the server is up");
    assert!(status < 500, "{status}: {body}");
    (status, body)
}

/// Checks that the e-mail index and the users agree.
async fn no_user_is_half_there(admin: &Actor) -> usize {
    let (mut cursor, mut seen) = (String::new(), 0);
    loop {
        let (status, page) = reached(ask(admin.bearer("GET", &format!("/api/users?limit=100{cursor}"))).await);
        assert_eq!(status, 200, "{page}");
        for user in page["users"].as_array().expect("a list") {
            assert!(user["email"].as_str().is_some_and(|email| email.ends_with("@example.org")), "{user}");
            seen += 1;
        }
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return seen,
        }
    }
}

fn crashes() -> usize {
    std::env::var("DOORWARD_TEST_CRASHES").ok().map_or(25, |n| n.parse().expect("a number"))
}

fn random_millis(most: u64) -> Duration {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("randomness");
    Duration::from_millis(u64::from_le_bytes(bytes) % most)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sto_1_sto_3_rev_3_sigkill_loses_nothing_acknowledged_and_leaves_nothing_half_made() {
    let limits = ["limits.register_burst", "limits.refresh_per_minute", "limits.hashes_per_minute"];
    let limits = limits.map(|limit| (limit, "clients that do nothing else"));
    let mut server = Server::lifting(&limits, &[]);
    let mut admin = Actor::with_role(&server, "admin@example.org", "admin").await;
    let (mut acknowledged, mut unanswered, mut lost) = (0, 0, Vec::new());
    let cycles = crashes();
    for cycle in 0..cycles {
        let clients: Vec<_> =
            (0..CLIENTS).map(|number| tokio::spawn(client(Actor::at(&server), admin.clone(), format!("u{cycle}-{number}")))).collect();
        tokio::time::sleep(random_millis(MAX_UPTIME_MS)).await;
        server.kill();
        let mut records = Vec::new();
        for client in clients {
            records.extend(client.await.expect("a client that met no wrong answer"));
        }
        server.start_again();
        admin = admin.moved_to(&server);
        admin.login("admin@example.org", PASSWORD, "body").await.expect(200);
        let anyone = Actor::at(&server);
        for record in &records {
            acknowledged += record.acknowledged();
            unanswered += usize::from(record.pending.is_some());
            lost.extend(record.verify(&anyone, &admin).await);
        }
        assert!(no_user_is_half_there(&admin).await > 0);
        assert!(lost.is_empty(), "cycle {cycle}:\n{}", lost.join("\n"));
    }
    println!("cycles {cycles}, acknowledged {acknowledged}, unanswered {unanswered}, lost {}", lost.len());
    assert!(acknowledged > cycles, "too little was acknowledged to prove anything: {acknowledged}");
}

/// REF-2: the revocation after a reuse is durable, even though its answer is an error.
#[tokio::test]
async fn ref_2_a_revocation_by_reuse_outlives_a_sigkill_right_after_its_answer() {
    let mut server = Server::start();
    for round in 0..5 {
        let mut ada = Actor::registered_with_tokens(&server, &format!("ada{round}@example.org")).await;
        let first = ada.clone();
        ada.refresh().await.expect(200);
        assert_eq!(first.try_refresh().await.outcome(), (401, "TOKEN_REUSE_DETECTED"));
        server.crash();
        let ada = ada.moved_to(&server);
        assert_eq!(ada.try_refresh().await.outcome(), (401, "TOKEN_REVOKED"), "round {round}");
        assert_eq!(ada.me().await.outcome(), (401, "TOKEN_REVOKED"), "round {round}");
    }
}

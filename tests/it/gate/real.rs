//! The real gate, in the binary, with the apps of these tests behind it.

use super::Gate;
use crate::support::{self, Actor, Server, cookie, send};
use serde_json::json;

const HOST: &str = "app.example.org";
const LOGIN: &str = "login.example.org";

/// The server behind a gate. The gate is asked at its own address.
pub struct Real {
    pub gate: Gate,
    pub server: Server,
    /// The user whose pass and key the gate has.
    pub user: Actor,
}

impl Real {
    /// A server with an app that lets editors in, and what gets one of them through.
    pub fn start(takes_basic: bool) -> Self {
        let login = format!("[server]\npublic_url = \"https://{LOGIN}\"\n");
        tokio::runtime::Runtime::new().expect("a runtime").block_on(Self::start_here(&format!("https://{HOST}"), &login, takes_basic))
    }

    /// The same without TLS anywhere, at a host of this machine.
    pub fn start_plain(host: &str) -> Self {
        let here = format!("http://{host}");
        let mut real = tokio::runtime::Runtime::new().expect("a runtime").block_on(Self::start_here(
            &here,
            "[registration]\nmode = \"invite\"\n",
            false,
        ));
        real.gate.scheme = "http";
        host.clone_into(&mut real.gate.host);
        real.gate.login_host.clone_from(&real.server.address);
        real
    }

    async fn start_here(origin: &str, head: &str, takes_basic: bool) -> Self {
        let app = format!(
            "{head}[[gate.app]]\nname = \"app\"\norigin = \"{origin}\"\nroles = [\"editor\"]\n\
             public = [\"/public/*\", \"POST /public/*\"]\nbasic = {takes_basic}\n[[gate.app.path]]\nprefix = \"/admin\"\nroles = [\"admin\"]\n"
        );
        // Seven proxies ask with one key.
        let asked = support::Gate::on(Server::with_file(&app, &["limits.api_key_per_minute=100000"]));
        let user = Actor::with_role(&asked.server, "ada@example.org", "editor").await;
        let made = asked.server.json(
            &["api-key", "add", "ada@example.org", "--name", "test", "--app", "app", "--permission", "articles:read,articles:write"],
            "",
        );
        let pass = enter(&asked, &user, origin).await;
        let support::Gate { server, .. } = asked;
        let email = "ada@example.org";
        let identity = [email, email, email, "editor", &user.id, email, "editor", "articles:read,articles:write"].map(str::to_owned);
        let gate = Gate {
            address: server.address.clone(),
            scheme: "https",
            host: HOST.into(),
            login_host: LOGIN.into(),
            pass,
            key: made["secret"].as_str().expect("a key").to_owned(),
            identity,
        };
        Self { gate, server, user }
    }
}

/// Goes the way of a browser from a question to a pass.
async fn enter(asked: &support::Gate, user: &Actor, origin: &str) -> String {
    let (_, host) = origin.split_once("://").expect("an origin");
    let ask = |uri: &str| asked.ask_at("/gate/forward", host, "GET", uri);
    let begun = send(ask("/.doorward/enter?to=/")).await.expect(303);
    let request = begun.header("location").expect("a page").split_once("request=").expect("a request").1.to_owned();
    let answer = user.post("/api/gate/enter", &json!({ "request": request })).await.expect(200);
    let done = answer.text_of("location").strip_prefix(origin).expect("at the app").to_owned();
    cookie(&send(ask(&done).header("cookie", cookie(&begun))).await.expect(303))
}

//! A server with apps behind its gate, asked as a proxy asks it.

use super::{Actor, Answer, Server, send};
use serde_json::json;

/// The apps of all tests, on this machine.
const APPS: &str = r#"
[registration]
mode = "invite"

[[gate.app]]
name = "wiki"
origin = "http://localhost:7001"
roles = ["*"]
public = ["/manifest.json", "/share/*", "POST /hooks/*", "OPTIONS /api/*"]
trusted_origins = ["http://localhost:7009"]
[[gate.app.path]]
prefix = "/admin"
roles = ["admin"]

[[gate.app]]
name = "grafana"
origin = "http://localhost:7002"
roles = ["editor"]
basic = true

[[gate.app]]
name = "open"
origin = "http://localhost:7003"
roles = ["*"]
unverified = true
keys = false
"#;

/// The headers that tell an app who somebody is.
pub const IDENTITY: [&str; 8] =
    ["remote-user", "remote-email", "remote-name", "remote-groups", "x-auth-user", "x-auth-email", "x-auth-role", "x-auth-permissions"];

/// A server and a client that follows no redirection.
pub struct Gate {
    pub server: Server,
    http: reqwest::Client,
}

impl Gate {
    pub fn start() -> Self {
        Self::with("", &[])
    }

    /// Starts with more in the settings file, and with these settings.
    pub fn with(more: &str, settings: &[&str]) -> Self {
        Self::on(Server::with_file(&format!("{more}{APPS}"), settings))
    }

    /// The gate of a server with apps of its own.
    pub fn on(server: Server) -> Self {
        Self { server, http: client() }
    }

    /// A request of any kind.
    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method.parse().expect("a method"), self.server.url(path))
    }

    /// A proxy's question at the app on this port.
    pub fn ask(&self, port: u16, method: &str, uri: &str) -> reqwest::RequestBuilder {
        self.ask_at("/gate/forward", &format!("localhost:{port}"), method, uri)
    }

    /// A question at another path, or about another host.
    pub fn ask_at(&self, path: &str, host: &str, method: &str, uri: &str) -> reqwest::RequestBuilder {
        let request = self.request("GET", path).header("x-forwarded-host", host);
        request.header("x-forwarded-method", method).header("x-forwarded-uri", uri)
    }

    /// The status of a question with these cookies.
    pub async fn status(&self, port: u16, method: &str, uri: &str, cookies: &str) -> u16 {
        send(self.ask(port, method, uri).header("cookie", cookies)).await.status
    }

    /// Goes the whole way of a browser into an app: from a question to a pass. Returns the pass as a `Cookie` line.
    pub async fn enter(&self, actor: &Actor, port: u16, uri: &str) -> String {
        let (nonce, request) = self.begin(port, uri).await;
        let answer = actor.post("/api/gate/enter", &json!({ "request": request })).await.expect(200);
        let done = self.done(port, &answer.text_of("location"), &nonce).await;
        assert_eq!(done.header("location"), Some(&*format!("http://localhost:{port}{uri}")), "back to where it began");
        cookie(&done)
    }

    /// Begins the way: the nonce as a `Cookie` line, and the sealed request.
    pub async fn begin(&self, port: u16, uri: &str) -> (String, String) {
        let asked = send(self.ask(port, "GET", uri).header("accept", "text/html")).await.expect(302);
        let enter =
            asked.header("location").expect("a way").strip_prefix(&format!("http://localhost:{port}")).expect("at the app").to_owned();
        let entered = send(self.ask(port, "GET", &enter)).await.expect(303);
        let request = entered.header("location").expect("a page").split_once("/gate/sign-in?request=").expect("the page").1.to_owned();
        (cookie(&entered), request)
    }

    /// Follows the address that a request to enter was answered with, in a browser with these cookies.
    pub async fn done(&self, port: u16, location: &str, cookies: &str) -> Answer {
        let uri = location.strip_prefix(&format!("http://localhost:{port}")).expect("at the app");
        send(self.ask(port, "GET", uri).header("cookie", cookies)).await
    }
}

/// The one cookie of an answer, as a browser sends it back.
pub fn cookie(answer: &Answer) -> String {
    let [cookie] = answer.set_cookies()[..] else { panic!("one cookie, not {:?}", answer.set_cookies()) };
    cookie.split(';').next().expect("a pair").to_owned()
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client")
}

//! The clients of a server.

use super::{Answer, PASSWORD, Server, send};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};

/// A client of a server: without credentials, with cookies like a browser, or with tokens like an app.
#[derive(Clone)]
pub struct Actor {
    http: reqwest::Client,
    base: String,
    /// The cookie jar: name to value.
    pub cookies: BTreeMap<String, String>,
    pub access: Option<String>,
    /// The refresh token, if it travels in bodies.
    pub refresh: Option<String>,
    /// Sent with every request.
    pub headers: Vec<(String, String)>,
    pub id: String,
    pub email: String,
}

/// An HTTP client that gives up after a minute: a test fails, it does not hang. Once in some hundred kills, a request to a
/// server that was killed under it has got neither an answer nor an error, with no connection left.
fn client() -> reqwest::Client {
    builder().build().expect("a client")
}

fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder().timeout(Duration::from_secs(60))
}

impl Actor {
    /// A client without credentials.
    pub fn at(server: &Server) -> Self {
        Self::at_address(&server.address)
    }

    /// A client without credentials, of a server that was started in another way.
    pub fn at_address(address: &str) -> Self {
        Self {
            http: client(),
            base: format!("http://{address}"),
            cookies: BTreeMap::new(),
            access: None,
            refresh: None,
            headers: Vec::new(),
            id: String::new(),
            email: String::new(),
        }
    }

    /// The same client with a connection for each request. A server that needs room closes idle connections, and this library
    /// does not send a request again that was sent on one at that very moment, as browsers and proxies do.
    pub fn without_idle_connections(mut self) -> Self {
        self.http = builder().pool_max_idle_per_host(0).build().expect("a client");
        self
    }

    /// The same client after a restart of its server, which then has another port.
    pub fn moved_to(mut self, server: &Server) -> Self {
        let port = |base: &str| base.rsplit_once(':').expect("a port").1.to_owned();
        let before = port(&self.base);
        self.base = format!("http://{}", server.address);
        self.http = client();
        // Cookie names contain the port, so they are renamed as if the server had kept its port.
        let renamed = |name: String| name.strip_suffix(&before).map(|name| format!("{name}{}", port(&self.base))).unwrap_or(name);
        self.cookies = std::mem::take(&mut self.cookies).into_iter().map(|(name, value)| (renamed(name), value)).collect();
        self
    }

    /// A newly registered user whose refresh token is in the cookie.
    pub async fn registered(server: &Server, email: &str) -> Self {
        let mut actor = Self::at(server);
        actor.register(email, "cookie").await.expect(201);
        actor
    }

    /// A newly registered user whose refresh token travels in bodies.
    pub async fn registered_with_tokens(server: &Server, email: &str) -> Self {
        let mut actor = Self::at(server);
        actor.register(email, "body").await.expect(201);
        actor
    }

    /// A user with this role, created by the operator and logged in with tokens in bodies.
    pub async fn with_role(server: &Server, email: &str, role: &str) -> Self {
        server.json(&["user", "add", email, "--role", role], PASSWORD);
        let mut actor = Self::at(server);
        actor.login(email, PASSWORD, "body").await.expect(200);
        actor
    }

    /// A client with an API key of this user, or of the service account of this name, that has these permissions.
    pub fn with_api_key(server: &Server, owner: &str, permissions: &[&str]) -> Self {
        let made = server.json(&["api-key", "add", owner, "--name", "test", "--permission", &permissions.join(",")], "");
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        Self { access: Some(text(&made["secret"])), id: text(&made["key"]["id"]), ..Self::at(server) }
    }

    /// A client with this bearer token or API key.
    pub fn bearing(server: &Server, token: String) -> Self {
        Self { access: Some(token), ..Self::at(server) }
    }

    /// Makes this a browser on the server's own page: it sends `Origin`, `Sec-Fetch-Site` and its CSRF token.
    #[allow(clippy::wrong_self_convention, reason = "it reads as what it becomes")]
    pub fn as_browser(mut self) -> Self {
        self.headers = vec![("origin".into(), self.base.clone()), ("sec-fetch-site".into(), "same-origin".into())];
        self
    }

    /// Gives this client an address of its own, the nth, behind a proxy that the server trusts.
    #[allow(clippy::wrong_self_convention, reason = "it reads as where it is from")]
    pub fn from_address(mut self, n: usize) -> Self {
        self.headers.push(("x-forwarded-for".into(), format!("198.18.{}.{}", n / 250, n % 250)));
        self
    }

    pub fn csrf_header(&self) -> Option<(&'static str, String)> {
        self.cookie("csrf").map(|token| ("x-csrf-token", token))
    }

    /// The name of the cookie of this kind (`refresh`, `csrf`, `device`): as in the jar, or else as on http with this
    /// server's port.
    pub fn cookie_name(&self, kind: &str) -> String {
        let of = format!("doorward-{kind}");
        let held = self.cookies.keys().find(|name| name.contains(&of));
        held.cloned().unwrap_or_else(|| format!("{of}-{}", self.base.rsplit_once(':').expect("a port").1))
    }

    /// The value of the cookie of this kind; panics if there is none.
    #[track_caller]
    pub fn token(&self, kind: &str) -> String {
        self.cookie(kind).unwrap_or_else(|| panic!("no {kind} among {:?}", self.cookies))
    }

    /// Puts a cookie of this kind with this value into the jar.
    pub fn plant(&mut self, kind: &str, value: &str) {
        let name = self.cookie_name(kind);
        self.cookies.insert(name, value.to_owned());
    }

    /// The value of the cookie of this kind, if there is one.
    pub fn cookie(&self, kind: &str) -> Option<String> {
        self.cookies.get(&self.cookie_name(kind)).cloned()
    }

    /// A request with the actor's headers, but neither cookies nor tokens.
    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let mut request = self.http.request(method.parse().expect("a method"), format!("{}{path}", self.base));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request
    }

    /// A request with the actor's cookies.
    pub fn with_cookies(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let line: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = self.request(method, path);
        if line.is_empty() { request } else { request.header("cookie", line.join("; ")) }
    }

    /// A request with the actor's access token, if there is one.
    pub fn bearer(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let request = self.request(method, path);
        match &self.access {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Keeps the cookies and tokens of an answer, as a browser or an app would.
    pub fn take(&mut self, answer: &Answer) {
        for line in answer.set_cookies() {
            let (pair, attributes) = line.split_once(';').expect("attributes");
            let (name, value) = pair.split_once('=').expect("a value");
            if attributes.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        if let Some(token) = answer.body["accessToken"].as_str() {
            self.access = Some(token.to_owned());
        }
        if let Some(token) = answer.body["refreshToken"].as_str() {
            self.refresh = Some(token.to_owned());
        }
        if let Some(id) = answer.body["user"]["id"].as_str() {
            id.clone_into(&mut self.id);
        }
        if let Some(email) = answer.body["user"]["email"].as_str() {
            email.clone_into(&mut self.email);
        }
    }

    pub async fn register(&mut self, email: &str, transport: &str) -> Answer {
        let body = json!({ "email": email, "password": PASSWORD, "tokenTransport": transport });
        let answer = send(self.with_cookies("POST", "/api/auth/register").json(&body)).await;
        self.take(&answer);
        answer
    }

    pub async fn login(&mut self, email: &str, password: &str, transport: &str) -> Answer {
        let body = json!({ "email": email, "password": password, "tokenTransport": transport });
        let answer = send(self.with_cookies("POST", "/api/auth/login").json(&body)).await;
        self.take(&answer);
        answer
    }

    /// Refreshes by cookie or body, and keeps the new tokens.
    pub async fn refresh(&mut self) -> Answer {
        let answer = self.try_refresh().await;
        self.take(&answer);
        answer
    }

    /// Refreshes without keeping the new tokens, like a parallel tab or a thief.
    pub async fn try_refresh(&self) -> Answer {
        let request = if let Some(token) = &self.refresh {
            self.request("POST", "/api/auth/refresh").json(&json!({ "refreshToken": token }))
        } else {
            let request = self.with_cookies("POST", "/api/auth/refresh");
            match self.csrf_header().filter(|_| !self.headers.is_empty()) {
                Some((name, token)) => request.header(name, token),
                None => request,
            }
        };
        send(request).await
    }

    /// Refreshes with this token in the body, without keeping the new tokens.
    pub async fn refresh_with(&self, token: &str) -> Answer {
        send(self.request("POST", "/api/auth/refresh").json(&json!({ "refreshToken": token }))).await
    }

    /// The refresh token, from cookie or body; panics if there is none.
    pub fn refresh_token(&self) -> String {
        self.refresh.clone().unwrap_or_else(|| self.token("refresh"))
    }

    /// Logs out with the credentials it has.
    pub async fn logout(&mut self) -> Answer {
        let request = if let Some(token) = &self.refresh {
            self.bearer("POST", "/api/auth/logout").json(&json!({ "refreshToken": token }))
        } else {
            let mut request = self.with_cookies("POST", "/api/auth/logout");
            if let Some((name, token)) = self.csrf_header().filter(|_| !self.headers.is_empty()) {
                request = request.header(name, token);
            }
            match &self.access {
                Some(token) => request.bearer_auth(token),
                None => request,
            }
        };
        let answer = send(request).await;
        self.take(&answer);
        answer
    }

    pub async fn me(&self) -> Answer {
        send(self.bearer("GET", "/api/users/me")).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        send(self.bearer("GET", path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        send(self.bearer("POST", path).json(body)).await
    }

    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        send(self.bearer("PATCH", path).json(body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        send(self.bearer("DELETE", path)).await
    }

    pub async fn set_role(&self, id: &str, role: &str) -> Answer {
        self.patch(&format!("/api/users/{id}/role"), &json!({ "role": role })).await
    }

    pub async fn change_password(&self, current: &str, new: &str) -> Answer {
        self.post("/api/auth/password", &json!({ "currentPassword": current, "newPassword": new })).await
    }
}

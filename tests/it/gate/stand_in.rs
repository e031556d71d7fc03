//! A gate that judges by the simplest of rules, and answers oddly when told to: what the proxies do must not depend on
//! the gate being well.

use super::{Gate, HEADERS, wire};
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

const APP: &str = "app.example.org";
const LOGIN: &str = "login.example.org";
const PASS: &str = "__Host-doorward-pass=good";
const KEY: &str = "dwk_good";
const IDENTITY: [&str; 8] = [
    "ada@example.org",
    "ada@example.org",
    "ada@example.org",
    "editor",
    "01902f3a",
    "ada@example.org",
    "editor",
    "articles:read,articles:write",
];

/// What the stand-in does with a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Does {
    /// Answers by its rules.
    Judge,
    /// Answers with these bytes and ends the connection.
    Say(String),
    /// Says nothing.
    Wait,
}

/// A question as it reached the gate, with names of headers in lower case.
#[derive(Debug, Clone)]
pub struct Question {
    pub target: String,
    pub headers: Vec<(String, String)>,
}

impl Question {
    /// The only value of a header.
    pub fn one(&self, name: &str) -> Option<&str> {
        match wire::values(&self.headers, name)[..] {
            [value] => Some(value),
            _ => None,
        }
    }
}

/// The stand-in. Its threads end with the tests.
pub struct StandIn {
    pub gate: Gate,
    does: Arc<Mutex<Does>>,
    asked: Arc<Mutex<Vec<Question>>>,
}

impl StandIn {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let gate = Gate {
            address: listener.local_addr().expect("an address").to_string(),
            scheme: "https",
            host: APP.into(),
            login_host: LOGIN.into(),
            pass: PASS.into(),
            key: KEY.into(),
            identity: IDENTITY.map(str::to_owned),
        };
        let (does, asked) = (Arc::new(Mutex::new(Does::Judge)), Arc::default());
        let (doing, noting) = (Arc::clone(&does), Arc::clone(&asked));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (does, asked) = (Arc::clone(&doing), Arc::clone(&noting));
                thread::spawn(move || serve(stream, &does, &asked));
            }
        });
        Self { gate, does, asked }
    }

    /// Does this from now on.
    pub fn now(&self, does: Does) {
        *self.does.lock().expect("a lock") = does;
    }

    /// The questions since the last call.
    pub fn take(&self) -> Vec<Question> {
        std::mem::take(&mut self.asked.lock().expect("a lock"))
    }
}

/// An answer of the gate to everything.
pub fn answer(status: u16, lines: &str) -> String {
    format!("HTTP/1.1 {status} Said\r\n{lines}Content-Length: 0\r\n\r\n")
}

/// Header lines with the identity of a visitor.
pub fn identity_lines(identity: &[String; 8]) -> String {
    HEADERS.iter().zip(identity).map(|(name, value)| format!("{name}: {value}\r\n")).collect::<Vec<_>>().concat()
}

fn serve(mut stream: TcpStream, does: &Mutex<Does>, asked: &Mutex<Vec<Question>>) {
    let mut text = Vec::new();
    let mut piece = [0; 16 * 1024];
    loop {
        while let Some(end) = text.windows(4).position(|window| window == b"\r\n\r\n") {
            let head: Vec<u8> = text.drain(..end + 4).collect();
            let Some(question) = parse(&head) else { return };
            let does = does.lock().expect("a lock").clone();
            let said = match &does {
                Does::Judge => judge(&question),
                Does::Say(said) => said.clone(),
                Does::Wait => String::new(),
            };
            asked.lock().expect("a lock").push(question);
            if does == Does::Wait {
                thread::sleep(Duration::from_secs(8));
            }
            if stream.write_all(said.as_bytes()).is_err() || does != Does::Judge {
                return;
            }
        }
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return,
            Ok(read) => text.extend_from_slice(&piece[..read]),
        }
    }
}

fn parse(head: &[u8]) -> Option<Question> {
    let mut space = [httparse::EMPTY_HEADER; 100];
    let mut request = httparse::Request::new(&mut space);
    request.parse(head).ok()?;
    Some(Question { target: request.path?.into(), headers: wire::named(request.headers) })
}

/// The rules: whoever has the pass or the key is Ada; nobody else gets past `/public/`; Ada is no admin.
fn judge(question: &Question) -> String {
    let path = question.target.split('?').next().unwrap_or_default();
    let is_question = ["x-forwarded-uri", "x-forwarded-method"].iter().all(|name| !wire::values(&question.headers, name).is_empty());
    if is_question && !path.starts_with("/gate/") {
        return answer(403, "");
    }
    if path == "/.doorward/enter" && question.one("host") == Some(LOGIN) && question.one("x-forwarded-host") == Some(APP) {
        return enter();
    }
    let asked = ["x-forwarded-method", "x-forwarded-host", "x-forwarded-uri"].map(|name| question.one(name));
    let [Some(_), Some(host), Some(uri)] = asked else { return answer(403, "") };
    let is_ours = matches!(path, "/gate/forward" | "/gate/nginx") && host.eq_ignore_ascii_case(APP);
    if !is_ours || !uri.starts_with('/') || uri.contains('#') {
        return answer(403, "");
    }
    let is_nginx = path == "/gate/nginx";
    if uri.split('?').next() == Some("/.doorward/enter") && !is_nginx {
        return enter();
    }
    let is_ada = question.one("cookie").is_some_and(|cookie| cookie.split("; ").any(|one| one == PASS))
        || question.one("x-doorward-key") == Some(KEY)
        || question.one("authorization") == Some("Basic YWRhOmR3a19nb29k");
    match (is_ada, uri) {
        (true, uri) if uri.starts_with("/admin") => answer(403, "Content-Type: application/json\r\n"),
        (true, _) => answer(200, &identity_lines(&IDENTITY.map(str::to_owned))),
        (false, uri) if uri.starts_with("/public/") => answer(200, &identity_lines(&<[String; 8]>::default())),
        (false, uri) if question.one("sec-fetch-mode") == Some("navigate") => {
            let to = uri.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
            let status = if is_nginx { 401 } else { 302 };
            answer(status, &format!("Location: https://{APP}/.doorward/enter?to={to}\r\nCache-Control: no-store\r\n"))
        }
        (false, _) => answer(401, "WWW-Authenticate: Basic realm=\"app\"\r\nCache-Control: no-store\r\n"),
    }
}

fn enter() -> String {
    let cookie = "Set-Cookie: __Host-doorward-enter=nonce; Path=/; Secure; HttpOnly; SameSite=Lax\r\n";
    answer(303, &format!("Location: https://{LOGIN}/gate/sign-in?request=r\r\n{cookie}Cache-Control: no-store\r\n"))
}

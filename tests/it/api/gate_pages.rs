//! The gate's page at the sign-in host: served at three addresses, with the headers of our own pages, also without the
//! account page.

use crate::support::{Actor, Gate, Server, send};
use serde_json::json;

const PATHS: [&str; 3] = ["/gate/sign-in", "/gate/denied", "/gate/sign-out"];

#[tokio::test]
async fn the_gates_page_is_at_three_addresses_with_the_headers_of_a_page() {
    for settings in [&[][..], &["page.enabled=false"]] {
        let server = Server::with(settings);
        let actor = Actor::at(&server);
        let get = |path: &str| send(actor.request("GET", path));
        let status = if settings.is_empty() { 200 } else { 404 };
        for path in ["/", "/page/account.js", "/page/admin.js", "/page/main.js"] {
            assert_eq!(get(path).await.status, status, "{path}");
        }
        for path in PATHS {
            for address in [path.to_owned(), format!("{path}?request=x"), format!("{path}?request=%3Cscript%3E&to=https://evil.example")] {
                let page = get(&address).await.expect(200);
                assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
                assert_eq!(page.header("cache-control"), Some("no-cache"));
                assert_eq!(page.header("cross-origin-opener-policy"), Some("same-origin"));
                let policy = page.header("content-security-policy").expect("a policy");
                assert!(policy.contains("script-src 'self'") && policy.contains("frame-ancestors 'none'"), "{policy}");
                assert!(page.text.contains("/page/gate.js") && !page.text.contains("evil") && page.set_cookies().is_empty());
            }
            assert_eq!(send(actor.request("HEAD", path)).await.status, 200);
            assert_eq!(send(actor.request("POST", path)).await.outcome(), (405, "METHOD_NOT_ALLOWED"));
            let tag = get(path).await.header("etag").expect("a tag").to_owned();
            assert_eq!(send(actor.request("GET", path).header("if-none-match", tag)).await.status, 304);
        }
        for path in ["/gate", "/gate/", "/gate.html", "/gate/sign-in/", "/gate/Sign-In", "/gate/sign-in.html", "/gate/enter"] {
            assert_eq!(get(path).await.outcome(), (404, "NOT_FOUND"), "{path}");
        }
        for file in ["/style.css", "/door.svg", "/doorward.js", "/lang/auto.json", "/page/gate.js", "/page/login.js", "/page/auth.js"] {
            get(file).await.expect(200);
        }
    }
    let secure = Server::with(&["server.public_url=https://login.example.org"]);
    let page = send(Actor::at(&secure).request("GET", "/gate/sign-in")).await.expect(200);
    assert!(page.header("strict-transport-security").is_some_and(|policy| policy.contains("includeSubDomains")));
}

#[tokio::test]
async fn the_page_is_told_who_may_register_on_the_way() {
    for (mode, told) in [("invite", "invite"), ("closed", "closed")] {
        let gate = Gate::with("", &[&format!("registration.mode={mode}")]);
        let (_, request) = gate.begin(7001, "/").await;
        let shown = send(gate.request("GET", &format!("/api/gate/request?request={request}"))).await.expect(200);
        let app = json!({ "name": "wiki", "origin": "http://localhost:7001" });
        assert_eq!(shown.body, json!({ "app": app, "registration": told }));
    }
    let gate = Gate::start();
    for wrong in ["/api/gate/request?request=", "/api/gate/request?request=x"] {
        assert_eq!(send(gate.request("GET", wrong)).await.outcome(), (400, "ENTRY_EXPIRED"), "{wrong}");
    }
    assert_eq!(send(gate.request("GET", "/api/gate/request")).await.outcome(), (400, "VALIDATION_FAILED"));
}

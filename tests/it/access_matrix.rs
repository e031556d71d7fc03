//! The access matrix, cell by cell: every path of the route table, every method, every kind of caller (AZ-1).

use crate::support::{Actor, Answer, PASSWORD, Server, send};
use doorward::{
    domain::UserId,
    http::routes::{Access, ROUTES},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"];
/// The error codes for a missing or invalid access token.
const BEARER_ERRORS: [&str; 5] = ["MISSING_TOKEN", "INVALID_FORMAT", "INVALID_TOKEN", "TOKEN_EXPIRED", "TOKEN_REVOKED"];
/// The permissions of the default roles. They are repeated here because they are part of the contract.
const GRANTED: [(&str, &[&str]); 3] = [
    ("viewer", &["articles:read"]),
    ("editor", &["articles:read", "articles:write"]),
    ("admin", &["articles:read", "articles:write", "users:read", "users:write", "tokens:introspect", "audit:read"]),
];

/// A caller who tries every route with every method.
struct Visitor {
    actor: Actor,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// A caller without a valid access token, and the error code that they get.
    Outsider(&'static str),
    /// A caller with a valid access token of this role, who has just logged in.
    Role(&'static str),
    /// The same, but the login was a while ago.
    Stale(&'static str),
    /// An API key of a user of this role, with all permissions of the role.
    ApiKey(&'static str),
    /// An API key of a service account of this role, with all permissions of the role.
    Service(&'static str),
}

impl Kind {
    const fn role(self) -> &'static str {
        match self {
            Self::Outsider(_) => "",
            Self::Role(role) | Self::Stale(role) | Self::ApiKey(role) | Self::Service(role) => role,
        }
    }

    const fn is_key(self) -> bool {
        matches!(self, Self::ApiKey(_) | Self::Service(_))
    }
}

/// For each path of the route table: its methods, and who may use each of them.
fn table() -> BTreeMap<&'static str, BTreeMap<&'static str, Access>> {
    // `/health` is for proxies and monitors and is not in the route table.
    let health = ["GET", "HEAD", "OPTIONS"].map(|method| (method, Access::Anyone));
    let mut table = BTreeMap::from([("/health", BTreeMap::from(health))]);
    for route in ROUTES {
        let methods: &mut BTreeMap<_, _> = table.entry(route.path).or_default();
        assert!(methods.insert(route.method, route.access).is_none(), "{} {} is there twice", route.method, route.path);
        if route.method == "GET" {
            methods.insert("HEAD", route.access);
        }
    }
    table
}

async fn visitors(server: &Server) -> Vec<Visitor> {
    // Both are admins: an invalid token must not give access even if it belonged to an admin.
    let expired = Actor::with_role(server, "expired@example.org", "admin").await;
    server.advance(Duration::from_secs(16 * 60));
    let mut revoked = Actor::with_role(server, "revoked@example.org", "admin").await;
    let token = revoked.access.clone();
    revoked.logout().await.expect(200);
    revoked.access = token;
    let mut visitors = vec![
        Visitor { actor: Actor::at(server), kind: Kind::Outsider("MISSING_TOKEN") },
        Visitor { actor: expired, kind: Kind::Outsider("TOKEN_EXPIRED") },
        Visitor { actor: revoked, kind: Kind::Outsider("TOKEN_REVOKED") },
    ];
    let stale = Actor::with_role(server, "stale@example.org", "admin").await;
    server.advance(Duration::from_secs(6 * 60));
    visitors.push(Visitor { actor: stale, kind: Kind::Stale("admin") });
    for (role, permissions) in GRANTED {
        let email = format!("{role}@example.org");
        let actor = Actor::with_role(server, &email, role).await;
        visitors.push(Visitor { actor, kind: Kind::Role(role) });
        visitors.push(Visitor { actor: Actor::with_api_key(server, &email, permissions), kind: Kind::ApiKey(role) });
        server.json(&["service", "add", &format!("{role}-service"), "--role", role], "");
        let actor = Actor::with_api_key(server, &format!("{role}-service"), permissions);
        visitors.push(Visitor { actor, kind: Kind::Service(role) });
    }
    visitors
}

fn allow_list(answer: &Answer) -> BTreeSet<&str> {
    answer.header("allow").unwrap_or_default().split(", ").filter(|method| !method.is_empty()).collect()
}

/// Checks one answer against the table.
fn check(cell: &str, answer: &Answer, methods: &BTreeMap<&str, Access>, method: &str, kind: Kind) {
    // The answer to HEAD has the status of GET and no body to check.
    let is_oauth = cell.contains(" /oauth2/");
    let error = |code: &str| {
        let expected = if is_oauth { oauth_error(answer.status) } else { code };
        assert!(method == "HEAD" || answer.error() == expected, "{cell}: {}", answer.text);
    };
    assert!(answer.status < 500, "{cell}: {}", answer.text);
    let Some(access) = methods.get(method) else {
        assert_eq!(answer.status, 405, "{cell}: {}", answer.text);
        error("METHOD_NOT_ALLOWED");
        // TRACE is refused for every path, before routing, so there are no allowed methods to list.
        if method != "TRACE" {
            assert_eq!(allow_list(answer), methods.keys().copied().collect(), "{cell}");
        }
        assert!(!allow_list(answer).contains("TRACE"), "{cell}");
        return;
    };
    // Only 405 and OPTIONS list the allowed methods (RFC 9110 §9.3.7).
    assert!(answer.header("allow").is_none() || method == "OPTIONS", "{cell}: Allow without 405");
    match (access, kind) {
        (Access::Anyone, _) => {
            assert!(!matches!(answer.status, 403 | 405), "{cell}: {}", answer.text);
            assert!(!BEARER_ERRORS.contains(&answer.error()), "{cell}: a bearer was asked for: {}", answer.text);
        }
        // An access token is no API key, whatever else it is.
        (Access::ApiKey | Access::Client(_), Kind::Outsider("TOKEN_EXPIRED" | "TOKEN_REVOKED") | Kind::Role(_) | Kind::Stale(_)) => {
            assert_eq!(answer.status, 401, "{cell}: {}", answer.text);
            error("INVALID_TOKEN");
        }
        (_, Kind::Outsider(code)) => {
            assert_eq!(answer.status, 401, "{cell}: {}", answer.text);
            error(code);
            let challenges: Vec<_> = answer.headers.get_all("www-authenticate").iter().filter_map(|line| line.to_str().ok()).collect();
            let bearer = challenges.iter().find(|line| line.starts_with("Bearer ")).unwrap_or_else(|| panic!("{cell}: {challenges:?}"));
            assert_eq!(bearer.contains("error="), code != "MISSING_TOKEN", "{cell}: TOK-8: {bearer}");
            assert_eq!(challenges.len(), if is_oauth { 2 } else { 1 }, "{cell}: {challenges:?}");
            assert!(answer.header("x-token-expires-in").is_none(), "{cell}: TOK-12");
        }
        // KEY-5: whatever a key may do, it makes no key, invitation, role or password.
        (Access::Session | Access::SessionPermission(_) | Access::Fresh | Access::FreshPermission(_), _) if kind.is_key() => {
            assert_eq!(answer.status, 403, "{cell}: {}", answer.text);
            error("SESSION_REQUIRED");
        }
        (
            Access::Permission(permission)
            | Access::SessionPermission(permission)
            | Access::FreshPermission(permission)
            | Access::Client(permission),
            _,
        ) if !grants(kind.role(), permission) => {
            assert_eq!(answer.status, 403, "{cell}: {}", answer.text);
            error("FORBIDDEN");
            let scope = format!("scope=\"{permission}\"");
            assert!(answer.header("www-authenticate").is_some_and(|challenge| challenge.contains(&scope)), "{cell}: TOK-9");
            let named = is_oauth || answer.body["requiredPermission"] == *permission;
            assert!(method == "HEAD" || named, "{cell}: {}", answer.text);
        }
        (Access::Fresh | Access::FreshPermission(_), Kind::Stale(_)) => {
            assert_eq!(answer.status, 401, "{cell}: {}", answer.text);
            error("STEP_UP_REQUIRED");
            let challenge = "Bearer error=\"insufficient_user_authentication\", max_age=\"300\"";
            assert_eq!(answer.header("www-authenticate"), Some(challenge), "{cell}");
        }
        _ => {
            assert!(!matches!(answer.status, 401 | 403 | 405), "{cell}: {}", answer.text);
            let left: u64 = answer.header("x-token-expires-in").expect("TOK-12").parse().expect("seconds");
            assert!(left <= if kind.is_key() { 90 * 86_400 } else { 900 }, "{cell}: {left}");
        }
    }
}

/// The `error` of OAuth endpoints for a status (RFC 6749 §5.2, RFC 6750 §3.1).
const fn oauth_error(status: u16) -> &'static str {
    match status {
        401 => "invalid_client",
        403 => "insufficient_scope",
        _ => "invalid_request",
    }
}

fn grants(role: &str, permission: &str) -> bool {
    GRANTED.iter().any(|(name, granted)| *name == role && granted.contains(&permission))
}

#[tokio::test]
async fn az_1_rev_2_http_6_every_cell_of_the_access_matrix() {
    let server = Server::start();
    let mut cells = 0;
    for mut visitor in visitors(&server).await {
        for (path, methods) in table() {
            for method in METHODS {
                let id = UserId::random().to_string();
                let path: Vec<_> = path.split('/').map(|part| if part.ends_with("Id") { &id } else { part }).collect();
                let path = path.join("/");
                let cell = format!("{:?} {method} {path}", visitor.kind);
                let answer = send(visitor.actor.bearer(method, &path)).await;
                check(&cell, &answer, &methods, method, visitor.kind);
                cells += 1;
                // Anyone may log out, and it ends this session: log in again.
                if !visitor.kind.is_key() && !visitor.kind.role().is_empty() && method == "POST" && path.contains("logout") {
                    let email = visitor.actor.email.clone();
                    visitor.actor.login(&email, PASSWORD, "body").await.expect(200);
                    // Nobody is stale any more who has logged in again.
                    if let Kind::Stale(role) = visitor.kind {
                        visitor.kind = Kind::Role(role);
                    }
                }
            }
        }
    }
    assert!(cells >= 13 * 8 * 25, "only {cells} cells");
}

#[tokio::test]
async fn az_1_http_6_http_7_what_is_not_in_the_table_is_nowhere() {
    let server = Server::start();
    let admin = Actor::with_role(&server, "ada@example.org", "admin").await;
    let id = UserId::random().to_string();
    let mut paths: Vec<String> =
        ["/api", "/api/", "/api/auth", "/api/admin", "/api/users/ME", "/health/", "/api/users/me/role"].map(str::to_owned).into();
    paths.push(format!("/api/users/{}", id.to_uppercase().replace('0', "A")));
    paths.push(format!("/api/users/{id}0"));
    for (path, _) in table() {
        let path = path.split('/').map(|part| if part.ends_with("Id") { &id } else { part }).collect::<Vec<_>>().join("/");
        paths.extend([format!("{path}/"), format!("/{path}"), format!("{path}/more"), format!("{path};x")]);
    }
    for path in paths {
        for method in METHODS.into_iter().filter(|method| *method != "TRACE") {
            for actor in [&admin, &Actor::at(&server)] {
                let answer = send(actor.bearer(method, &path)).await;
                assert_eq!(answer.status, 404, "{method} {path}: {}", answer.text);
                let error = if path.starts_with("/oauth2/") { "invalid_request" } else { "NOT_FOUND" };
                assert!(method == "HEAD" || answer.error() == error, "{method} {path}: {}", answer.text);
            }
        }
    }
}

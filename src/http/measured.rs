//! What requests are counted by: the rows of the table of routes, what is beside it, and one row for anything else. No text
//! that a client sends becomes a label.

use super::routes::ROUTES;
use std::sync::LazyLock;
use warp::http::Method;

/// What is no route of the table; a proxy's question comes with the method of the request that it is about.
const BESIDE: [(&str, &str); 5] = [("GET", "/health"), ("GET", "/metrics"), (ANY, "/gate/forward"), (ANY, "/gate/nginx"), (ANY, OTHER)];
const ANY: &str = "any";
/// Pages and their files, and whatever is not found.
const OTHER: &str = "other";

struct Row {
    method: &'static str,
    path: &'static str,
    has_ids: bool,
}

/// In the order of the table, in which what is asked for most stands first.
static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| {
    let rows = ROUTES.iter().map(|route| (route.method, route.path)).chain(BESIDE);
    rows.map(|(method, path)| Row { method, path, has_ids: path.split('/').any(is_id) }).collect()
});

/// The method and the path of every row, with `:id` for ids.
pub fn labels() -> Vec<(&'static str, String)> {
    ROWS.iter().map(|row| (row.method, readable(row.path))).collect()
}

/// The row of a request.
pub fn row_of(method: &Method, path: &str) -> usize {
    let method = if *method == Method::HEAD { "GET" } else { method.as_str() };
    let found = ROWS.iter().position(|row| (row.method == method || row.method == ANY) && row.is_at(path));
    found.unwrap_or(ROWS.len() - 1)
}

impl Row {
    fn is_at(&self, path: &str) -> bool {
        if !self.has_ids {
            return self.path == path;
        }
        let (mut ours, mut theirs) = (self.path.split('/'), path.split('/'));
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => return true,
                (Some(own), Some(sent)) if own == sent || is_id(own) && !sent.is_empty() => {}
                _ => return false,
            }
        }
    }
}

/// Whether a segment of the table stands for an id: it is the name of a type.
fn is_id(segment: &str) -> bool {
    segment.starts_with(|c: char| c.is_ascii_uppercase())
}

/// A path of the table as documents write it.
fn readable(path: &str) -> String {
    path.split('/').map(|segment| if is_id(segment) { ":id" } else { segment }).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_counted_in_its_own_row() {
        let labels = labels();
        for (number, route) in ROUTES.iter().enumerate() {
            let path: Vec<_> = route.path.split('/').map(|segment| if is_id(segment) { "0190a1b2" } else { segment }).collect();
            let method: Method = route.method.parse().expect("a method");
            assert_eq!(row_of(&method, &path.join("/")), number, "{} {}", route.method, route.path);
            assert!(!labels[number].1.contains(|c: char| c.is_ascii_uppercase()), "{:?}", labels[number]);
        }
        let distinct: std::collections::HashSet<_> = labels.iter().collect();
        assert_eq!(distinct.len(), labels.len(), "a series for each");
    }

    #[test]
    fn whatever_a_client_makes_up_is_one_row() {
        let row = |method: &str, path: &str| labels()[row_of(&method.parse().expect("a method"), path)].clone();
        assert_eq!(row("HEAD", "/health"), ("GET", "/health".into()));
        assert_eq!(row("PUT", "/gate/forward"), ("any", "/gate/forward".into()));
        for (method, path) in [
            ("GET", "/"),
            ("GET", "/doorward.js"),
            ("GET", "/api/users/"),
            ("GET", "/api/users/a/b/c"),
            ("GET", "/api/users/a/sessions/"),
            ("PUT", "/api/auth/login"),
            ("MADEUP", "/api/auth/verify"),
            ("GET", "/other"),
            ("GET", "other"),
            ("POST", "/metrics"),
        ] {
            assert_eq!(row(method, path), ("any", "other".into()), "{method} {path}");
        }
    }
}

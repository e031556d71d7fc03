//! Arbitrary bytes wherever the server reads input: it must answer, and never with a 5xx.

use crate::support::{Actor, Server};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

/// Sends a request as bytes. Returns the status of the answer, or `None` if the server only closed the connection.
fn exchange(address: &str, request: &[u8]) -> Option<u16> {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
    // The server may close the connection before it has read everything.
    let _ = stream.write_all(request);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer);
    let status = text.strip_prefix("HTTP/1.1 ")?;
    Some(status.get(..3)?.parse().expect("a status"))
}

fn request(method: &str, path: &str, headers: &[(&str, &[u8])], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n").into_bytes();
    for (name, value) in headers {
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// Generates input from pieces of valid requests and arbitrary bytes.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::sample::select(vec![
        "Bearer ",
        "bearer ",
        "eyJ",
        ".",
        "..",
        "=",
        ";",
        ",",
        "refreshToken=",
        "csrfToken=",
        "device=",
        "\"",
        "%00",
        " ",
        "\t",
        "\u{0}",
        "{",
        "}",
        "[",
        "]",
        "null",
        "1e999",
        "\\ud800",
        "é",
        "\r\n",
        "-1",
    ]);
    prop::collection::vec(prop_oneof![pieces.prop_map(|p| p.as_bytes().to_vec()), prop::collection::vec(any::<u8>(), 0..40)], 0..12)
        .prop_map(|parts| parts.concat())
}

/// Sends 300 generated inputs to one server, and checks that it logged no panic.
async fn fuzz(send: impl Fn(&str, Vec<u8>) -> Option<u16> + Send + 'static, may_succeed: bool) {
    let hashes = ("limits.hashes_per_minute", "some inputs are good enough for a hash, and the registration at the end needs one, too");
    let server = Server::lifting(&[hashes], &["log.level=info"]);
    let address = server.address.clone();
    let tried = tokio::task::spawn_blocking(move || {
        let mut runner = TestRunner::new(Config { cases: 300, failure_persistence: None, ..Config::default() });
        runner.run(&bytes(), |bytes| {
            let status = send(&address, bytes).unwrap_or(400);
            prop_assert!(status < 500, "{status}");
            prop_assert!(may_succeed || status >= 400, "{status}");
            Ok(())
        })
    });
    tried.await.expect("run").expect("holds");
    let log = server.log();
    assert!(!log.contains("a bug") && !log.contains("panicked"), "{log}");
    Actor::registered(&server, "ada@example.org").await.me().await.expect(200);
}

#[tokio::test]
async fn rev_9_no_authorization_header_opens_anything() {
    fuzz(|address, bytes| exchange(address, &request("GET", "/api/users/me", &[("authorization", &bytes)], b"")), false).await;
}

#[tokio::test]
async fn rev_9_no_cookie_header_opens_anything() {
    fuzz(|address, bytes| exchange(address, &request("POST", "/api/auth/refresh", &[("cookie", &bytes)], b"")), false).await;
}

#[tokio::test]
async fn no_body_is_a_fault_of_the_servers() {
    fuzz(
        |address, bytes| {
            let json: &[(&str, &[u8])] = &[("content-type", b"application/json")];
            let paths = ["/api/auth/login", "/api/auth/register", "/api/auth/refresh", "/api/auth/setup"];
            paths.iter().filter_map(|path| exchange(address, &request("POST", path, json, &bytes))).max()
        },
        false,
    )
    .await;
}

#[tokio::test]
async fn no_string_in_a_well_formed_body_is_a_fault_of_the_servers() {
    fuzz(
        |address, bytes| {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let json: &[(&str, &[u8])] = &[("content-type", b"application/json")];
            let bodies = [
                ("/api/auth/login", serde_json::json!({ "email": text, "password": text })),
                ("/api/auth/refresh", serde_json::json!({ "refreshToken": text })),
                ("/api/auth/setup", serde_json::json!({ "token": text, "email": text, "password": text })),
                ("/api/auth/register", serde_json::json!({ "email": format!("{text}@example.org"), "password": text })),
            ];
            bodies.iter().filter_map(|(path, body)| exchange(address, &request("POST", path, json, body.to_string().as_bytes()))).max()
        },
        true,
    )
    .await;
}

#[tokio::test]
async fn no_path_or_query_is_a_fault_of_the_servers() {
    fuzz(
        |address, bytes| {
            let escaped: String = url::form_urlencoded::byte_serialize(&bytes).collect();
            let paths = [format!("/{escaped}"), format!("/api/users/{escaped}"), format!("/api/auth/verify?role={escaped}")];
            paths.iter().filter_map(|path| exchange(address, &request("GET", path, &[], b""))).max()
        },
        true,
    )
    .await;
}

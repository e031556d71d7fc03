//! Tests of single filters: verbs and their `Allow`, guards and their rejections, bodies.

use super::{
    body,
    context::RequestContext,
    error::{ApiError, Code, into_response},
    guard, verb,
};
use bytes::Bytes;
use http_body_util::Full;
use hyper::service::Service;
use serde::Deserialize;
use std::convert::Infallible;
use warp::{
    Filter, Rejection,
    http::{HeaderMap, HeaderValue, Request, header},
    reply::{Reply, Response},
};

/// Sends a request through a filter, as the server does: the headers are in the [`RequestContext`].
async fn send<F>(filter: F, method: &str, path: &str, content_type: Option<&'static str>, body: &[u8]) -> Response
where
    F: Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static,
    F::Future: Send,
{
    let mut headers = HeaderMap::new();
    if let Some(content_type) = content_type {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    if !body.is_empty() {
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let mut request = Request::builder().method(method).uri(path).body(Full::new(Bytes::copy_from_slice(body))).expect("a request");
    request.extensions_mut().insert(RequestContext::new([127, 0, 0, 1].into(), headers, warp::http::Uri::default()));
    let Ok(response) = hyper_util::service::TowerToHyperService::new(warp::service(filter)).call(request).await;
    response
}

/// The code of a response's error, if it is one.
fn code(response: &Response) -> Option<Code> {
    response.extensions().get::<ApiError>().map(|error| error.code)
}

fn finish(
    routes: impl Filter<Extract = (Response,), Error = Rejection> + Clone + Send + Sync + 'static,
) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static {
    routes.recover(guard::handle_rejection).unify()
}

fn ok_response() -> Response {
    "fine".into_response()
}

#[tokio::test]
async fn http_6_http_12_the_marks_of_a_paths_verbs_are_its_allow_list() {
    let routes = warp::path!("a").and(verb::get()).map(ok_response);
    let routes = routes.or(warp::path!("a").and(verb::delete()).map(ok_response)).unify();
    let routes = finish(routes.or(warp::path!("b").and(verb::post()).map(ok_response)).unify());
    let allow =
        |response: Response| response.extensions().get::<ApiError>().expect("refused").clone().render("x").headers()["allow"].clone();
    for method in ["GET", "HEAD", "DELETE"] {
        assert_eq!(code(&send(routes.clone(), method, "/a", None, b"").await), None, "{method}");
    }
    for method in ["POST", "PUT", "PATCH", "OPTIONS", "BREW"] {
        let response = send(routes.clone(), method, "/a", None, b"").await;
        assert_eq!(code(&response), Some(Code::MethodNotAllowed), "{method}");
        assert_eq!(allow(response), "GET, HEAD, DELETE", "{method}");
    }
    assert_eq!(allow(send(routes.clone(), "GET", "/b", None, b"").await), "POST");
    assert_eq!(code(&send(routes, "GET", "/c", None, b"").await), Some(Code::NotFound));
}

#[tokio::test]
async fn what_a_guard_says_wins_over_what_other_verbs_of_the_path_say() {
    let forbidden = warp::any().and_then(|| async { Err::<Response, _>(Rejection::from(ApiError::from(Code::Forbidden))) });
    let guarded = warp::path!("a").and(verb::get()).and(forbidden);
    let routes = finish(guarded.or(warp::path!("a").and(verb::post()).map(ok_response)).unify());
    assert_eq!(code(&send(routes.clone(), "GET", "/a", None, b"").await), Some(Code::Forbidden));
    assert_eq!(code(&send(routes.clone(), "POST", "/a", None, b"").await), None);
    assert_eq!(code(&send(routes, "DELETE", "/a", None, b"").await), Some(Code::MethodNotAllowed));
}

/// A rejection that is not ours would be a bug, so it must be a 500 and not a 404 that hides it.
#[tokio::test]
async fn a_foreign_rejection_is_an_internal_error() {
    let routes = finish(warp::path!("a").and(warp::header::<u32>("x-missing")).map(|_| ok_response()));
    assert_eq!(code(&send(routes, "GET", "/a", None, b"").await), Some(Code::Internal));
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    text: String,
}

#[tokio::test]
async fn http_2_http_4_a_body_is_typed_counted_and_read_before_it_is_believed() {
    let must = finish(body::json::<Note>().map(|note: Note| note.text.into_response()));
    let may = finish(body::optional_json::<Note>().then(|note: Option<Note>| async move {
        into_response(note.map(|note| note.text.into_response()).ok_or_else(|| Code::NotFound.into()))
    }));
    let (json, good): (_, &[u8]) = (Some("application/json"), br#"{"text":"hello"}"#);
    let long = format!("{{\"text\":\"{}\"}}", "x".repeat(10 * 1024));
    for (content_type, body, of_must, of_may) in [
        (json, good, None, None),
        (Some("text/plain"), good, Some(Code::UnsupportedMediaType), Some(Code::UnsupportedMediaType)),
        (None, good, Some(Code::UnsupportedMediaType), Some(Code::UnsupportedMediaType)),
        // A missing body is accepted only where it may be left out.
        (None, b"".as_slice(), Some(Code::UnsupportedMediaType), Some(Code::NotFound)),
        (json, b"".as_slice(), Some(Code::ValidationFailed), Some(Code::NotFound)),
        (json, b"null".as_slice(), Some(Code::ValidationFailed), Some(Code::NotFound)),
        (Some("text/plain"), b"".as_slice(), Some(Code::UnsupportedMediaType), Some(Code::NotFound)),
        (json, br#"{"text":"a","more":1}"#.as_slice(), Some(Code::ValidationFailed), Some(Code::ValidationFailed)),
        // There is no Content-Length: the bytes themselves are counted.
        (json, long.as_bytes(), Some(Code::PayloadTooLarge), Some(Code::PayloadTooLarge)),
    ] {
        let shown = String::from_utf8_lossy(&body[..body.len().min(20)]).into_owned();
        assert_eq!(code(&send(must.clone(), "POST", "/", content_type, body).await), of_must, "{content_type:?} {shown}");
        assert_eq!(code(&send(may.clone(), "POST", "/", content_type, body).await), of_may, "{content_type:?} {shown}");
    }
}

#[tokio::test]
async fn http_14_a_panic_is_one_requests_500() {
    let mut response = super::pipeline::catch_panic(async { panic!("a bug") }).await;
    let error = response.extensions_mut().remove::<ApiError>().expect("an error");
    assert_eq!(error.render("id-1").status(), 500);
    let fine = super::pipeline::catch_panic(async { Ok(super::reply::json(&"fine")) }).await;
    assert_eq!(fine.status(), 200);
}

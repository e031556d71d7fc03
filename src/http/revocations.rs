//! The feed of revocations: a page at a time, or as Server-Sent Events.

use super::{
    error::{ApiError, Code, HandlerResult},
    guard::{Request, query_param},
};
use crate::{
    domain::{SessionId, Timestamp, TokenId, UserId},
    service::{
        feed::{Change, Cursor, Revocation},
        principal::Principal,
        revocations::{Page, Reader},
    },
};
use futures_util::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use parking_lot::Mutex;
use serde::Serialize;
use std::{convert::Infallible, time::Duration};
use warp::{
    http::{HeaderName, HeaderValue, header},
    reply::{Reply, Response},
    sse,
};

/// The permission to read the feed, which also introspects tokens.
pub const PERMISSION: &str = "tokens:introspect";

/// The longest that a request waits for news. A request may be worked on for 60 s, and nginx waits as long.
const MAX_WAIT: Duration = Duration::from_secs(45);

/// How long a stream says nothing. Its reader may take it for dead some time later.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The cursor that a reader of a stream sends when it reconnects (HTML §9.2.4).
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Tells nginx not to keep the answer until it is complete.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// What is new to a reader.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PageView {
    cursor: String,
    starts_anew: bool,
    changes: Vec<ChangeView>,
}

/// A change, in the claims of the tokens that it is about; moments are in seconds, as theirs are.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "camelCase")]
enum ChangeView {
    #[serde(rename_all = "camelCase")]
    User {
        sub: UserId,
        least_version: u32,
        until: u64,
    },
    Session {
        sid: SessionId,
        until: u64,
    },
    Token {
        jti: TokenId,
        until: u64,
    },
    NotBefore {
        iat: u64,
        until: u64,
    },
    Keys,
}

impl From<Change> for ChangeView {
    fn from(change: Change) -> Self {
        // Rounded up: a revocation is remembered too long rather than too short.
        let secs = |at: Timestamp| at.millis().div_ceil(1000);
        match change {
            Change::Revoked(Revocation::User { user, least_version, until }) => Self::User { sub: user, least_version, until: secs(until) },
            Change::Revoked(Revocation::Session(sid, until)) => Self::Session { sid, until: secs(until) },
            Change::Revoked(Revocation::Token(jti, until)) => Self::Token { jti, until: secs(until) },
            Change::Revoked(Revocation::AllBefore(moment, until)) => Self::NotBefore { iat: secs(moment), until: secs(until) },
            Change::Keys => Self::Keys,
        }
    }
}

impl From<Page> for PageView {
    fn from(page: Page) -> Self {
        Self {
            cursor: page.cursor.to_string(),
            starts_anew: page.starts_anew,
            changes: page.changes.into_iter().map(ChangeView::from).collect(),
        }
    }
}

/// Answers with what is new since a cursor, at once or after a wait for it; as a stream, goes on.
pub async fn feed(req: Request, principal: Principal) -> HandlerResult {
    if req.context.query_names().any(|name| !["since", "wait"].contains(&name.as_str())) {
        return Err(ApiError::field("query", "has a parameter that is neither since nor wait"));
    }
    let is_stream = req.context.header(&header::ACCEPT).is_some_and(|accepted| accepted.contains("text/event-stream"));
    let since = match req.context.header(&LAST_EVENT_ID).filter(|_| is_stream) {
        Some(last) => Some(last.to_owned()),
        None => query_param(&req, "since")?,
    };
    let wait = wait(&req)?;
    let since = since.as_deref().and_then(Cursor::parse);
    let mut reader = req.app().revocations().reader(principal.session, since).ok_or(Code::Overloaded)?;
    if is_stream {
        return Ok(stream(req, reader));
    }
    let page = reader.next(wait).await;
    if !wait.is_zero() {
        req.authenticate_again(PERMISSION).await?;
    }
    Ok(page_response(page, reader))
}

/// A page as JSON. Its reader keeps their place until they have read it: a page may have megabytes.
fn page_response(page: Page, reader: Reader) -> Response {
    let bytes = serde_json::to_vec(&PageView::from(page)).expect("our own views serialise");
    let length = HeaderValue::from(bytes.len());
    let chunks = stream::unfold((Some(bytes), reader), async |(bytes, reader)| Some((Ok::<_, Infallible>(bytes?), (None, reader))));
    let mut response = warp::reply::stream(shared(chunks.boxed())).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CONTENT_LENGTH, length);
    response
}

fn wait(req: &Request) -> Result<Duration, ApiError> {
    let Some(text) = query_param(req, "wait")? else { return Ok(Duration::ZERO) };
    let wait = humantime::parse_duration(&text).ok().filter(|wait| *wait <= MAX_WAIT);
    wait.ok_or_else(|| ApiError::field("wait", format!("must be a duration of at most {}s, such as 30s", MAX_WAIT.as_secs())))
}

/// Pages as events, until the reader leaves, may read no longer, or the server stops.
fn stream(req: Request, reader: Reader) -> Response {
    let pages = stream::unfold((req, reader), |(req, mut reader)| async move {
        let page = reader.next(KEEP_ALIVE).await;
        // Whoever had the key when the stream began may have lost it since.
        if reader.is_closed() || req.authenticate_again(PERMISSION).await.is_err() {
            return None;
        }
        req.context.answer_goes_on();
        Some((event(page), (req, reader)))
    });
    let mut response = sse::reply(shared(pages.map(Ok::<_, Infallible>).boxed())).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}

/// A stream that threads may share, as a body must: behind a lock, which nobody else ever holds.
fn shared<T: 'static>(stream: BoxStream<'static, T>) -> impl Stream<Item = T> + Send + Sync + 'static {
    let mut stream = Mutex::new(stream);
    stream::poll_fn(move |cx| stream.get_mut().poll_next_unpin(cx))
}

/// A page as an event; without news, a comment that says the stream is alive.
fn event(page: Page) -> sse::Event {
    if page.changes.is_empty() && !page.starts_anew {
        return sse::Event::default().comment("");
    }
    let page = PageView::from(page);
    let data = serde_json::to_string(&page).expect("our own views serialise");
    sse::Event::default().event("revocations").id(page.cursor).data(data)
}

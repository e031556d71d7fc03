//! The embedded page. The only place that names rust-embed (I1).

use super::{Web, verb};
use rust_embed::{EmbeddedFile, RustEmbed};
use std::sync::Arc;
use warp::{
    Filter, Rejection,
    http::{HeaderValue, StatusCode, header},
    path::FullPath,
    reply::{Reply, Response},
};

/// The page's policy: nothing inline, nothing from elsewhere (HDR-2).
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                           form-action 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'";

#[derive(RustEmbed)]
#[folder = "assets/web"]
struct Assets;

/// The page and what it is made of. That the file exists is asked before the method is.
pub fn assets(web: &Arc<Web>) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + use<> {
    let enabled = web.app.settings.demo.enabled;
    warp::path::full()
        .and_then(move |path: FullPath| async move {
            let name = if path.as_str() == "/" { "index.html" } else { path.as_str().trim_start_matches('/') };
            match Assets::get(name) {
                Some(file) if enabled && path.as_str() != "/index.html" => Ok(file),
                _ => Err(warp::reject::not_found()),
            }
        })
        .and(verb::get())
        .and(warp::ext::get::<super::Exchange>())
        .map(|file: EmbeddedFile, exchange: super::Exchange| {
            let tag = format!("\"{}\"", data_encoding::HEXLOWER.encode(&file.metadata.sha256_hash()[..16]));
            let fresh = exchange.header(&header::IF_NONE_MATCH).is_some_and(|tags| tags.split(',').any(|t| t.trim() == tag));
            let mut response = if fresh {
                StatusCode::NOT_MODIFIED.into_response()
            } else {
                warp::http::Response::new(file.data.to_vec()).into_response()
            };
            let headers = response.headers_mut();
            let mut insert = |name, value: &str| {
                headers.insert(name, HeaderValue::from_str(value).expect("tags and media types are ASCII"));
            };
            let kind = file.metadata.mimetype();
            insert(header::CONTENT_TYPE, &if kind.starts_with("text/") { format!("{kind}; charset=utf-8") } else { kind.to_owned() });
            insert(header::ETAG, &tag);
            insert(header::CACHE_CONTROL, "no-cache");
            insert(header::CONTENT_SECURITY_POLICY, PAGE_POLICY);
            response
        })
}

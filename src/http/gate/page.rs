//! The few pages that are made here, for an app's host, where nothing of ours can be loaded from: markup alone, in the
//! visitor's language. All else is on the sign-in page.

use crate::{
    domain::gate::App,
    http::{catalogue::Catalogue, context::RequestContext, error::Code, language, state::AppState},
};
use warp::{
    http::{HeaderValue, header},
    reply::Response,
};

/// Plain, readable on a phone, dark where the visitor likes it so.
const STYLE: &str = ":root{color-scheme:light dark;font:1.0625rem/1.55 system-ui,sans-serif}\
     body{max-width:32rem;margin:15vh auto;padding:0 1.25rem}h1{font-size:1.5rem;margin:0 0 .5rem}\
     a{display:inline-block;margin-top:.75rem;padding:.6rem 1.1rem;border-radius:.5rem;background:#8a5a00;color:#fff;text-decoration:none}\
     a:focus-visible{outline:3px solid;outline-offset:3px}";

/// 401: a page inside another asks its visitor to leave the frame and sign in.
pub fn leave_frame(state: &AppState, context: &RequestContext, address: &str) -> Response {
    page(state, context, Code::SignInRequired, ["gate.frame.title", "gate.frame.text", "gate.frame.action"], &[], address)
}

/// 403: somebody may not enter an app. The page that the link leads to says what is missing.
pub fn denied(state: &AppState, context: &RequestContext, app: &App, address: &str) -> Response {
    let keys = ["gate.denied.title", "gate.denied.text", "gate.denied.action"];
    page(state, context, Code::Forbidden, keys, &[("app", app.name.as_str())], address)
}

/// 403: the browser keeps no cookie, so it would be sent around for ever.
pub fn no_cookies(state: &AppState, context: &RequestContext) -> Response {
    page(state, context, Code::Forbidden, ["gate.cookies.title", "gate.cookies.text", "gate.cookies.action"], &[], "/")
}

/// 400: a way into the app that has no end, as it is too old or another browser's.
pub fn no_way(state: &AppState, context: &RequestContext, address: &str) -> Response {
    page(state, context, Code::EntryExpired, ["gate.expired.title", "gate.expired.text", "gate.expired.action"], &[], address)
}

fn page(
    state: &AppState,
    context: &RequestContext,
    code: Code,
    [title, body, action]: [&str; 3],
    values: &[(&str, &str)],
    address: &str,
) -> Response {
    let accepted = context.headers(&header::ACCEPT_LANGUAGE).filter_map(|line| line.to_str().ok());
    let language = language::choose(state.site.language, accepted);
    let texts = Catalogue::of(language);
    let text = |key: &str| escape(&texts.fill(key, values));
    let markup = format!(
        "<!doctype html><html lang=\"{}\" dir=\"{}\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"><title>{title}</title><style>{STYLE}</style><main><h1>{title}</h1><p>{}</p>\
         <a href=\"{}\" target=\"_top\" rel=\"noreferrer\">{}</a></main></html>\n",
        language.tag(),
        escape(texts.text("direction")),
        text(body),
        escape(address),
        text(action),
        title = text(title),
    );
    let mut response = Response::new(markup.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept-Language"));
    code.on(response)
}

/// Text as it stands in markup and in attributes.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

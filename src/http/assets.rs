//! The embedded page and client module. The only place that names rust-embed (I1).

use super::{context::RequestContext, language::choose, reply::is_known, state::AppState, verb};
use crate::domain::Language;
use bytes::Bytes;
use rust_embed::{EmbeddedFile, RustEmbed};
use serde_json::{Map, Value};
use std::{borrow::Cow, sync::Arc};
use warp::{
    Filter, Rejection,
    http::{HeaderValue, StatusCode, header},
    path::FullPath,
    reply::{Reply, Response},
};

/// The page's content security policy: nothing inline, nothing from other origins (HDR-2), and scripts cannot
/// turn text into markup.
const PAGE_CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                           form-action 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'; \
                           require-trusted-types-for 'script'; trusted-types 'none'";

/// The files that pages of other sites import. They are served even if the account page is switched off.
const CLIENT_MODULE: [&str; 2] = ["doorward.js", "doorward.d.ts"];

/// Where browsers arrive that an app's gate has sent away. They find one page there, which looks at its own address.
const GATE_PATHS: [&str; 3] = ["/gate/sign-in", "/gate/denied", "/gate/sign-out"];
const GATE_PAGE: &str = "gate.html";

/// That page and what it loads besides the client module and a catalogue. Nobody could enter an app without them, so they
/// are served even if the account page is switched off.
const GATE_FILES: [&str; 11] = [
    GATE_PAGE,
    "door.svg",
    "style.css",
    "page/auth.js",
    "page/dom.js",
    "page/errors.js",
    "page/gate.js",
    "page/i18n.js",
    "page/login.js",
    "page/picker.js",
    "page/ui.js",
];

// `build.rs` writes `Files`: the files of `assets/web`, each in every coding, named such as `br/doorward.js`.
include!(concat!(env!("OUT_DIR"), "/web.rs"));

/// The catalogue of the language that a visitor's browser asks for.
const CHOSEN_CATALOGUE: &str = "/lang/auto.json";

/// An embedded file without compression, and its name.
struct Asset {
    name: String,
    file: EmbeddedFile,
    /// The language, if it is a catalogue.
    language: Option<Language>,
}

/// An embedded file in the coding `identity`, `br` or `gzip`.
fn embedded(name: &str, coding: &str) -> Option<EmbeddedFile> {
    Files::get(&format!("{coding}/{name}"))
}

/// The texts of a language.
pub fn catalogue(language: Language) -> Option<Map<String, Value>> {
    let file = embedded(&file_of(language), "identity")?;
    serde_json::from_slice(&file.data).ok()
}

fn file_of(language: Language) -> String {
    format!("lang/{language}.json")
}

/// Serves the page and its files. The file is looked up before the method is checked, so that a path without a
/// file is a 404 for every method.
pub fn assets(state: &Arc<AppState>) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + use<> {
    let (has_page, language) = (state.site.has_page, state.site.language);
    warp::path::full()
        .and(warp::ext::get::<RequestContext>())
        .and_then(move |path: FullPath, context: RequestContext| async move {
            let chosen = || choose(language, context.headers(&header::ACCEPT_LANGUAGE).filter_map(|line| line.to_str().ok()));
            let asset = find(path.as_str(), has_page, chosen).ok_or_else(warp::reject::not_found)?;
            Ok::<_, Rejection>((asset, context))
        })
        .untuple_one()
        .and(verb::get())
        .map(|asset: Asset, context: RequestContext| answer(asset, &context))
}

fn find(path: &str, has_page: bool, chosen: impl FnOnce() -> Language) -> Option<Asset> {
    // One spelling per path (HTTP-7): the account page is `/` alone.
    let name = match path.strip_prefix('/')? {
        "" => "index.html".to_owned(),
        "index.html" | GATE_PAGE => return None,
        _ if GATE_PATHS.contains(&path) => GATE_PAGE.to_owned(),
        _ if path == CHOSEN_CATALOGUE => file_of(chosen()),
        name => name.to_owned(),
    };
    let language = name.strip_prefix("lang/").and_then(|name| name.strip_suffix(".json")?.parse().ok());
    // Catalogues are served without the page, too: others than the account page are made of them.
    let is_others = CLIENT_MODULE.contains(&name.as_str()) || GATE_FILES.contains(&name.as_str());
    let is_served = has_page || language.is_some() || is_others;
    let file = is_served.then(|| embedded(&name, "identity"))??;
    Some(Asset { name, file, language })
}

fn answer(Asset { name, file, language }: Asset, context: &RequestContext) -> Response {
    let coding = ["br", "gzip"].into_iter().find(|coding| accepts(context, coding));
    let compressed = coding.and_then(|coding| embedded(&name, coding).map(|file| (coding, file)));
    // Each coding has an ETag of its own (RFC 9110 §8.8.3.3).
    let hash = data_encoding::HEXLOWER.encode(&file.metadata.sha256_hash()[..16]);
    let tag = compressed.as_ref().map_or_else(|| format!("\"{hash}\""), |(coding, _)| format!("\"{hash}-{coding}\""));
    let coding = compressed.as_ref().map(|(coding, _)| *coding);
    let mut response = if is_known(context, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let data = compressed.map_or(file.data, |(_, compressed)| compressed.data);
        let data = match data {
            Cow::Borrowed(data) => Bytes::from_static(data),
            Cow::Owned(data) => data.into(),
        };
        warp::http::Response::new(data).into_response()
    };
    let headers = response.headers_mut();
    if let Some(coding) = coding {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type(&name)));
    headers.insert(header::ETAG, HeaderValue::try_from(tag).expect("a tag is ASCII"));
    // File names carry no hash, so browsers must ask each time; most are answered 304.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let vary = if context.path() == CHOSEN_CATALOGUE { "Accept-Language, Accept-Encoding, Origin" } else { "Accept-Encoding, Origin" };
    headers.insert(header::VARY, HeaderValue::from_static(vary));
    if let Some(language) = language {
        headers.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static(language.tag()));
    }
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_CSP));
    response
}

/// Whether the client accepts this coding (RFC 9110 §12.5.3).
fn accepts(context: &RequestContext, coding: &str) -> bool {
    context.headers(&header::ACCEPT_ENCODING).filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(',')).any(|item| {
        let (name, weight) = item.split_once(';').unwrap_or((item, ""));
        let refused = weight.trim().strip_prefix("q=").is_some_and(|weight| weight.parse() == Ok(0.0_f32));
        name.trim().eq_ignore_ascii_case(coding) && !refused
    })
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("json") => "application/json",
        Some("svg") => "image/svg+xml; charset=utf-8",
        // `doorward.d.ts` is for editors. The type that is registered for `.ts` is that of a video.
        _ => "text/plain; charset=utf-8",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warp::http::HeaderMap;

    fn request_with(name: header::HeaderName, value: &'static str) -> RequestContext {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        RequestContext::new([127, 0, 0, 1].into(), headers, warp::http::Uri::default())
    }

    fn find(path: &str, has_page: bool) -> Option<Asset> {
        super::find(path, has_page, || Language::French)
    }

    #[test]
    fn without_the_account_page_the_module_the_catalogues_and_the_gates_page_stay() {
        let catalogues = Language::ALL.iter().map(|language| format!("/{}", file_of(*language)));
        let files = CLIENT_MODULE.iter().chain(&GATE_FILES[1..]).map(|name| format!("/{name}"));
        for path in catalogues.chain(files).chain(["/lang/auto.json".to_owned()]).chain(GATE_PATHS.map(str::to_owned)) {
            assert!(find(&path, false).is_some(), "{path}");
        }
        for path in ["/", "/page/main.js", "/page/account.js", "/page/admin.js", "/page/keys.js"] {
            assert!(find(path, true).is_some(), "{path}");
            assert!(find(path, false).is_none(), "{path}");
        }
        for path in ["/index.html", "/br/doorward.js", "/../br/doorward.js", "/nothing", "", "/lang/", "/lang/xx.json", "/lang/auto"] {
            assert!(find(path, true).is_none(), "{path}");
        }
        for path in ["/gate.html", "/gate", "/gate/", "/gate/sign-in/", "/gate/Sign-in", "//gate/sign-in", "/gate/sign-in.html"] {
            assert!(find(path, true).is_none(), "{path}");
        }
    }

    /// The files that markup or a module names, as both are written here.
    fn named_in(name: &str) -> Vec<String> {
        let text = String::from_utf8(embedded(name, "identity").expect("embedded").data.into_owned()).expect("text");
        let after = |mark: &str, folder: &str| -> Vec<_> {
            text.split(mark).skip(1).filter_map(|rest| rest.split(['"', '\'']).next()).map(|file| format!("{folder}{file}")).collect()
        };
        [after("src=\"/", ""), after("href=\"/", ""), after("from '/", ""), after("from './", "page/")].concat()
    }

    #[test]
    fn the_gates_page_has_all_it_loads_and_no_more() {
        let mut found = vec![GATE_PAGE.to_owned()];
        let mut next = 0;
        while let Some(name) = found.get(next) {
            let names_others = ["text/html", "text/javascript"].iter().any(|kind| media_type(name).starts_with(kind));
            for file in if names_others { named_in(name) } else { vec![] } {
                if !found.contains(&file) {
                    found.push(file);
                }
            }
            next += 1;
        }
        found.retain(|name| !CLIENT_MODULE.contains(&name.as_str()));
        found.sort();
        let mut listed = GATE_FILES.to_vec();
        listed.sort_unstable();
        assert_eq!(found, listed);
    }

    #[test]
    fn the_module_is_at_most_four_thousand_bytes_gzipped_and_its_types_keep_their_comments() {
        let text = |name| String::from_utf8(embedded(name, "identity").expect("embedded").data.into_owned()).expect("text");
        let size = embedded("doorward.js", "gzip").expect("embedded").data.len();
        assert!(size <= 4000, "{size} bytes");
        assert!(!text("doorward.js").lines().any(|line| line.trim_start().starts_with("//") || line.contains("/** @param")));
        assert!(text("doorward.d.ts").contains("/** Somebody who is signed in. */"));
    }

    #[test]
    fn every_file_is_there_in_every_coding() {
        let names = |coding: &str| -> Vec<_> {
            Files::iter().filter_map(|path| path.strip_prefix(coding)?.strip_prefix('/').map(str::to_owned)).collect()
        };
        assert!(names("identity").contains(&"page/main.js".to_owned()));
        assert_eq!(names("br"), names("identity"));
        assert_eq!(names("gzip"), names("identity"));
    }

    #[test]
    fn every_catalogue_is_of_a_language_and_the_other_way_round() {
        let mut files: Vec<_> = Files::iter().filter_map(|path| path.strip_prefix("identity/lang/").map(str::to_owned)).collect();
        files.sort();
        let mut expected: Vec<_> = Language::ALL.iter().map(|language| format!("{language}.json")).collect();
        expected.sort();
        assert_eq!(files, expected);
        assert_eq!(find("/lang/auto.json", false).and_then(|asset| asset.language), Some(Language::French));
    }

    #[test]
    fn a_coding_is_taken_unless_it_is_refused() {
        let takes = |line, coding| accepts(&request_with(header::ACCEPT_ENCODING, line), coding);
        assert!(takes("gzip, deflate, br, zstd", "br"));
        assert!(takes("GZIP;q=0.5", "gzip"));
        assert!(!takes("gzip", "br"));
        assert!(!takes("br;q=0, gzip", "br"));
        assert!(!takes("br; q=0.000", "br"));
        assert!(!takes("brotli", "br"));
    }

    #[test]
    fn every_form_of_a_file_has_its_own_tag_and_is_not_sent_twice() {
        let ask = |name, value| answer(find("/doorward.js", true).expect("embedded"), &request_with(name, value));
        let tag = |response: &Response| response.headers()[header::ETAG].to_str().expect("ASCII").to_owned();
        let (plain, brotli) = (ask(header::ACCEPT_ENCODING, "identity"), ask(header::ACCEPT_ENCODING, "br, gzip"));
        assert_eq!(brotli.headers()[header::CONTENT_ENCODING], "br");
        assert!(!plain.headers().contains_key(header::CONTENT_ENCODING));
        assert_ne!(tag(&plain), tag(&brotli));
        let known: &'static str = Box::leak(format!("\"other\", W/{}", tag(&plain)).into_boxed_str());
        assert_eq!(ask(header::IF_NONE_MATCH, known).status(), StatusCode::NOT_MODIFIED);
        assert_eq!(ask(header::IF_NONE_MATCH, "\"other\"").status(), StatusCode::OK);
    }
}

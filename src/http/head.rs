//! Checks a request before any route sees it: the path must be in its one spelling, the body must have one length,
//! and the host must be a possible one.

use super::{
    context::RequestContext,
    error::{ApiError, Code},
};
use warp::http::{Method, Uri, Version, header, request::Parts, uri::Authority};

/// Marks a request whose head gave its body two lengths (HTTP-3).
#[derive(Debug, Clone, Copy)]
pub struct AmbiguousLength;

/// Marks a request whose target has a `#`, which a target must not have (RFC 9112 §3.2). hyper drops the fragment,
/// so that one path would have many spellings (HTTP-7).
#[derive(Debug, Clone, Copy)]
pub struct Fragment;

/// Refuses a request that no route may see.
///
/// # Errors
/// 400, 404 or 405; with `Connection: close` if the bytes behind this request may be no request.
pub fn check_request_line(parts: &Parts, context: &RequestContext) -> Result<(), ApiError> {
    if parts.method == Method::CONNECT || parts.method == Method::TRACE {
        return Err(ApiError::from(Code::MethodNotAllowed).header(header::ALLOW, "GET, HEAD, POST, PATCH, DELETE"));
    }
    if parts.extensions.get::<AmbiguousLength>().is_some() {
        return Err(bad_framing("A body has one length: Content-Length or Transfer-Encoding"));
    }
    if !has_known_framing(parts, context) {
        return Err(bad_framing("The only Transfer-Encoding is chunked, once and in HTTP/1.1"));
    }
    if parts.extensions.get::<Fragment>().is_some() || !is_plain(parts.uri.path()) {
        return Err(Code::NotFound.into());
    }
    let hosts = context.headers(&header::HOST).count();
    let names_host = context.header(&header::HOST).is_some_and(|host| {
        is_possible_host(host) && parts.uri.authority().is_none_or(|authority| same_host(&parts.uri, authority.as_str(), host))
    });
    if hosts > 1 || (hosts == 1 && !names_host) || (hosts == 0 && parts.version >= Version::HTTP_11) {
        return Err(ApiError::from(Code::InvalidRequest).message("A request needs one Host header that fits its address"));
    }
    Ok(())
}

fn bad_framing(message: &'static str) -> ApiError {
    ApiError::from(Code::InvalidRequest).message(message).header(header::CONNECTION, "close")
}

/// Whether the request has no transfer coding or only `chunked`, the only one that is decoded here. HTTP/1.0 has none
/// (RFC 9112 §6.1).
fn has_known_framing(parts: &Parts, context: &RequestContext) -> bool {
    if context.headers(&header::TRANSFER_ENCODING).next().is_none() {
        return true;
    }
    let is_chunked = context.header(&header::TRANSFER_ENCODING).is_some_and(|coding| coding.trim().eq_ignore_ascii_case("chunked"));
    is_chunked && parts.version >= Version::HTTP_11
}

/// Whether a path is in its one spelling (HTTP-7): no escapes, no empty or dot segments, no slash at the end.
fn is_plain(path: &str) -> bool {
    let mut segments = path.split('/').skip(1);
    let plain = path == "/" || path.starts_with('/') && segments.all(|s| !s.is_empty() && s != "." && s != "..");
    plain && !path.contains(['%', ';', '\\'])
}

/// Whether a `Host` is a possible one: a name or an address and perhaps a port, without user information. An empty
/// one means that the request's address has no authority (RFC 9112 §3.2).
fn is_possible_host(host: &str) -> bool {
    let is_good = |authority: &Authority| {
        let port = host.strip_prefix(authority.host()).unwrap_or(host);
        !authority.host().is_empty() && (authority.port_u16().is_some() || matches!(port, "" | ":"))
    };
    host.is_empty() || !host.contains('@') && host.parse().is_ok_and(|authority| is_good(&authority))
}

/// Whether an absolute request address and the `Host` header name the same host (RFC 9112 §3.2.2).
fn same_host(uri: &Uri, authority: &str, host: &str) -> bool {
    let default = if uri.scheme_str() == Some("https") { ":443" } else { ":80" };
    let bare = |name: &str| name.strip_suffix(default).unwrap_or(name).to_ascii_lowercase();
    bare(authority) == bare(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_5_a_host_is_a_name_or_an_address_and_perhaps_a_port() {
        for host in ["", "x", "login.example.org", "a_b", "127.0.0.1:3000", "[::1]", "[::1]:3000", "x:", "xn--bcher-kva.example:443"] {
            assert!(is_possible_host(host), "{host}");
        }
        for host in ["a b", "x@y", "@", ":80", "x:y", "x:99999", "x/y", "http://x", "x?y", "x#y", "::1", "a,b c"] {
            assert!(!is_possible_host(host), "{host}");
        }
    }

    #[test]
    fn http_7_a_plain_path_has_one_spelling() {
        assert!(["/", "/health", "/api/users/me"].into_iter().all(is_plain));
        for path in ["", "*", "x", "//", "/health/", "/api//users", "/./x", "/..", "/%41", "/a;b", "/a\\b"] {
            assert!(!is_plain(path), "{path}");
        }
    }
}

//! The table: method, path, who, body, handler, one line per endpoint. No two lines match the same
//! method and path.

use super::{
    Web, auth,
    body::{json, lenient_json, none, optional_json},
    guard, health, invites, reply, sessions, users, verb,
};
use crate::domain::{InviteId, SessionId, UserId};
use std::sync::Arc;
use warp::{Filter, Rejection, filters::BoxedFilter, reply::Response};

/// Who may use an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anyone; the handler may ask for a refresh token.
    Anyone,
    /// A valid access token.
    Authenticated,
    /// A valid access token of a role with this permission.
    Permission(&'static str),
}

/// One endpoint, as the access matrix and the README know it.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// The method.
    pub method: &'static str,
    /// The path, parameters as their types: `/api/users/UserId`.
    pub path: &'static str,
    /// Who.
    pub access: Access,
}

macro_rules! access {
    (anyone) => {
        Access::Anyone
    };
    (authenticated) => {
        Access::Authenticated
    };
    (as_asked) => {
        Access::Authenticated
    };
    (with_permission $permission:literal) => {
        Access::Permission($permission)
    };
}

/// Makes the const table and the filter of it. The prefix stands outside the box of each resource.
macro_rules! routes {
    ($($prefix:literal / $resource:literal {
        $($verb:ident ($($path:tt)*) $guard:ident $($permission:literal)?, $body:expr => $handler:path;)*
    })*) => {
        /// Every endpoint of the API.
        pub const ROUTES: &[Route] = &[$($(Route {
            method: method_of(stringify!($verb)),
            path: concat!("/", $prefix, "/", $resource $(, path_text!($path))*),
            access: access!($guard $($permission)?),
        },)*)*];

        /// The API as a filter.
        pub fn api(web: &Arc<Web>) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + use<> {
            first_of!($(
                warp::path($prefix).and(warp::path($resource)).and(first_of!($(
                    warp::path!($($path)*)
                        .and(verb::$verb())
                        .and(guard::$guard(Arc::clone(web) $(, $permission)?))
                        .and($body)
                        .then($handler)
                        .map(reply),
                )*).boxed()),
            )*)
        }
    };
}

/// The first of these filters that does not reject. Nested to the right: the first lies on top, so
/// what is asked most stands first and costs least.
macro_rules! first_of {
    ($only:expr $(,)?) => { $only };
    ($first:expr, $($rest:expr),+ $(,)?) => { $first.or(first_of!($($rest),+)).unify() };
}

macro_rules! path_text {
    (/) => {
        ""
    };
    ($segment:literal) => {
        concat!("/", $segment)
    };
    ($segment:ident) => {
        concat!("/", stringify!($segment))
    };
}

const fn method_of(verb: &'static str) -> &'static str {
    match verb.as_bytes() {
        b"get" => "GET",
        b"post" => "POST",
        b"patch" => "PATCH",
        b"delete" => "DELETE",
        _ => panic!("no such verb"),
    }
}

routes! {
    "api" / "auth" {
        get   ("verify")               as_asked,      none() => auth::verify;
        post  ("refresh")              anyone,        optional_json() => auth::refresh;
        post  ("login")                anyone,        json() => auth::login;
        post  ("register")             anyone,        json() => auth::register;
        post  ("setup")                anyone,        json() => auth::setup;
        post  ("logout")               anyone,        lenient_json()  => auth::logout;
        post  ("logout-all")           authenticated, none() => auth::logout_all;
        get   ("csrf")                 anyone,        none() => auth::csrf;
        post  ("password")             authenticated, json() => auth::password;
        get   ("sessions")             authenticated, none() => sessions::list;
        delete("sessions" / SessionId) authenticated, none() => sessions::end;
    }
    "api" / "users" {
        get   ("me")                              authenticated,                 none() => users::me;
        get   ()                                  with_permission "users:read",  none() => users::list;
        get   (UserId)                            with_permission "users:read",  none() => users::show;
        patch (UserId)                            with_permission "users:write", json() => users::change;
        patch (UserId / "role")                   with_permission "users:write", json() => users::set_role;
        delete(UserId)                            with_permission "users:write", none() => users::delete;
        get   (UserId / "sessions")               with_permission "users:write", none() => sessions::list_of;
        delete(UserId / "sessions")               with_permission "users:write", none() => sessions::end_all_of;
        delete(UserId / "sessions" / SessionId)   with_permission "users:write", none() => sessions::end_of;
    }
    "api" / "invites" {
        get   ()         with_permission "users:write", none() => invites::list;
        post  ()         with_permission "users:write", optional_json() => invites::create;
        delete(InviteId) with_permission "users:write", none() => invites::withdraw;
    }
}

/// `/health`, which lies outside the API.
pub fn health(web: &Arc<Web>) -> BoxedFilter<(Response,)> {
    let path = || warp::path!("health");
    let get = path().and(verb::get()).and(guard::anyone(Arc::clone(web))).then(health::health).map(reply);
    get.or(path().and(verb::options()).map(health::options)).unify().boxed()
}

//! The table of endpoints, one line each: method, path, guard, body, handler. No two lines match the same method and
//! path.

use super::{
    auth,
    body::{json, lenient_json, none, optional_json},
    error::into_response,
    guard::{anyone, authenticated, with_permission},
    invites, sessions,
    state::AppState,
    table::method_of,
    users, verb,
    verify::{self, with_queried_role_or_permission},
    well_known,
};
use crate::domain::{InviteId, SessionId, UserId};
use std::sync::Arc;
use warp::{Filter, Rejection, reply::Response};

pub use super::table::{Access, Route};

routes! {
    "api" / "auth" {
        get   ("verify")               with_queried_role_or_permission, none() => verify::verify;
        post  ("refresh")              anyone,        optional_json() => auth::refresh;
        post  ("login")                anyone,        json() => auth::login;
        post  ("register")             anyone,        json() => auth::register;
        post  ("setup")                anyone,        json() => auth::setup;
        post  ("logout")               anyone,        lenient_json()  => auth::logout;
        post  ("logout-all")           authenticated, none() => auth::logout_all;
        get   ("csrf")                 anyone,        none() => auth::csrf;
        post  ("password")             authenticated, json() => auth::change_password;
        get   ("sessions")             authenticated, none() => sessions::list;
        delete("sessions" / SessionId) authenticated, none() => sessions::revoke;
    }
    "api" / "users" {
        get   ("me")                              authenticated,                 none() => users::me;
        get   ()                                  with_permission "users:read",  none() => users::list;
        get   (UserId)                            with_permission "users:read",  none() => users::show;
        patch (UserId)                            with_permission "users:write", json() => users::change;
        patch (UserId / "role")                   with_permission "users:write", json() => users::set_role;
        delete(UserId)                            with_permission "users:write", none() => users::delete;
        get   (UserId / "sessions")               with_permission "users:write", none() => sessions::list_of_user;
        delete(UserId / "sessions")               with_permission "users:write", none() => sessions::revoke_all_of_user;
        delete(UserId / "sessions" / SessionId)   with_permission "users:write", none() => sessions::revoke_of_user;
    }
    "api" / "invites" {
        get   ()         with_permission "users:write", none() => invites::list;
        post  ()         with_permission "users:write", optional_json() => invites::create;
        delete(InviteId) with_permission "users:write", none() => invites::withdraw;
    }
    ".well-known" / "jwks.json" {
        get   () anyone, none() => well_known::jwks;
    }
}

//! The table of endpoints, one line each: method, path, guard, body, handler. No two lines match the same method and
//! path.

use super::{
    api_keys, apps, audit, auth,
    body::{json, lenient_json, none, optional_json},
    error::into_response,
    form::form,
    gate,
    guard::{
        anyone, api_key, authenticated, client_with_permission, fresh, fresh_with_permission, session, session_with_permission,
        with_permission,
    },
    invites, oauth, revocations, sessions,
    state::AppState,
    table::{first_of, method_of},
    users, verb,
    verify::{self, with_queried_role_or_permission},
    well_known,
};
use crate::domain::{ApiKeyId, InviteId, SessionId, UserId};
use std::sync::Arc;
use warp::{Filter, Rejection, reply::Response};

pub use super::table::{Access, Route};

routes! {
    "api" / "auth" {
        get   ("verify")               with_queried_role_or_permission, none() => verify::verify;
        post  ("refresh")              anyone,  optional_json() => auth::refresh;
        post  ("login")                anyone,  json() => auth::login;
        post  ("register")             anyone,  json() => auth::register;
        post  ("setup")                anyone,  json() => auth::setup;
        post  ("logout")               anyone,  lenient_json()  => auth::logout;
        post  ("logout-all")           session, none() => auth::logout_all;
        get   ("csrf")                 anyone,  none() => auth::csrf;
        post  ("password")             session, json() => auth::change_password;
        get   ("sessions")             session, none() => sessions::list;
        delete("sessions" / SessionId) session, none() => sessions::revoke;
        post  ("token")                api_key, none() => api_keys::issue_token;
    }
    "api" / "users" {
        get   ("me")                              authenticated,                         none() => users::me;
        get   ("me" / "events")                   session,                               none() => audit::list_own;
        get   ()                                  with_permission "users:read",          none() => users::list;
        get   (UserId)                            with_permission "users:read",          none() => users::show;
        patch (UserId)                            with_permission "users:write",         json() => users::change;
        patch (UserId / "role")                   session_with_permission "users:write", json() => users::set_role;
        delete(UserId)                            with_permission "users:write",         none() => users::delete;
        get   (UserId / "sessions")               with_permission "users:write",         none() => sessions::list_of_user;
        delete(UserId / "sessions")               with_permission "users:write",         none() => sessions::revoke_all_of_user;
        delete(UserId / "sessions" / SessionId)   with_permission "users:write",         none() => sessions::revoke_of_user;
        get   (UserId / "apps")                   with_permission "users:read",          none() => apps::list_of_user;
        get   (UserId / "keys")                   session_with_permission "users:write", none() => api_keys::list_of_user;
        delete(UserId / "keys")                   session_with_permission "users:write", none() => api_keys::revoke_all_of_user;
        post  (UserId / "keys" / ApiKeyId / "rotate") fresh_with_permission "users:write", optional_json() => api_keys::rotate_of_user;
        delete(UserId / "keys" / ApiKeyId)        session_with_permission "users:write", none() => api_keys::revoke_of_user;
    }
    "api" / "keys" {
        get   ()                    session, none() => api_keys::list;
        post  ()                    fresh,   json() => api_keys::create;
        post  (ApiKeyId / "rotate") fresh,   optional_json() => api_keys::rotate;
        delete(ApiKeyId)            session, none() => api_keys::revoke;
    }
    "api" / "services" {
        post  () fresh_with_permission "users:write", json() => api_keys::add_service;
    }
    "api" / "invites" {
        get   ()         session_with_permission "users:write", none() => invites::list;
        post  ()         session_with_permission "users:write", optional_json() => invites::create;
        delete(InviteId) session_with_permission "users:write", none() => invites::withdraw;
    }
    "api" / "audit" {
        get   () with_permission "audit:read", none() => audit::list;
    }
    "api" / "gate" {
        get   ("request") anyone,  none() => apps::request;
        post  ("enter")   session, json() => apps::enter;
    }
    "api" / "apps" {
        get   () session, none() => apps::list;
    }
    "api" / "revocations" {
        get   () with_permission "tokens:introspect", none() => revocations::feed;
    }
    "oauth2" / "introspect" {
        post  () client_with_permission "tokens:introspect", form() => oauth::introspect;
    }
    "oauth2" / "revoke" {
        post  () client_with_permission "tokens:introspect", form() => oauth::revoke;
    }
    ".doorward" / "enter" {
        get   () anyone, none() => gate::enter;
    }
    ".doorward" / "done" {
        get   () anyone, none() => gate::done;
    }
    ".doorward" / "sign-out" {
        get   () anyone, none() => gate::sign_out;
    }
    ".well-known" / "jwks.json" {
        get   () anyone, none() => well_known::jwks;
    }
    ".well-known" / "oauth-authorization-server" {
        get   () anyone, none() => well_known::metadata;
    }
}

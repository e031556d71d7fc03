//! The macros of the table of routes. Each row becomes an entry of a constant, for tests and the README, and a filter,
//! for warp.

use warp::{Filter, filters::BoxedFilter, reply::Response};

/// Who may use an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anyone. The handler may require a refresh token.
    Anyone,
    /// A caller with a valid access token or API key.
    Authenticated,
    /// A caller with a valid access token or API key that has this permission.
    Permission(&'static str),
    /// A caller with a valid access token.
    Session,
    /// A caller with a valid access token that has this permission.
    SessionPermission(&'static str),
    /// A caller with a valid access token, who authenticated minutes ago.
    Fresh,
    /// The same, with this permission.
    FreshPermission(&'static str),
    /// A caller with an API key.
    ApiKey,
    /// A client of an OAuth endpoint, with an API key that has this permission.
    Client(&'static str),
}

/// One endpoint, as the access matrix and the README know it.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// The method.
    pub method: &'static str,
    /// The path, with types in place of parameters: `/api/users/UserId`.
    pub path: &'static str,
    /// Who may use it.
    pub access: Access,
}

/// The HTTP method of a verb in the table.
pub const fn method_of(verb: &'static str) -> &'static str {
    match verb.as_bytes() {
        b"get" => "GET",
        b"post" => "POST",
        b"patch" => "PATCH",
        b"delete" => "DELETE",
        _ => panic!("no such verb"),
    }
}

macro_rules! access {
    (anyone) => {
        Access::Anyone
    };
    (authenticated) => {
        Access::Authenticated
    };
    (with_queried_role_or_permission) => {
        Access::Authenticated
    };
    (with_permission $permission:literal) => {
        Access::Permission($permission)
    };
    (session) => {
        Access::Session
    };
    (session_with_permission $permission:literal) => {
        Access::SessionPermission($permission)
    };
    (fresh) => {
        Access::Fresh
    };
    (fresh_with_permission $permission:literal) => {
        Access::FreshPermission($permission)
    };
    (api_key) => {
        Access::ApiKey
    };
    (client_with_permission $permission:literal) => {
        Access::Client($permission)
    };
}

/// Makes the constant and the filter of the table. Each resource is one boxed filter, which is entered only if the
/// prefix matches.
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
        pub fn api(state: &Arc<AppState>) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + use<> {
            first_of(vec![$(
                warp::path($prefix).and(warp::path($resource)).and(first_of(vec![$(
                    warp::path!($($path)*)
                        .and(verb::$verb())
                        .and($guard(Arc::clone(state) $(, $permission)?))
                        .and($body)
                        .then($handler)
                        .map(into_response)
                        .boxed(),
                )*])).boxed(),
            )*])
        }
    };
}

/// The first of these filters that does not reject. They are nested to the right, so the first one costs least: put the
/// endpoint with the most requests first. They are boxed, so that all of them are of one type: as types of their own, the
/// nests would be a twentieth of the binary.
///
/// # Panics
/// When there is none.
pub fn first_of(filters: Vec<BoxedFilter<(Response,)>>) -> BoxedFilter<(Response,)> {
    let nested = filters.into_iter().rev().reduce(|rest, first| first.or(rest).unify().boxed());
    nested.expect("a table has rows")
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

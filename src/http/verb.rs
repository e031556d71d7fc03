//! Method filters. Each rejects with a marker of its own, so that the markers which a path left in a rejection make up
//! its `Allow` list (RFC 9110 §15.5.6).

use std::convert::Infallible;
use warp::{Filter, Rejection, http::Method, reject::Reject};

macro_rules! verbs {
    ($($(#[$doc:meta])* $name:ident $marker:ident $method:ident $allow:literal;)*) => {
        $(
            /// The path takes this method, which the request did not use.
            #[derive(Debug)]
            struct $marker;
            impl Reject for $marker {}

            $(#[$doc])*
            pub fn $name() -> impl Filter<Extract = (), Error = Rejection> + Clone + use<> {
                method().and_then(|method: Method| async move {
                    if matches(&method, &Method::$method) { Ok(()) } else { Err(warp::reject::custom($marker)) }
                }).untuple_one()
            }
        )*

        /// The methods that the requested path takes; none if there is no such path.
        pub fn allowed(rejection: &Rejection) -> Vec<&'static str> {
            let mut allowed = Vec::new();
            $(if rejection.find::<$marker>().is_some() { allowed.push($allow); })*
            allowed
        }
    };
}

verbs! {
    /// GET, and HEAD, whose body hyper leaves out (HTTP-12).
    get NotGet GET "GET, HEAD";
    /// POST.
    post NotPost POST "POST";
    /// PATCH.
    patch NotPatch PATCH "PATCH";
    /// DELETE.
    delete NotDelete DELETE "DELETE";
    /// OPTIONS.
    options NotOptions OPTIONS "OPTIONS";
}

fn method() -> impl Filter<Extract = (Method,), Error = Infallible> + Copy {
    warp::method()
}

fn matches(method: &Method, wanted: &Method) -> bool {
    method == wanted || (*wanted == Method::GET && *method == Method::HEAD)
}

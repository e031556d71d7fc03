//! The listener that has metrics and nothing else. Who reaches it may read them (MET-3).

use super::{
    context::RequestContext,
    error::{ApiError, Code, into_response},
    headers::add_default_headers,
    metrics::scrape,
    pipeline::{Service, catch_panic},
};
use crate::app::App;
use futures_util::FutureExt;
use std::sync::Arc;
use warp::http::{Method, header};

const PATH: &str = "/metrics";

/// Answers its requests.
pub fn service(app: Arc<App>) -> Service {
    Arc::new(move |peer, connection, request, _| {
        let (app, (parts, _)) = (Arc::clone(&app), request.into_parts());
        let context = RequestContext::over(connection, false, (peer, peer), parts.headers, parts.uri);
        let answered = async move {
            let answer = async {
                let answered = match (context.path(), parts.method) {
                    (PATH, Method::GET | Method::HEAD) => scrape(app).await,
                    (PATH, _) => Err(ApiError::from(Code::MethodNotAllowed).header(header::ALLOW, "GET, HEAD")),
                    _ => Err(ApiError::from(Code::NotFound).message("There is only /metrics here")),
                };
                Ok(into_response(answered))
            };
            let mut response = catch_panic(answer).await;
            if let Some(error) = response.extensions_mut().remove::<ApiError>() {
                response = error.render(context.request_id());
            }
            add_default_headers(&context, response.headers_mut());
            response
        };
        answered.boxed()
    })
}

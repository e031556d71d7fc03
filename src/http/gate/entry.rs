//! The way into an app, at the app's own host: it begins, ends and is left below `/.doorward/`. Proxies either send these
//! paths here or ask the gate about them, which then answers itself. None of the answers is a 2xx.

use super::{
    cookies,
    headers::redirect,
    page,
    question::{FORWARDED_HOST, Question, may_ask},
    verdict::holder_of_pass,
};
use crate::{
    domain::gate::App,
    http::{
        context::RequestContext,
        error::{ApiError, Code, HandlerResult},
        guard::Request,
        state::AppState,
    },
    service::gate::{Nonce, NotRedeemed, enter_address},
};
use std::sync::Arc;
use warp::{
    http::{HeaderName, header},
    reply::Response,
};

/// The longest path and query that somebody is sent back to, as it stands in an address.
const MAX_TARGET: usize = 1500;
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// Whether somebody may be sent back to this path and query.
pub fn is_target(target: &str) -> bool {
    let is_plain = target.starts_with('/') && target.bytes().all(|b| b.is_ascii_graphic() && b != b'#' && b != b'\\');
    let encoded = || url::form_urlencoded::byte_serialize(target.as_bytes()).map(str::len).sum::<usize>();
    is_plain && target.len() <= MAX_TARGET && encoded() <= MAX_TARGET
}

/// Answers a question about a path of Doorward's own.
pub async fn in_band(state: &AppState, app: &Arc<App>, question: &Question<'_>, context: &RequestContext) -> Response {
    let way = Way { state, app, context };
    let result = match (question.path(), question.method) {
        ("/.doorward/enter", "GET" | "HEAD") => way.enter(param(question.query(), "to").as_deref()).await,
        ("/.doorward/done", "GET") => way.done(param(question.query(), "code").as_deref()).await,
        ("/.doorward/sign-out", "GET" | "HEAD") => Ok(way.sign_out()),
        _ => Err(Code::NotFound.into()),
    };
    result.unwrap_or_else(ApiError::into_response)
}

/// `/.doorward/enter?to=…`
pub async fn enter(req: Request) -> HandlerResult {
    let app = app_of(&req)?;
    let to = single(&req, "to");
    Way { state: req.state(), app: &app, context: &req.context }.enter(to.as_deref()).await
}

/// `/.doorward/done?code=…`
pub async fn done(req: Request) -> HandlerResult {
    let app = app_of(&req)?;
    let code = single(&req, "code");
    Way { state: req.state(), app: &app, context: &req.context }.done(code.as_deref()).await
}

/// `/.doorward/sign-out`
pub async fn sign_out(req: Request) -> HandlerResult {
    let app = app_of(&req)?;
    Ok(Way { state: req.state(), app: &app, context: &req.context }.sign_out())
}

/// The app whose host a request came to. A proxy says which, as it keeps our own host for us.
fn app_of(req: &Request) -> Result<Arc<App>, ApiError> {
    let context = &req.context;
    let is_told = may_ask(req.site(), context.peer()) && context.headers(&FORWARDED_HOST).next().is_some();
    let name = if is_told { FORWARDED_HOST } else { header::HOST };
    let host = context.header(&name);
    let app = host.and_then(|host| req.app().gate().gate().at_host(host));
    Ok(Arc::clone(app.ok_or(Code::NotFound)?))
}

fn single(req: &Request, name: &'static str) -> Option<String> {
    let mut values = req.context.query(name);
    values.next().filter(|_| values.next().is_none())
}

fn param(query: &str, name: &str) -> Option<String> {
    let mut values = url::form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    values.next().filter(|_| values.next().is_none())
}

/// A request on its way into an app.
struct Way<'a> {
    state: &'a AppState,
    app: &'a App,
    context: &'a RequestContext,
}

impl Way<'_> {
    /// Begins: who has a pass that opens the place goes on; others are sent to the sign-in page, so that somebody who was refused
    /// can come back as another.
    async fn enter(&self, to: Option<&str>) -> HandlerResult {
        let to = to.filter(|to| is_target(to)).unwrap_or("/");
        let path = to.split('?').next().unwrap_or_default();
        let holder = holder_of_pass(&self.state.app, self.app, self.context).await?;
        if holder.as_ref().is_some_and(|visitor| visitor.may_enter(&self.state.app, self.app, path)) {
            return Ok(self.go_to(to));
        }
        let known = cookies::nonce(self.context, &self.app.origin);
        // Who brings a pass keeps cookies, whatever it opens.
        if holder.is_none() && known.as_ref().is_some_and(|nonce| self.state.app.gate().is_going_round(nonce)) {
            return Ok(page::no_cookies(self.state, self.context));
        }
        let nonce = known.unwrap_or_else(Nonce::random);
        let request = self.state.app.gate().request(self.app, to.to_owned(), Some(&nonce));
        let mut response = redirect(false, &format!("{}/gate/sign-in?request={request}", self.state.site.url));
        response.headers_mut().insert(header::SET_COOKIE, cookies::set_nonce(&self.app.origin, &nonce));
        Ok(response)
    }

    /// Ends: a code becomes a pass. Only somebody who follows an address gets one, no page for its own purposes.
    async fn done(&self, code: Option<&str>) -> HandlerResult {
        let is_followed = self.context.headers(&SEC_FETCH_DEST).all(|dest| dest == "document");
        let nonce = cookies::nonce(self.context, &self.app.origin);
        let redeemed = match code.filter(|_| is_followed) {
            Some(code) => self.state.app.gate().redeem(self.app, code, nonce.as_ref()).await,
            None => Err(NotRedeemed::Invalid),
        };
        let wanted = match redeemed {
            Ok(issued) => {
                let mut response = self.go_to(&issued.to);
                let cookie = cookies::set_pass(&self.app.origin, &issued.pass, issued.expires_in);
                response.headers_mut().insert(header::SET_COOKIE, cookie);
                return Ok(response);
            }
            Err(NotRedeemed::OtherBrowser(to)) => Some(to),
            Err(NotRedeemed::Invalid) => None,
        };
        // Another tab has come first, or somebody went back in the history.
        if is_followed && holder_of_pass(&self.state.app, self.app, self.context).await?.is_some() {
            return Ok(self.go_to(wanted.as_deref().unwrap_or("/")));
        }
        match wanted {
            Some(to) => Ok(redirect(false, &enter_address(self.app, &to))),
            None => Ok(page::no_way(self.state, self.context, &enter_address(self.app, "/"))),
        }
    }

    /// Leaves: a page asks first, so that no image of another site signs anybody out.
    fn sign_out(&self) -> Response {
        redirect(false, &format!("{}/gate/sign-out", self.state.site.url))
    }

    fn go_to(&self, to: &str) -> Response {
        let to = if is_target(to) { to } else { "/" };
        redirect(false, &format!("{}{to}", self.app.origin.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gate_21_somebody_is_sent_back_to_a_path_alone() {
        for good in ["/", "/a?b=c&d=%2F", "//evil.example", "/a/../b"] {
            assert!(is_target(good), "{good}");
        }
        let long = format!("/{}", "a".repeat(1500));
        let encoded = format!("/{}", "&".repeat(600));
        for bad in ["", "x", "https://evil.example/", "\\evil", "/\\evil", "/a b", "/a#b", "/ä", "/a\r\nb", "/\t", &long, &encoded] {
            assert!(!is_target(bad), "{bad}");
        }
    }
}

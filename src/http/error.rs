//! The error answers: one envelope, and a closed set of codes. Only this file gives an answer the status of a refusal (I2).

pub use super::code::Code;

use super::reply;
use crate::{
    service::{self, access_tokens::VerifyError, bearers::Unauthenticated, throttle::Limited},
    store,
};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::{borrow::Cow, fmt, sync::Arc, time::Duration};
use warp::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    reject::Reject,
    reply::Response,
};

/// An error on its way to a client.
#[derive(Debug, Clone)]
pub struct ApiError {
    /// The code that clients branch on.
    pub code: Code,
    message: Cow<'static, str>,
    details: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// For the log alone.
    cause: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Reject for ApiError {}

impl From<Code> for ApiError {
    fn from(code: Code) -> Self {
        let challenge = HeaderValue::from_static;
        let error = Self { code, message: code.message().into(), details: Map::new(), headers: Vec::new(), cause: None };
        // RFC 6750 §3: a bare challenge when nothing was presented, a reason when something was.
        match code {
            Code::MissingToken => error.header(header::WWW_AUTHENTICATE, challenge("Bearer realm=\"doorward\"")),
            Code::InvalidFormat => {
                error.header(header::WWW_AUTHENTICATE, challenge("Bearer realm=\"doorward\", error=\"invalid_request\""))
            }
            Code::InvalidToken => error.header(header::WWW_AUTHENTICATE, challenge("Bearer error=\"invalid_token\"")),
            Code::TokenExpired => {
                error.header(header::WWW_AUTHENTICATE, challenge("Bearer error=\"invalid_token\", error_description=\"expired\""))
            }
            Code::TokenRevoked => {
                error.header(header::WWW_AUTHENTICATE, challenge("Bearer error=\"invalid_token\", error_description=\"revoked\""))
            }
            Code::RefreshConflict | Code::Overloaded => error.retry_after(1),
            _ => error,
        }
    }
}

impl Code {
    /// A response with the status of this code.
    pub fn on(self, mut response: Response) -> Response {
        *response.status_mut() = StatusCode::from_u16(self.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response
    }
}

impl ApiError {
    /// The error for a request with one field that cannot be accepted.
    pub fn field(field: &str, message: impl fmt::Display) -> Self {
        Self::from(Code::ValidationFailed).with_field(field, message)
    }

    /// Says what exactly is wrong with a field.
    pub fn with_field(self, field: &str, message: impl fmt::Display) -> Self {
        let message = message.to_string();
        self.detail("fields", json!([{ "field": field, "message": message }]))
    }

    /// A more exact message; never one that quotes the request.
    pub fn message(mut self, message: impl Into<Cow<'static, str>>) -> Self {
        self.message = message.into();
        self
    }

    /// What the client is told.
    pub fn description(&self) -> &str {
        &self.message
    }

    /// A further member of the envelope.
    pub fn detail(mut self, name: &str, value: Value) -> Self {
        self.details.insert(name.to_owned(), value);
        self
    }

    /// A header of the answer.
    pub fn header(mut self, name: HeaderName, value: impl TryInto<HeaderValue>) -> Self {
        if let Ok(value) = value.try_into() {
            self.headers.push((name, value));
        }
        self
    }

    /// Offers HTTP Basic authentication (RFC 7617) as well. It stands first: nginx hands on the first challenge alone, and
    /// git, which is what Basic is for here, knows no other.
    pub fn offering_basic(mut self) -> Self {
        if self.code.status() == 401 {
            let challenge = HeaderValue::from_static("Basic realm=\"doorward\", charset=\"UTF-8\"");
            self.headers.insert(0, (header::WWW_AUTHENTICATE, challenge));
        }
        self
    }

    /// The error for a caller who has none of these roles.
    pub fn required_roles(roles: &[&str]) -> Self {
        let message = format!("This requires one of the roles: {}", roles.join(", "));
        Self::from(Code::Forbidden)
            .message(message)
            .detail("requiredRoles", json!(roles))
            .header(header::WWW_AUTHENTICATE, "Bearer error=\"insufficient_scope\"")
    }

    /// The error for a caller who does not have this permission (TOK-9).
    pub fn required_permission(permission: &str) -> Self {
        Self::from(Code::Forbidden)
            .message(format!("This requires the permission {permission}"))
            .detail("requiredPermission", json!(permission))
            .header(header::WWW_AUTHENTICATE, format!("Bearer error=\"insufficient_scope\", scope=\"{permission}\""))
    }

    /// The same as a plain refusal, for a proxy that takes any other for a failure of its own.
    pub fn as_refusal(self) -> Self {
        Self { code: Code::Forbidden, ..self.unchallenged() }
    }

    /// The same without a challenge: a key for the gate is no bearer token.
    pub fn unchallenged(self) -> Self {
        let headers = self.headers.into_iter().filter(|(name, _)| *name != header::WWW_AUTHENTICATE).collect();
        Self { headers, ..self }
    }

    /// The error for a caller who authenticated too long ago (RFC 9470 §3).
    pub fn step_up_required(max_age: Duration) -> Self {
        let seconds = max_age.as_secs();
        let challenge = format!("Bearer error=\"insufficient_user_authentication\", max_age=\"{seconds}\"");
        Self::from(Code::StepUpRequired).detail("maxAge", json!(seconds)).header(header::WWW_AUTHENTICATE, challenge)
    }

    fn retry_after(self, seconds: u64) -> Self {
        self.detail("retryAfter", json!(seconds)).header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// Adds the error that caused this one, for the log alone.
    pub fn with_source(mut self, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.cause = Some(Arc::new(cause));
        self
    }

    /// A response that carries this error to where it is rendered, with the request's id.
    #[must_use]
    pub fn into_response(self) -> Response {
        let mut response = Response::default();
        response.extensions_mut().insert(self);
        response
    }

    /// Renders the answer, and logs the cause, which is not part of it.
    #[must_use]
    pub fn render(self, request_id: &str) -> Response {
        if let Some(cause) = &self.cause {
            tracing::error!(request = request_id, code = self.code.as_str(), cause = %chain(&**cause), "a request failed");
        }
        let envelope = Envelope { error: self.code.as_str(), message: &self.message, request_id, details: &self.details };
        let mut response = self.code.on(reply::json(&envelope));
        for (name, value) in self.headers {
            response.headers_mut().append(name, value);
        }
        response
    }
}

/// What a handler returns: an answer or an error.
pub type HandlerResult = Result<Response, ApiError>;

/// Turns a handler's result into a response. An error is rendered later, where the request's id is known.
pub fn into_response(result: HandlerResult) -> Response {
    result.unwrap_or_else(ApiError::into_response)
}

/// The JSON body of an error.
#[derive(Serialize)]
struct Envelope<'a> {
    error: &'static str,
    message: &'a str,
    #[serde(rename = "requestId")]
    request_id: &'a str,
    #[serde(flatten)]
    details: &'a Map<String, Value>,
}

/// The text of an error and of all its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

impl From<VerifyError> for ApiError {
    fn from(rejected: VerifyError) -> Self {
        match rejected {
            VerifyError::Invalid => Code::InvalidToken.into(),
            VerifyError::Expired(at) => Self::from(Code::TokenExpired).detail("expiredAt", json!(at)),
            VerifyError::Revoked => Code::TokenRevoked.into(),
        }
    }
}

impl From<Unauthenticated> for ApiError {
    fn from(why: Unauthenticated) -> Self {
        match why {
            Unauthenticated::Token(rejected) => rejected.into(),
            Unauthenticated::Limited(limited) => limited.into(),
            Unauthenticated::Store(error) => error.into(),
        }
    }
}

impl From<service::Error> for ApiError {
    fn from(error: service::Error) -> Self {
        use service::Error;
        match error {
            Error::InvalidCredentials => Code::InvalidCredentials.into(),
            Error::WeakPassword(weakness) => {
                Self::from(Code::WeakPassword).message(format!("The password {weakness}")).with_field("password", weakness)
            }
            Error::EmailTaken => Code::EmailTaken.into(),
            Error::RegistrationClosed => Code::RegistrationClosed.into(),
            Error::InvalidSetupToken => Code::InvalidSetupToken.into(),
            Error::InvalidRefreshToken => Code::InvalidRefreshToken.into(),
            Error::MissingRefreshToken => Code::MissingRefreshToken.into(),
            Error::AmbiguousRefreshToken => Code::AmbiguousCredentials.into(),
            Error::TwoRefreshCookies => Self::from(Code::InvalidRequest).message("The refresh-token cookie is there twice"),
            Error::MalformedRetryKey => {
                Self::from(Code::InvalidRequest).message("Idempotency-Key must be there once, of 8 to 128 visible characters")
            }
            Error::CsrfFailed => Code::CsrfFailed.into(),
            Error::RefreshTokenExpired => Code::RefreshTokenExpired.into(),
            Error::SessionEnded => Code::TokenRevoked.into(),
            Error::RefreshTokenReused => Code::TokenReuseDetected.into(),
            Error::RefreshConflict => Code::RefreshConflict.into(),
            Error::NotFound => Code::NotFound.into(),
            Error::LastAdmin => Code::LastAdmin.into(),
            Error::InvalidRole { allowed } => {
                let names: Vec<_> = allowed.iter().map(crate::domain::Role::as_str).collect();
                Self::from(Code::InvalidRole).with_field("role", format!("must be one of: {}", names.join(", ")))
            }
            Error::RoleBeyondReach => Self::from(Code::Forbidden).message("The role grants more than your own"),
            Error::UnknownApp { .. } => Self::field("apps", error),
            Error::NotGranted { .. } | Error::UnknownPermission(_) => Self::field("permissions", error),
            Error::EndlessKey => Self::field("expiresIn", error),
            Error::TooManyKeys => Code::TooManyKeys.into(),
            Error::NotAPerson | Error::ReservedAddress => Self::field("email", error),
            Error::Limited(limited) => limited.into(),
            Error::Overloaded => Code::Overloaded.into(),
            Error::Store(error) => error.into(),
        }
    }
}

impl From<Limited> for ApiError {
    /// Adds `Retry-After` and the headers of draft-ietf-httpapi-ratelimit-headers-10 (LIM-11).
    fn from(limited: Limited) -> Self {
        let Limited { policy, quota, window, retry_after } = limited;
        let seconds = retry_after.as_secs();
        Self::from(Code::RateLimited)
            .retry_after(seconds)
            .header(HeaderName::from_static("ratelimit-policy"), format!("\"{policy}\";q={quota};w={}", window.as_secs()))
            .header(HeaderName::from_static("ratelimit"), format!("\"{policy}\";r=0;t={seconds}"))
    }
}

impl From<store::Error> for ApiError {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Storage(_) | store::Error::ReadOnly | store::Error::Full | store::Error::TimedOut => {
                Self::from(Code::StorageUnavailable).retry_after(10).with_source(error)
            }
            store::Error::AuthorityEnded => Code::TokenRevoked.into(),
            store::Error::Corrupt(_)
            | store::Error::TooNew { .. }
            | store::Error::NotOurs
            | store::Error::InUse(_)
            | store::Error::SnapshotLost
            | store::Error::Panicked => Self::from(Code::Internal).with_source(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    async fn text(response: Response) -> String {
        let body = response.into_body().collect().await.expect("a body in memory").to_bytes();
        String::from_utf8(body.to_vec()).expect("text")
    }

    #[tokio::test]
    async fn the_envelope_has_one_shape_and_keeps_the_cause_to_itself() {
        let error = ApiError::from(store::Error::Corrupt("users: the cause".into()));
        let response = error.render("id-1");
        assert_eq!(response.status(), 500);
        let body = text(response).await;
        assert_eq!(body, r#"{"error":"INTERNAL","message":"Something went wrong on our side","requestId":"id-1"}"#);
    }

    #[test]
    fn every_code_has_a_name_of_its_own_and_an_error_status() {
        for (i, code) in Code::ALL.iter().enumerate() {
            assert!((400..600).contains(&code.status()), "{code:?}");
            assert!(!Code::ALL[i + 1..].iter().any(|other| other.as_str() == code.as_str()), "{code:?}");
        }
        assert!(Code::ALL.is_sorted_by_key(|code| code.status()));
    }

    #[tokio::test]
    async fn lim_11_a_limit_says_when_to_come_back() {
        let limited = Limited { policy: "login", quota: 5, window: Duration::from_secs(900), retry_after: Duration::from_secs(7) };
        let response = ApiError::from(limited).render("x");
        let header = |name: &str| response.headers()[name].to_str().expect("ASCII").to_owned();
        assert_eq!(header("retry-after"), "7");
        assert_eq!(header("ratelimit-policy"), "\"login\";q=5;w=900");
        assert_eq!(header("ratelimit"), "\"login\";r=0;t=7");
        assert!(text(response).await.contains("\"retryAfter\":7"));
    }
}

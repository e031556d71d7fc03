//! The codes of errors, with their statuses and messages. Clients branch on the codes: this list is all there is.

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident $status:literal $text:literal $message:literal;)*) => {
        /// The codes clients branch on.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code { $($(#[$doc])* #[doc = concat!("`", $message, "`")] $name,)* }

        impl Code {
            /// All of them, in the order of their statuses.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The `error` member.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The status it is sent with.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// The message, unless there is a more exact one.
            #[must_use]
            pub const fn message(self) -> &'static str {
                match self { $(Self::$name => $message,)* }
            }
        }
    };
}

codes! {
    ValidationFailed 400 "VALIDATION_FAILED" "The request has fields that cannot be accepted";
    MalformedJson 400 "MALFORMED_JSON" "The body is not valid JSON";
    InvalidRequest 400 "INVALID_REQUEST" "The request is not well-formed";
    AmbiguousCredentials 400 "AMBIGUOUS_CREDENTIALS" "Send the refresh token in the cookie or in the body, not both";
    WeakPassword 400 "WEAK_PASSWORD" "The password is too weak";
    EntryExpired 400 "ENTRY_EXPIRED" "This way into the app is not good any more: open the app again";
    InvalidRole 400 "INVALID_ROLE" "There is no such role";
    MissingToken 401 "MISSING_TOKEN" "An access token or API key is required";
    InvalidFormat 401 "INVALID_FORMAT" "The Authorization header must be: Bearer <token>";
    InvalidToken 401 "INVALID_TOKEN" "The access token or API key is invalid";
    TokenExpired 401 "TOKEN_EXPIRED" "The access token or API key has expired";
    TokenRevoked 401 "TOKEN_REVOKED" "The token has been revoked";
    SignInRequired 401 "SIGN_IN_REQUIRED" "Sign in to go on";
    StepUpRequired 401 "STEP_UP_REQUIRED" "Sign in again: this needs a sign-in that is a few minutes old at most";
    MissingRefreshToken 401 "MISSING_REFRESH_TOKEN" "A refresh token is required";
    InvalidRefreshToken 401 "INVALID_REFRESH_TOKEN" "The refresh token is invalid";
    RefreshTokenExpired 401 "REFRESH_TOKEN_EXPIRED" "The session has expired; sign in again";
    TokenReuseDetected 401 "TOKEN_REUSE_DETECTED" "The refresh token was used before; sign in again";
    InvalidCredentials 401 "INVALID_CREDENTIALS" "E-mail or password is wrong";
    InvalidSetupToken 401 "INVALID_SETUP_TOKEN" "The set-up link is not good any more; `doorward setup-link` makes a new one";
    Forbidden 403 "FORBIDDEN" "You may not do this";
    SessionRequired 403 "SESSION_REQUIRED" "An API key cannot do this";
    CsrfFailed 403 "CSRF_FAILED" "The request did not prove that it comes from an allowed page";
    RegistrationClosed 403 "REGISTRATION_CLOSED" "Registration needs a good invitation or is closed";
    NotFound 404 "NOT_FOUND" "There is nothing here";
    MethodNotAllowed 405 "METHOD_NOT_ALLOWED" "This path does not take that method";
    RequestTimeout 408 "REQUEST_TIMEOUT" "The body did not arrive in time";
    EmailTaken 409 "EMAIL_TAKEN" "There is an account with this e-mail address";
    RefreshConflict 409 "REFRESH_CONFLICT" "Another refresh of this session came first; try again with its cookie";
    TooManyKeys 409 "TOO_MANY_KEYS" "A user has at most 50 API keys; revoke one first";
    LastAdmin 409 "LAST_ADMIN" "Somebody must be left to administer";
    PayloadTooLarge 413 "PAYLOAD_TOO_LARGE" "The body is larger than 10 KiB";
    UnsupportedMediaType 415 "UNSUPPORTED_MEDIA_TYPE" "The body must be sent as Content-Type: application/json";
    RateLimited 429 "RATE_LIMITED" "Too many tries; wait a little";
    Internal 500 "INTERNAL" "Something went wrong on our side";
    Overloaded 503 "OVERLOADED" "Too much to do right now; try again in a moment";
    StorageUnavailable 503 "STORAGE_UNAVAILABLE" "Nothing can be saved right now";
}

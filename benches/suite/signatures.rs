//! What it costs to verify a token that was not seen before, beside the signature alone.

use crate::{host::rate, seed::session_of};
use data_encoding::BASE64URL_NOPAD;
use doorward::{
    config::Settings,
    domain::{Algorithm, Clock, Permission, Timestamp, User, UserId, UserKind},
    keyring::{Material, PublicKey, TokenRing},
    service::{
        access_tokens::{AccessTokens, NewToken, TokenFor, TokenSettings},
        denylist::DenyList,
    },
};
use secrecy::ExposeSecret;
use std::{sync::Arc, time::Duration};

/// As many tokens as are verified before all are forgotten. To set an RSA key up anew costs some milliseconds, over all of these.
const TOKENS: usize = 4000;

/// Tokens of one key, and what verifies them.
pub struct Signed {
    tokens: Vec<String>,
    service: AccessTokens,
    ring: TokenRing,
}

impl Signed {
    /// Issues the tokens.
    pub fn new(algorithm: Algorithm) -> Self {
        let (clock, settings) = (Clock::default(), Settings::default());
        let now = clock.now();
        let ring = TokenRing::generate(algorithm, now);
        let earlier = AccessTokens::issued_by(now, &settings, None);
        let service = AccessTokens::new(&ring, TokenSettings::new(&settings), clock, Arc::new(DenyList::default()), earlier);
        let user = User {
            kind: UserKind::Person,
            id: UserId::random(),
            email: "ada@example.org".parse().expect("an address"),
            password_hash: String::new(),
            role: "viewer".parse().expect("a role"),
            disabled: false,
            email_verified: false,
            token_version: 1,
            epoch: 0,
            created_at: now,
        };
        let session = session_of(user.id, now, Timestamp::from_secs(now.secs() + 86_400));
        let permissions = [Permission::exact("articles:read").expect("a permission")];
        let new = NewToken { user: &user, permissions: &permissions, of: TokenFor::Session(&session), issued_at: now };
        let tokens = (0..TOKENS).map(|_| service.issue(&new).token.expose_secret().to_owned()).collect();
        Self { tokens, service, ring }
    }

    /// Tokens verified per second, each for the first time.
    pub fn first_sight(&self, span: Duration) -> f64 {
        let passes = rate(span, || {
            self.service.replace_keys(&self.ring);
            self.tokens.iter().for_each(|token| assert!(self.service.verify(token).is_ok(), "a good token"));
        });
        passes * count(TOKENS)
    }

    /// Signatures verified per second, of the same tokens, and nothing else.
    pub fn signatures(&self, span: Duration) -> f64 {
        let Material::Pair { public, .. } = &self.ring.current().material else { panic!("a key pair") };
        let key = PublicKey::new(self.ring.current().algorithm, public).expect("a key");
        let decode = |token: &String| {
            let (message, signature) = token.rsplit_once('.').expect("three parts");
            (message.as_bytes().to_vec(), BASE64URL_NOPAD.decode(signature.as_bytes()).expect("base64url"))
        };
        let signed: Vec<_> = self.tokens.iter().map(decode).collect();
        let passes = rate(span, || signed.iter().for_each(|(message, signature)| assert!(key.verify(message, signature), "a good one")));
        passes * count(signed.len())
    }
}

#[allow(clippy::cast_precision_loss)]
fn count(tokens: usize) -> f64 {
    tokens as f64
}

//! Tokens in time, and forgeries signed with the real key of each algorithm.

mod cache;
mod forgeries;

use super::*;
use crate::{
    keyring::{Material, PrivateKey, TokenKey},
    store::{CommitEvent, Observer},
};
use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sha2::Sha256;
use std::sync::OnceLock;

struct Fixture {
    tokens: AccessTokens,
    denylist: Arc<DenyList>,
    ring: TokenRing,
    user: User,
    session: Session,
    clock: Clock,
}

fn fixture() -> Fixture {
    fixture_with(&ring(Algorithm::HS256))
}

/// A fixture for each algorithm.
fn fixtures() -> impl Iterator<Item = Fixture> {
    Algorithm::ALL.into_iter().map(|algorithm| fixture_with(&ring(algorithm)))
}

/// A ring of one key. It is made once: an RSA key takes half a second.
fn ring(algorithm: Algorithm) -> TokenRing {
    static RINGS: OnceLock<Vec<TokenRing>> = OnceLock::new();
    let generate = || Algorithm::ALL.into_iter().map(|algorithm| TokenRing::generate(algorithm, Timestamp::default())).collect();
    RINGS.get_or_init(generate).iter().find(|ring| ring.current().algorithm == algorithm).expect("one for each").clone()
}

fn fixture_with(ring: &TokenRing) -> Fixture {
    let (clock, denylist) = (Clock::default(), Arc::new(DenyList::default()));
    let user = User { role: "editor".parse().expect("a role"), token_version: 3, ..User::example() };
    let far = Timestamp::from_secs(4_000_000_000);
    let session = Session { user: user.id, expires_at: far, ends_at: far, sweep_at: far, ..Session::example() };
    let (settings, earlier) = (Settings::default(), AccessTokens::issued_by(clock.now(), &Settings::default(), None));
    let tokens = AccessTokens::new(ring, TokenSettings::new(&settings), clock.clone(), denylist.clone(), earlier);
    Fixture { tokens, denylist, ring: ring.clone(), user, session, clock }
}

/// A key's signature of a message.
fn sign(key: &TokenKey, message: &[u8]) -> Vec<u8> {
    match &key.material {
        Material::Secret(secret) => hmac(secret.expose_secret(), message),
        Material::Pair { private, public } => {
            let private = private.as_ref().expect("it signs").expose_secret();
            PrivateKey::new(key.algorithm, private, public).expect("a key").sign(message)
        }
    }
}

fn hmac(secret: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("a key");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

/// A token with any header and claims.
fn token_of(header: &str, claims: &str, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let message = format!("{}.{}", BASE64URL_NOPAD.encode(header.as_bytes()), BASE64URL_NOPAD.encode(claims.as_bytes()));
    let signature = sign(message.as_bytes());
    format!("{message}.{}", BASE64URL_NOPAD.encode(&signature))
}

impl Fixture {
    fn issue(&self) -> String {
        self.issue_at(self.tokens.now())
    }

    fn issue_at(&self, issued_at: Timestamp) -> String {
        let new = NewToken { user: &self.user, permissions: &[], of: TokenFor::Session(&self.session), issued_at };
        self.tokens.issue(&new).token.expose_secret().to_owned()
    }

    fn parts(&self) -> (Value, Value) {
        inspect(&self.issue()).expect("our own token reads")
    }

    /// A token with any header and claims, signed with the real key.
    fn forge(&self, header: &str, claims: &str) -> String {
        token_of(header, claims, |message| sign(self.ring.current(), message))
    }

    fn with_header(&self, change: impl Fn(&mut Value)) -> Result<VerifiedToken, VerifyError> {
        let (mut header, claims) = self.parts();
        change(&mut header);
        self.tokens.verify(&self.forge(&header.to_string(), &claims.to_string()))
    }

    fn with_claims(&self, change: impl Fn(&mut Value)) -> Result<VerifiedToken, VerifyError> {
        let (header, mut claims) = self.parts();
        change(&mut claims);
        self.tokens.verify(&self.forge(&header.to_string(), &claims.to_string()))
    }
}

#[test]
fn a_token_says_what_the_contract_lists_and_nothing_personal() {
    for fixture in fixtures() {
        says_what_the_contract_lists(&fixture);
    }
}

fn says_what_the_contract_lists(fixture: &Fixture) {
    let (header, claims) = fixture.parts();
    let key = fixture.ring.current();
    assert_eq!((&header["alg"], &header["kid"]), (&json!(key.algorithm.as_str()), &json!(key.id)));
    let issuer = if key.algorithm.is_asymmetric() { "http://127.0.0.1:3000" } else { "doorward" };
    assert_eq!(claims["iss"], issuer);
    let names = |v: &Value| v.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&header), ["alg", "kid", "typ"]);
    assert_eq!(header["typ"], "at+jwt");
    assert_eq!(names(&claims), ["aud", "exp", "iat", "iss", "jti", "permissions", "role", "sid", "sub", "ver"]);
    assert_eq!(claims["exp"].as_u64().expect("exp") - claims["iat"].as_u64().expect("iat"), 900);
    assert!(!claims.to_string().contains("ada@"));
    let principal = fixture.tokens.verify(&fixture.issue()).expect("valid");
    assert_eq!((principal.ids.user, principal.ids.session), (fixture.user.id, fixture.session.id));
    assert_eq!(principal.holder, TokenHolder::Session("editor".parse().expect("a role")));
    assert!(principal.expires_in <= 900 && principal.expires_in >= 899);
}

#[test]
fn tok_5_time_is_exact() {
    let fixture = fixture();
    let now = fixture.clock.now().secs();
    let lives = |iat: u64, exp: u64| {
        fixture.with_claims(|c| {
            c["iat"] = json!(iat);
            c["exp"] = json!(exp);
        })
    };
    assert!(lives(now - 10, now + 2).is_ok());
    assert_eq!(lives(now - 10, now), Err(VerifyError::Expired(Timestamp::from_secs(now))));
    assert_eq!(lives(now, now + 901), Err(VerifyError::Invalid), "longer than we issue");
    assert_eq!(lives(now, now + 315_360_000), Err(VerifyError::Invalid), "ten years");
    assert_eq!(lives(now + 62, now + 600), Err(VerifyError::Invalid), "from the future");
    assert_eq!(lives(now, now - 1), Err(VerifyError::Invalid), "over before it began");
    assert_eq!(lives(u64::MAX, u64::MAX), Err(VerifyError::Invalid));
}

#[test]
fn ops_7_tok_5_after_a_clock_was_ahead_tokens_live_no_longer_than_ever_and_those_of_then_are_refused() {
    let fixture = fixture();
    fixture.clock.shift(86_400_000);
    let ahead = fixture.issue();
    assert!(fixture.tokens.verify(&ahead).is_ok());
    fixture.clock.shift(-86_400_000);
    assert_eq!(fixture.tokens.verify(&ahead), Err(VerifyError::Invalid), "it would live for a day");
    let token = fixture.issue();
    let verified = fixture.tokens.verify(&token).expect("just issued");
    assert!(verified.expires_in <= 900 && verified.expires_at <= fixture.clock.now().plus(Duration::from_secs(900)));
    fixture.clock.shift(3_600_000);
    assert!(matches!(fixture.tokens.verify(&token), Err(VerifyError::Expired(_))));
    assert!(fixture.tokens.verify(&fixture.issue()).is_ok());
}

#[test]
fn rev_1_a_token_that_is_over_or_revoked_still_proves_its_session_and_a_forged_one_nothing() {
    let fixture = fixture();
    let token = fixture.issue();
    fixture.clock.shift(3_600_000);
    assert!(matches!(fixture.tokens.verify(&token), Err(VerifyError::Expired(_))));
    assert_eq!(fixture.tokens.verify_ignoring_expiry(&token).expect("ours").ids.session, fixture.session.id);
    assert_eq!(fixture.tokens.verify_ignoring_expiry(&format!("{token}x")), None);
    let (header, mut claims) = inspect(&token).expect("reads");
    claims["aud"] = "another".into();
    assert_eq!(fixture.tokens.verify_ignoring_expiry(&fixture.forge(&header.to_string(), &claims.to_string())), None);
}

#[test]
fn ops_7_rev_3_after_a_clock_was_set_back_revocations_are_remembered_as_long_as_tokens_live() {
    let mut fixture = fixture();
    fixture.issue();
    fixture.session.ends_at = fixture.clock.now().plus(Duration::from_secs(86_400));
    for back in [-3_600_000, -40 * 86_400_000] {
        fixture.clock.shift(back);
        let token = fixture.issue();
        assert!(fixture.tokens.verify(&token).is_ok(), "born valid");
        let exp = inspect(&token).expect("reads").1["exp"].as_u64().expect("exp");
        assert!(fixture.tokens.deny().until >= Timestamp::from_secs(exp));
    }
}

/// The deny list relies on this: a token that is issued long after the commit it follows from, because the process
/// stood still in between, still expires before the entries of what was revoked meanwhile are dropped.
#[test]
fn rev_9_a_token_is_dated_by_the_moment_its_transaction_was_given_however_late_it_is_issued() {
    let fixture = fixture();
    let given = fixture.tokens.now();
    // Another transaction voids the user's tokens and is committed. Its entry is kept until `until`.
    let until = fixture.tokens.deny().until;
    fixture.denylist.committed(CommitEvent::TokensVoided { user: fixture.user.id, least_version: 4, until });
    fixture.clock.sleep(600_000);
    let token = fixture.issue_at(given);
    let claims = inspect(&token).expect("reads").1;
    assert_eq!(claims["iat"], given.secs());
    assert!(Timestamp::from_secs(claims["exp"].as_u64().expect("exp")) < until);
    assert_eq!(fixture.tokens.verify(&token), Err(VerifyError::Revoked));
    assert!(fixture.tokens.verify_ignoring_expiry(&token).expect("ours").expires_in <= 300, "what it says of itself is true");
}

#[test]
fn rev_6_after_everything_was_voided_new_tokens_are_good_at_once() {
    let fixture = fixture();
    let before = fixture.issue();
    let Deny { until, .. } = fixture.tokens.deny();
    fixture.denylist.committed(CommitEvent::AllVoidedBefore { moment: fixture.clock.now().next_second(), until });
    assert_eq!(fixture.tokens.verify(&before), Err(VerifyError::Revoked));
    assert!(fixture.tokens.verify(&fixture.issue()).is_ok(), "in the same second");
}

/// OPS-7: the clock and the settings of an earlier run may have been other ones.
#[test]
fn ops_7_a_revocation_outlives_the_tokens_of_earlier_runs() {
    let (seconds, now) = (Duration::from_secs, Timestamp::from_secs(1_800_000_000));
    let mut settings = Settings::default();
    settings.tokens.access_ttl = seconds(10);
    let own = AccessTokens::max_token_lifetime(&settings);
    let at_start = |noted| AccessTokens::issued_by(now, &settings, noted);
    let noted = |latest: Timestamp, lifetime| Some(Issued { latest, lifetime });
    let ago = |span: u64| Timestamp::from_secs(now.secs() - span);
    assert_eq!(at_start(None), Issued { latest: now, lifetime: own });
    assert_eq!(at_start(noted(ago(20), own)), Issued { latest: now, lifetime: own });
    assert_eq!(at_start(noted(ago(20), seconds(960))), Issued { latest: now, lifetime: seconds(960) }, "access_ttl was longer");
    assert_eq!(at_start(noted(ago(2000), seconds(960))).lifetime, own, "those have all expired");
    let ahead = now.plus(seconds(130));
    assert_eq!(at_start(noted(ahead, own)).latest, ahead.plus(NOTING_INTERVAL), "the clock was ahead");
    assert_eq!(at_start(noted(now.plus(seconds(1_000_000_000)), own)).latest, now.plus(MAX_BELIEVED_AHEAD));

    let (clock, denylist) = (Clock::default(), Arc::new(DenyList::default()));
    let latest = clock.now().plus(seconds(3600));
    let tokens = AccessTokens::new(
        &ring(Algorithm::HS256),
        TokenSettings::new(&Settings::default()),
        clock,
        denylist,
        Issued { latest, lifetime: seconds(960) },
    );
    assert_eq!(tokens.deny().until, Timestamp::from_secs(latest.secs()).plus(seconds(960)));
}

/// A moment that was set by a clock that was ahead must not lock everybody out until the clock has caught up.
#[test]
fn ops_7_after_all_tokens_were_voided_ahead_of_the_clock_new_ones_are_good() {
    let fixture = fixture();
    let before = fixture.issue();
    let ahead = fixture.clock.now().plus(Duration::from_secs(3600)).next_second();
    let until = ahead.plus(Duration::from_secs(3600));
    fixture.denylist.committed(CommitEvent::AllVoidedBefore { moment: ahead, until });
    assert_eq!(fixture.tokens.verify(&before), Err(VerifyError::Revoked));
    fixture.tokens.verify(&fixture.issue()).expect("issued since");
}

#[test]
fn tok_11_two_tokens_in_one_second_differ() {
    let fixture = fixture();
    assert_ne!(fixture.issue(), fixture.issue());
}

#[test]
fn a_token_never_outlives_its_session() {
    let mut fixture = fixture();
    fixture.session.ends_at = fixture.clock.now().plus(Duration::from_secs(60));
    let verified = fixture.tokens.verify(&fixture.issue()).expect("just issued");
    assert!(verified.expires_in <= 60);
}

//! The forgeries of the attack matrix, each signed with the real key.

use super::*;
use crate::store::{CommitEvent, Observer};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sha2::Sha256;

struct Fixture {
    tokens: AccessTokens,
    denylist: Arc<DenyList>,
    keyring: Keyring,
    user: User,
    session: Session,
    clock: Clock,
}

fn fixture() -> Fixture {
    let (keyring, clock, denylist) = (Keyring::generate(), Clock::default(), Arc::new(DenyList::default()));
    let user = User { role: "editor".parse().expect("a role"), token_version: 3, ..User::example() };
    let far = Timestamp::from_secs(4_000_000_000);
    let session = Session { user: user.id, expires_at: far, ends_at: far, sweep_at: far, ..Session::example() };
    let tokens = tokens(&keyring, &clock, &denylist);
    Fixture { tokens, denylist, keyring, user, session, clock }
}

fn tokens(keyring: &Keyring, clock: &Clock, denylist: &Arc<DenyList>) -> AccessTokens {
    let settings = config::Tokens::default();
    let earlier = AccessTokens::issued_by(clock.now(), &settings, None);
    AccessTokens::new(keyring, settings, clock.clone(), denylist.clone(), earlier)
}

impl Fixture {
    fn issue(&self) -> String {
        self.issue_at(self.tokens.now())
    }

    fn issue_at(&self, issued_at: Timestamp) -> String {
        let new = NewToken { user: &self.user, permissions: &[], session: &self.session, issued_at };
        self.tokens.issue(&new).token.expose_secret().to_owned()
    }

    fn parts(&self) -> (Value, Value) {
        inspect(&self.issue()).expect("our own token reads")
    }

    /// A token with any header and claims, signed with the real key.
    fn forge(&self, header: &str, claims: &str) -> String {
        let input = format!("{}.{}", BASE64URL_NOPAD.encode(header.as_bytes()), BASE64URL_NOPAD.encode(claims.as_bytes()));
        let mut mac = Hmac::<Sha256>::new_from_slice(self.keyring.access.current().secret.expose_secret()).expect("a key");
        mac.update(input.as_bytes());
        format!("{input}.{}", BASE64URL_NOPAD.encode(&mac.finalize().into_bytes()))
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
    let fixture = fixture();
    let (header, claims) = fixture.parts();
    let names = |v: &Value| v.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&header), ["alg", "kid", "typ"]);
    assert_eq!(header["typ"], "at+jwt");
    assert_eq!(names(&claims), ["aud", "exp", "iat", "iss", "jti", "permissions", "role", "sid", "sub", "ver"]);
    assert_eq!(claims["exp"].as_u64().expect("exp") - claims["iat"].as_u64().expect("iat"), 900);
    assert!(!claims.to_string().contains("ada"));
    let principal = fixture.tokens.verify(&fixture.issue()).expect("valid");
    assert_eq!((principal.ids.user, principal.ids.session, principal.role.as_str()), (fixture.user.id, fixture.session.id, "editor"));
    assert!(principal.expires_in <= 900 && principal.expires_in >= 899);
}

#[test]
fn a_forged_twin_of_our_own_token_is_taken_so_the_forgeries_below_fail_for_what_they_change() {
    let fixture = fixture();
    assert!(fixture.with_header(|_| {}).is_ok());
    for typ in ["AT+JWT", "application/at+jwt"] {
        assert!(fixture.with_header(|h| h["typ"] = json!(typ)).is_ok(), "{typ}");
    }
}

#[test]
fn tok_1_2_3_10_no_other_header_is_taken() {
    let fixture = fixture();
    for alg in ["none", "None", "", "hs256", "HS256 ", "HS384", "HS512", "RS256", "ES256", "EdDSA"] {
        assert_eq!(fixture.with_header(|h| h["alg"] = json!(alg)), Err(VerifyError::Invalid), "alg {alg}");
    }
    for alg in [Value::Null, json!(["HS256"]), json!(1)] {
        assert_eq!(fixture.with_header(|h| h["alg"] = alg.clone()), Err(VerifyError::Invalid), "alg {alg}");
    }
    let listed = fixture.with_header(|h| *h = json!([h["alg"], h["typ"], h["kid"]]));
    assert_eq!(listed, Err(VerifyError::Invalid), "an array");
    for typ in [json!("JWT"), json!("refresh+jwt"), json!(""), Value::Null] {
        assert_eq!(fixture.with_header(|h| h["typ"] = typ.clone()), Err(VerifyError::Invalid), "typ {typ}");
    }
    for (name, value) in [
        ("crit", json!(["x"])),
        ("crit", json!([])),
        ("b64", json!(false)),
        ("cty", json!("JWT")),
        ("zip", json!("DEF")),
        ("jku", json!("http://127.0.0.1:1/")),
        ("jwk", json!({"kty": "oct", "k": "AA"})),
        ("x5u", json!("http://127.0.0.1:1/")),
        ("x5c", json!([])),
        ("anything", json!(1)),
    ] {
        assert_eq!(fixture.with_header(|h| h[name] = value.clone()), Err(VerifyError::Invalid), "{name}");
    }
    for kid in [json!("../../dev/null"), json!("' OR 1=1"), json!("k".repeat(10_000)), json!(1), json!(""), Value::Null] {
        assert_eq!(fixture.with_header(|h| h["kid"] = kid.clone()), Err(VerifyError::Invalid), "kid {kid}");
    }
    for name in ["alg", "typ", "kid"] {
        let gone = fixture.with_header(|h| drop(h.as_object_mut().expect("an object").remove(name)));
        assert_eq!(gone, Err(VerifyError::Invalid), "no {name}");
    }
    let (header, claims) = fixture.parts();
    let twice = header.to_string().replacen('{', "{\"alg\":\"HS256\",", 1);
    assert_eq!(fixture.tokens.verify(&fixture.forge(&twice, &claims.to_string())), Err(VerifyError::Invalid));
}

#[test]
fn tok_4_every_claim_is_there_of_its_type_and_ours() {
    let fixture = fixture();
    for name in ["iss", "aud", "sub", "iat", "exp", "jti", "sid", "ver", "role", "permissions"] {
        let gone = fixture.with_claims(|c| drop(c.as_object_mut().expect("an object").remove(name)));
        assert_eq!(gone, Err(VerifyError::Invalid), "no {name}");
        if name != "permissions" {
            assert_eq!(fixture.with_claims(|c| c[name] = json!([c[name]])), Err(VerifyError::Invalid), "{name} in a list");
            assert_eq!(fixture.with_claims(|c| c[name] = Value::Null), Err(VerifyError::Invalid), "{name} null");
        }
    }
    for (name, value) in [
        ("iss", json!("other")),
        ("aud", json!("other")),
        ("aud", json!(["doorward", "other"])),
        ("sub", json!("1")),
        ("exp", json!("9999999999")),
        ("exp", json!(-1)),
        ("exp", json!(1.5)),
        ("exp", json!(u64::MAX)),
        ("ver", json!(-1)),
        ("ver", json!("3")),
        ("nbf", json!("0")),
        ("nbf", json!(9_999_999_999_u64)),
        ("sub", json!("AA".repeat(16))),
    ] {
        assert_eq!(fixture.with_claims(|c| c[name] = value.clone()), Err(VerifyError::Invalid), "{name} {value}");
    }
    let (header, claims) = fixture.parts();
    for twice in ["\"role\":\"admin\"", "\"sub\":\"00\"", "\"exp\":9999999999"] {
        let claims = claims.to_string().replacen('{', &format!("{{{twice},"), 1);
        assert_eq!(fixture.tokens.verify(&fixture.forge(&header.to_string(), &claims)), Err(VerifyError::Invalid), "{twice} twice");
    }
    assert!(fixture.with_claims(|c| c["other"] = json!(1)).is_ok(), "unknown claims are ignored");
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
fn tok_6_size_characters_and_parts_are_checked_before_anything_is_decoded() {
    let fixture = fixture();
    let token = fixture.issue();
    let (head, tail) = token.split_at(token.len() / 2);
    for wrong in [
        String::new(),
        ".".into(),
        "..".into(),
        ".".repeat(15_000),
        format!("{token}."),
        format!("{token}.a"),
        format!("{token}="),
        format!(" {token}"),
        format!("{token}\n"),
        format!("{head}\0{tail}"),
        format!("{head}/{tail}"),
        format!("{head}é{tail}"),
        "a".repeat(8 << 20),
        format!("{}.{}.{}", "a".repeat(300), "a", "a"),
        token.rsplit_once('.').expect("parts").0.to_owned(),
        format!("{}.", token.rsplit_once('.').expect("parts").0),
    ] {
        assert_eq!(fixture.tokens.verify(&wrong), Err(VerifyError::Invalid), "{} bytes", wrong.len());
    }
}

#[test]
fn every_last_character_but_the_right_one_is_refused() {
    let fixture = fixture();
    let token = fixture.issue();
    let (rest, last) = token.split_at(token.len() - 1);
    for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".chars() {
        assert_eq!(fixture.tokens.verify(&format!("{rest}{c}")).is_ok(), last.starts_with(c), "{c}");
    }
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
    let settings = config::Tokens { access_ttl: seconds(10), ..config::Tokens::default() };
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

    let (keyring, clock, denylist) = (Keyring::generate(), Clock::default(), Arc::new(DenyList::default()));
    let latest = clock.now().plus(seconds(3600));
    let tokens = AccessTokens::new(&keyring, settings, clock, denylist, Issued { latest, lifetime: seconds(960) });
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

/// Wycheproof's signatures: our verification agrees with each expected result. None of them is one of our access
/// tokens, not even the one with a valid signature, whose header and payload lack what we require.
#[test]
fn tok_1_6_the_wycheproof_vectors_for_hs256_are_judged_as_they_should_be() {
    let secret = BASE64URL_NOPAD.decode(b"-ebuDNsVZ2iJtoZ-akfXTSCt4UO2cruLCsbWlBinggE").expect("base64url");
    let mut fixture = fixture();
    fixture.keyring.access = crate::keyring::Ring::of("kid-aes-sign", secret);
    let tokens = tokens(&fixture.keyring, &fixture.clock, &fixture.denylist);
    let key = tokens.keys.current();
    let vectors = include_str!("../../../tests/vectors/jws_hs256.txt").lines().filter(|line| !line.starts_with('#'));
    let mut genuine = 0;
    for vector in vectors {
        let mut fields = vector.splitn(3, ' ');
        let [case, result, token] = std::array::from_fn(|_| fields.next().expect("three fields"));
        assert_eq!(tokens.verify(token), Err(VerifyError::Invalid), "case {case}");
        let parts: Vec<_> = token.split('.').collect();
        let verified = match parts[..] {
            [header, payload, signature] => key.has_signed(&format!("{header}.{payload}"), signature),
            _ => false,
        };
        assert_eq!(verified, result == "valid", "case {case}");
        genuine += usize::from(verified);
    }
    assert_eq!(genuine, 1);
}

//! The forgeries of the attack matrix, each signed with the real key.

use super::*;
use crate::{
    domain::{Client, Standing, Transport},
    store::{Change, Observer},
};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

struct Desk {
    tokens: AccessTokens,
    keyring: Keyring,
    user: User,
    session: Session,
    clock: Clock,
}

fn desk() -> Desk {
    let (keyring, clock, revocation) = (Keyring::generate(), Clock::default(), Arc::new(Revocation::default()));
    let user = User {
        id: UserId::from_bytes([1; 16]),
        email: "ada@example.org".parse().expect("an address"),
        password_hash: String::new(),
        role: "editor".parse().expect("a role"),
        disabled: false,
        email_verified: false,
        version: 3,
        epoch: 0,
        created_at: clock.now(),
    };
    let far = Timestamp::from_secs(4_000_000_000);
    let session = Session {
        id: SessionId::from_bytes([2; 16]),
        user: user.id,
        transport: Transport::Body,
        generation: 1,
        token_hash: [0; 32],
        hash_key: String::new(),
        token_key: String::new(),
        created_at: clock.now(),
        refreshed_at: clock.now(),
        expires_at: far,
        ends_at: far,
        sweep_at: far,
        replaced_at: vec![],
        replays: 0,
        retry_key: None,
        client: Client { ip: [127, 0, 0, 1].into(), user_agent: String::new() },
    };
    revocation.committed(Change::Standing(user.id, Standing { version: 3, disabled: false }));
    let tokens = AccessTokens::new(&keyring, config::Tokens::default(), clock.clone(), revocation);
    Desk { tokens, keyring, user, session, clock }
}

impl Desk {
    fn issue(&self) -> String {
        self.tokens.issue(&self.user, &[], &self.session).token
    }

    fn parts(&self) -> (Value, Value) {
        inspect(&self.issue()).expect("our own token reads")
    }

    /// Any header and claims, signed with the real key.
    fn forge(&self, header: &str, claims: &str) -> String {
        let input = format!("{}.{}", BASE64URL_NOPAD.encode(header.as_bytes()), BASE64URL_NOPAD.encode(claims.as_bytes()));
        let mut mac = Hmac::<Sha256>::new_from_slice(self.keyring.access.current().secret.expose_secret()).expect("a key");
        mac.update(input.as_bytes());
        format!("{input}.{}", BASE64URL_NOPAD.encode(&mac.finalize().into_bytes()))
    }

    fn with_header(&self, change: impl Fn(&mut Value)) -> Result<VerifiedToken, Rejected> {
        let (mut header, claims) = self.parts();
        change(&mut header);
        self.tokens.verify(&self.forge(&header.to_string(), &claims.to_string()))
    }

    fn with_claims(&self, change: impl Fn(&mut Value)) -> Result<VerifiedToken, Rejected> {
        let (header, mut claims) = self.parts();
        change(&mut claims);
        self.tokens.verify(&self.forge(&header.to_string(), &claims.to_string()))
    }
}

#[test]
fn a_token_says_what_the_contract_lists_and_nothing_personal() {
    let desk = desk();
    let (header, claims) = desk.parts();
    let names = |v: &Value| v.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&header), ["alg", "kid", "typ"]);
    assert_eq!(header["typ"], "at+jwt");
    assert_eq!(names(&claims), ["aud", "exp", "iat", "iss", "jti", "permissions", "role", "sid", "sub", "ver"]);
    assert_eq!(claims["exp"].as_u64().expect("exp") - claims["iat"].as_u64().expect("iat"), 900);
    assert!(!claims.to_string().contains("ada"));
    let principal = desk.tokens.verify(&desk.issue()).expect("valid");
    assert_eq!((principal.user, principal.session, principal.role.as_str()), (desk.user.id, desk.session.id, "editor"));
    assert!(principal.expires_in <= 900 && principal.expires_in >= 899);
}

#[test]
fn a_forged_twin_of_our_own_token_is_taken_so_the_forgeries_below_fail_for_what_they_change() {
    let desk = desk();
    assert!(desk.with_header(|_| {}).is_ok());
    for typ in ["AT+JWT", "application/at+jwt"] {
        assert!(desk.with_header(|h| h["typ"] = json!(typ)).is_ok(), "{typ}");
    }
}

#[test]
fn tok_1_2_3_10_no_other_header_is_taken() {
    let desk = desk();
    for alg in ["none", "None", "", "hs256", "HS256 ", "HS384", "HS512", "RS256", "ES256", "EdDSA"] {
        assert_eq!(desk.with_header(|h| h["alg"] = json!(alg)), Err(Rejected::Invalid), "alg {alg}");
    }
    for alg in [Value::Null, json!(["HS256"]), json!(1)] {
        assert_eq!(desk.with_header(|h| h["alg"] = alg.clone()), Err(Rejected::Invalid), "alg {alg}");
    }
    let listed = desk.with_header(|h| *h = json!([h["alg"], h["typ"], h["kid"]]));
    assert_eq!(listed, Err(Rejected::Invalid), "an array");
    for typ in [json!("JWT"), json!("refresh+jwt"), json!(""), Value::Null] {
        assert_eq!(desk.with_header(|h| h["typ"] = typ.clone()), Err(Rejected::Invalid), "typ {typ}");
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
        assert_eq!(desk.with_header(|h| h[name] = value.clone()), Err(Rejected::Invalid), "{name}");
    }
    for kid in [json!("../../dev/null"), json!("' OR 1=1"), json!("k".repeat(10_000)), json!(1), json!(""), Value::Null] {
        assert_eq!(desk.with_header(|h| h["kid"] = kid.clone()), Err(Rejected::Invalid), "kid {kid}");
    }
    for name in ["alg", "typ", "kid"] {
        let gone = desk.with_header(|h| drop(h.as_object_mut().expect("an object").remove(name)));
        assert_eq!(gone, Err(Rejected::Invalid), "no {name}");
    }
    let (header, claims) = desk.parts();
    let twice = header.to_string().replacen('{', "{\"alg\":\"HS256\",", 1);
    assert_eq!(desk.tokens.verify(&desk.forge(&twice, &claims.to_string())), Err(Rejected::Invalid));
}

#[test]
fn tok_4_every_claim_is_there_of_its_type_and_ours() {
    let desk = desk();
    for name in ["iss", "aud", "sub", "iat", "exp", "jti", "sid", "ver", "role", "permissions"] {
        let gone = desk.with_claims(|c| drop(c.as_object_mut().expect("an object").remove(name)));
        assert_eq!(gone, Err(Rejected::Invalid), "no {name}");
        if name != "permissions" {
            assert_eq!(desk.with_claims(|c| c[name] = json!([c[name]])), Err(Rejected::Invalid), "{name} in a list");
            assert_eq!(desk.with_claims(|c| c[name] = Value::Null), Err(Rejected::Invalid), "{name} null");
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
        assert_eq!(desk.with_claims(|c| c[name] = value.clone()), Err(Rejected::Invalid), "{name} {value}");
    }
    let (header, claims) = desk.parts();
    for twice in ["\"role\":\"admin\"", "\"sub\":\"00\"", "\"exp\":9999999999"] {
        let claims = claims.to_string().replacen('{', &format!("{{{twice},"), 1);
        assert_eq!(desk.tokens.verify(&desk.forge(&header.to_string(), &claims)), Err(Rejected::Invalid), "{twice} twice");
    }
    assert!(desk.with_claims(|c| c["other"] = json!(1)).is_ok(), "unknown claims are ignored");
}

#[test]
fn tok_5_time_is_exact() {
    let desk = desk();
    let now = desk.clock.now().secs();
    let lives = |iat: u64, exp: u64| {
        desk.with_claims(|c| {
            c["iat"] = json!(iat);
            c["exp"] = json!(exp);
        })
    };
    assert!(lives(now - 10, now + 2).is_ok());
    assert_eq!(lives(now - 10, now), Err(Rejected::Expired(Timestamp::from_secs(now))));
    assert_eq!(lives(now, now + 901), Err(Rejected::Invalid), "longer than we issue");
    assert_eq!(lives(now, now + 315_360_000), Err(Rejected::Invalid), "ten years");
    assert_eq!(lives(now + 62, now + 600), Err(Rejected::Invalid), "from the future");
    assert_eq!(lives(now, now - 1), Err(Rejected::Invalid), "over before it began");
    assert_eq!(lives(u64::MAX, u64::MAX), Err(Rejected::Invalid));
}

#[test]
fn tok_6_size_characters_and_parts_are_checked_before_anything_is_decoded() {
    let desk = desk();
    let token = desk.issue();
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
        assert_eq!(desk.tokens.verify(&wrong), Err(Rejected::Invalid), "{} bytes", wrong.len());
    }
}

#[test]
fn every_last_character_but_the_right_one_is_refused() {
    let desk = desk();
    let token = desk.issue();
    let (rest, last) = token.split_at(token.len() - 1);
    for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".chars() {
        assert_eq!(desk.tokens.verify(&format!("{rest}{c}")).is_ok(), last.starts_with(c), "{c}");
    }
}

#[test]
fn ops_7_tok_5_after_a_clock_was_ahead_tokens_live_no_longer_than_ever_and_those_of_then_are_refused() {
    let desk = desk();
    desk.clock.shift(86_400_000);
    let ahead = desk.issue();
    assert!(desk.tokens.verify(&ahead).is_ok());
    desk.clock.shift(-86_400_000);
    assert_eq!(desk.tokens.verify(&ahead), Err(Rejected::Invalid), "it would live for a day");
    let token = desk.issue();
    let verified = desk.tokens.verify(&token).expect("just issued");
    assert!(verified.expires_in <= 900 && verified.expires_at <= desk.clock.now().plus(Duration::from_secs(900)));
    desk.clock.shift(3_600_000);
    assert!(matches!(desk.tokens.verify(&token), Err(Rejected::Expired(_))));
    assert!(desk.tokens.verify(&desk.issue()).is_ok());
}

#[test]
fn rev_1_a_token_that_is_over_or_revoked_still_proves_its_session_and_a_forged_one_nothing() {
    let desk = desk();
    let token = desk.issue();
    desk.clock.shift(3_600_000);
    assert!(matches!(desk.tokens.verify(&token), Err(Rejected::Expired(_))));
    assert_eq!(desk.tokens.verify_origin(&token).expect("ours").session, desk.session.id);
    assert_eq!(desk.tokens.verify_origin(&format!("{token}x")), None);
    let (header, mut claims) = inspect(&token).expect("reads");
    claims["aud"] = "another".into();
    assert_eq!(desk.tokens.verify_origin(&desk.forge(&header.to_string(), &claims.to_string())), None);
}

#[test]
fn ops_7_rev_3_after_a_clock_was_set_back_revocations_are_remembered_as_long_as_tokens_live() {
    let mut desk = desk();
    desk.issue();
    desk.session.ends_at = desk.clock.now().plus(Duration::from_secs(86_400));
    for back in [-3_600_000, -40 * 86_400_000] {
        desk.clock.shift(back);
        let token = desk.issue();
        assert!(desk.tokens.verify(&token).is_ok(), "born valid");
        let exp = inspect(&token).expect("reads").1["exp"].as_u64().expect("exp");
        assert!(desk.tokens.last_expiry() >= Timestamp::from_secs(exp));
    }
}

#[test]
fn tok_11_two_tokens_in_one_second_differ() {
    let desk = desk();
    assert_ne!(desk.issue(), desk.issue());
}

#[test]
fn a_token_never_outlives_its_session() {
    let mut desk = desk();
    desk.session.ends_at = desk.clock.now().plus(Duration::from_secs(60));
    let issued = desk.tokens.issue(&desk.user, &[], &desk.session);
    assert!(issued.expires_in <= 60);
    assert!(desk.tokens.verify(&issued.token).is_ok());
}

/// Wycheproof's signatures: ours agrees with each verdict, and none is an access token of ours,
/// not even the genuine one, whose header and payload say nothing that we ask for.
#[test]
fn tok_1_6_the_wycheproof_vectors_for_hs256_are_judged_as_they_should_be() {
    let secret = BASE64URL_NOPAD.decode(b"-ebuDNsVZ2iJtoZ-akfXTSCt4UO2cruLCsbWlBinggE").expect("base64url");
    let mut desk = desk();
    desk.keyring.access = crate::keyring::Ring::of("kid-aes-sign", secret);
    let tokens = AccessTokens::new(&desk.keyring, config::Tokens::default(), desk.clock.clone(), Arc::new(Revocation::default()));
    let key = &tokens.keys[0];
    let vectors = include_str!("../../../tests/vectors/jws_hs256.txt").lines().filter(|line| !line.starts_with('#'));
    let mut genuine = 0;
    for vector in vectors {
        let mut fields = vector.splitn(3, ' ');
        let [case, result, token] = std::array::from_fn(|_| fields.next().expect("three fields"));
        assert_eq!(tokens.verify(token), Err(Rejected::Invalid), "case {case}");
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

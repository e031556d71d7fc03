//! Access tokens forged with the real key, and tokens put together in other ways: none is accepted.
//!
//! The cases of the second test are those of Wycheproof's JSON web signature vectors for HMAC, made from a
//! token that this server accepts, so that a missing check would let the changed token pass.

use crate::support::{Actor, Server, send};
use data_encoding::{BASE64, BASE64URL, BASE64URL_NOPAD, HEXLOWER};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::{Digest, Sha256, Sha384, Sha512};

const SECRET: &str = "the access secret of this test, 32 bytes and more";

/// A server whose key the test knows, and the parts of a token that it issued.
struct Forge {
    server: Server,
    ada: Actor,
    header: Value,
    claims: Value,
}

impl Forge {
    async fn new() -> Self {
        let server = Server::with_environment(&[], &[("DOORWARD_ACCESS_SECRET", SECRET)]);
        let ada = Actor::registered_with_tokens(&server, "ada@example.org").await;
        let token = ada.access.clone().expect("a token");
        let mut parts = token.split('.').map(|part| serde_json::from_slice(&BASE64URL_NOPAD.decode(part.as_bytes()).expect("base64url")));
        let (header, claims) = (parts.next().expect("a header").expect("JSON"), parts.next().expect("claims").expect("JSON"));
        Self { server, ada, header, claims }
    }

    async fn outcome(&self, token: &str) -> (u16, String) {
        let answer = send(self.ada.request("GET", "/api/users/me").header("authorization", format!("Bearer {token}"))).await;
        (answer.status, answer.error().to_owned())
    }

    #[track_caller]
    #[allow(clippy::unused_self, reason = "reads as what it does")]
    fn with(&self, header: &Value, claims: &Value) -> String {
        sign(header.to_string().as_bytes(), claims.to_string().as_bytes())
    }

    async fn refused(&self, what: &str, token: &str) {
        let (status, error) = self.outcome(token).await;
        assert_eq!((status, error.as_str()), (401, "INVALID_TOKEN"), "{what}");
    }
}

fn encode(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

fn mac(key: &[u8], input: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key");
    mac.update(input.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn sign(header: &[u8], claims: &[u8]) -> String {
    let input = format!("{}.{}", encode(header), encode(claims));
    format!("{input}.{}", encode(&mac(SECRET.as_bytes(), &input)))
}

#[tokio::test]
async fn a_token_forged_with_the_real_key_and_nothing_changed_is_taken() {
    let forge = Forge::new().await;
    let kid = format!("op-{}", HEXLOWER.encode(&Sha256::digest(format!("doorward kid\0{SECRET}"))[..4]));
    assert_eq!(forge.header["kid"], kid.as_str(), "an operator's key has the same id at every start");
    let token = forge.with(&forge.header, &forge.claims);
    assert_eq!(forge.outcome(&token).await.0, 200, "else the tests below would fail for another reason");
}

#[tokio::test]
async fn a_token_taken_apart_or_put_together_otherwise_is_refused() {
    let forge = Forge::new().await;
    let token = forge.with(&forge.header, &forge.claims);
    let [header, claims, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let changed = |part: &str| format!("{}{}", if part.starts_with('A') { "B" } else { "A" }, &part[1..]);
    let none = encode(json!({ "alg": "none", "typ": "at+jwt", "kid": forge.header["kid"] }).to_string().as_bytes());
    let raw = BASE64URL_NOPAD.decode(signature.as_bytes()).expect("base64url");
    let json_form = json!({ "payload": claims, "signatures": [{ "protected": header, "signature": signature }] }).to_string();
    let flat_form = json!({ "payload": claims, "protected": header, "signature": signature }).to_string();
    let mut reordered: Vec<_> = raw.clone();
    reordered.reverse();
    let standard = |part: &str| BASE64.encode(&BASE64URL_NOPAD.decode(part.as_bytes()).expect("base64url"));
    for (what, forged) in [
        ("the signature changed", format!("{header}.{claims}.{}", changed(signature))),
        ("no signature", format!("{header}.{claims}.")),
        ("no signature and no dot", format!("{header}.{claims}")),
        ("the claims changed", format!("{header}.{}.{signature}", changed(claims))),
        ("no claims", format!("{header}..{signature}")),
        ("no claims and no dot", format!("{header}.{signature}")),
        ("the header changed", format!("{}.{claims}.{signature}", changed(header))),
        ("no header", format!(".{claims}.{signature}")),
        ("no header and no dot", format!("{claims}.{signature}")),
        ("claims alone", format!(".{claims}.")),
        ("claims alone without dots", claims.to_owned()),
        ("one part more, empty", format!("{token}.")),
        ("one part more", format!("{token}.foo")),
        ("alg none", format!("{none}.{claims}.")),
        ("alg none, signed", format!("{none}.{claims}.{signature}")),
        ("five parts", format!("{header}.{claims}.{claims}.{claims}.{signature}")),
        ("a signature cut short", format!("{header}.{claims}.{}", encode(&raw[..31]))),
        ("a signature cut to half", format!("{header}.{claims}.{}", encode(&raw[..16]))),
        ("a signature with more", format!("{header}.{claims}.{}", encode(&[&raw[..], &[0]].concat()))),
        ("a signature of zeros", format!("{header}.{claims}.{}", encode(&[0; 32]))),
        ("a signature backwards", format!("{header}.{claims}.{}", encode(&reordered))),
        ("a signature in hexadecimal", format!("{header}.{claims}.{}", HEXLOWER.encode(&raw))),
        ("padding", format!("{header}.{claims}.{}", BASE64URL.encode(&raw))),
        ("the other alphabet", format!("{}.{}.{}", standard(header), standard(claims), standard(signature))),
        ("JSON serialisation", json_form),
        ("flat JSON serialisation", flat_form),
        ("a space in it", format!("{header}. {claims}.{signature}")),
        ("a tab in it", format!("{header}.\t{claims}.{signature}")),
        ("percent signs", token.replace('.', "%2E")),
        ("quotes around it", format!("\"{token}\"")),
        ("another of the same key joined", format!("{token},{token}")),
    ] {
        let (status, error) = forge.outcome(&forged).await;
        assert_eq!(status, 401, "{what}");
        assert!(["INVALID_TOKEN", "INVALID_FORMAT"].contains(&error.as_str()), "{what}: {error}");
    }
    let input = format!("{header}.{claims}");
    let weak: [&[u8]; 5] = [b"", b"secret", b"\0", b"doorward", SECRET.trim_end_matches('e').as_bytes()];
    for key in weak {
        forge.refused("another key", &format!("{input}.{}", encode(&mac(key, &input)))).await;
    }
}

#[tokio::test]
async fn tok_1_2_3_10_no_other_header_is_taken_over_the_wire() {
    let forge = Forge::new().await;
    for alg in ["none", "None", "nOnE", "", "hs256", "HS256 ", "HS384", "HS512", "RS256", "ES256", "EdDSA", "PS256"] {
        let mut header = forge.header.clone();
        header["alg"] = json!(alg);
        forge.refused(alg, &forge.with(&header, &forge.claims)).await;
    }
    // Signed with the algorithm that the header names: the key decides on the algorithm, not the token.
    for alg in ["HS384", "HS512"] {
        let mut header = forge.header.clone();
        header["alg"] = json!(alg);
        let input = format!("{}.{}", encode(header.to_string().as_bytes()), encode(forge.claims.to_string().as_bytes()));
        let signature = if alg == "HS384" {
            let mut mac = Hmac::<Sha384>::new_from_slice(SECRET.as_bytes()).expect("a key");
            mac.update(input.as_bytes());
            mac.finalize().into_bytes().to_vec()
        } else {
            let mut mac = Hmac::<Sha512>::new_from_slice(SECRET.as_bytes()).expect("a key");
            mac.update(input.as_bytes());
            mac.finalize().into_bytes().to_vec()
        };
        forge.refused(alg, &format!("{input}.{}", encode(&signature))).await;
    }
    let key = encode(SECRET.as_bytes());
    for (name, value) in [
        ("alg", json!(null)),
        ("alg", json!(["HS256"])),
        ("typ", json!("JWT")),
        ("typ", json!("refresh+jwt")),
        ("typ", json!(null)),
        ("crit", json!(["x"])),
        ("crit", json!([])),
        ("b64", json!(false)),
        ("cty", json!("JWT")),
        ("zip", json!("DEF")),
        ("jku", json!("http://127.0.0.1:1/")),
        ("x5u", json!("http://127.0.0.1:1/")),
        ("jwk", json!({ "kty": "oct", "k": key })),
        ("kid", json!("../../dev/null")),
        ("kid", json!("' OR 1=1 --")),
        ("kid", json!(1)),
        ("kid", json!("")),
    ] {
        let mut header = forge.header.clone();
        header[name] = value.clone();
        forge.refused(&format!("{name} {value}"), &forge.with(&header, &forge.claims)).await;
    }
    let text = forge.header.to_string();
    let claims = forge.claims.to_string();
    for (what, header) in [
        ("a byte order mark", format!("\u{feff}{text}")),
        ("bytes after it", format!("{text}x")),
        ("alg twice", text.replacen('{', "{\"alg\":\"HS256\",", 1)),
        ("depth", text.replacen('{', &format!("{{\"x\":{}1{},", "[".repeat(150), "]".repeat(150)), 1)),
        ("a list", format!("[{text}]")),
    ] {
        forge.refused(what, &sign(header.as_bytes(), claims.as_bytes())).await;
    }
}

#[tokio::test]
async fn tok_4_5_6_claims_are_ours_of_their_type_and_in_time_over_the_wire() {
    let forge = Forge::new().await;
    let now = forge.claims["iat"].as_u64().expect("iat");
    for name in ["iss", "aud", "sub", "iat", "exp", "jti", "sid", "ver", "role", "permissions"] {
        let mut claims = forge.claims.clone();
        claims.as_object_mut().expect("an object").remove(name);
        forge.refused(&format!("no {name}"), &forge.with(&forge.header, &claims)).await;
    }
    for (name, value) in [
        ("iss", json!("other")),
        ("iss", json!(1)),
        ("iss", json!([forge.claims["iss"]])),
        ("aud", json!("other")),
        ("aud", json!([forge.claims["aud"], "other"])),
        ("sub", json!("00")),
        ("sub", json!(null)),
        ("exp", json!((now + 600).to_string())),
        ("exp", json!(true)),
        ("exp", json!(null)),
        ("exp", json!(-1)),
        ("exp", json!(1.5)),
        ("exp", json!(1e18)),
        ("exp", json!(u64::MAX)),
        ("exp", json!(now + 315_360_000)),
        ("iat", json!(now + 3600)),
        ("nbf", json!(now + 3600)),
        ("nbf", json!("0")),
        ("ver", json!("1")),
        ("ver", json!(-1)),
        ("role", json!(["admin"])),
    ] {
        let mut claims = forge.claims.clone();
        claims[name] = value.clone();
        forge.refused(&format!("{name} {value}"), &forge.with(&forge.header, &claims)).await;
    }
    let text = forge.claims.to_string();
    for (what, claims) in [
        ("role twice", text.replacen('{', "{\"role\":\"admin\",", 1)),
        ("sub twice", text.replacen('{', "{\"sub\":\"00\",", 1)),
        ("exp 1e400", text.replacen(&format!("\"exp\":{}", forge.claims["exp"]), "\"exp\":1e400", 1)),
        ("not JSON", "claims".to_owned()),
        ("nothing", String::new()),
        ("a list", format!("[{text}]")),
        ("bytes after them", format!("{text}x")),
    ] {
        assert_ne!(claims, text, "{what}");
        forge.refused(what, &sign(forge.header.to_string().as_bytes(), claims.as_bytes())).await;
    }
    assert!(forge.server.log().lines().all(|line| !line.contains("a bug")));
}

#[tokio::test]
async fn a_role_in_a_token_is_not_believed_beyond_what_the_database_says() {
    let forge = Forge::new().await;
    let mut claims = forge.claims.clone();
    claims["sub"] = json!("0".repeat(32));
    let (status, _) = forge.outcome(&forge.with(&forge.header, &claims)).await;
    assert_eq!(status, 401, "nobody has that id");
    let mut claims = forge.claims.clone();
    claims["ver"] = json!(forge.claims["ver"].as_u64().expect("a version") + 1);
    let (status, _) = forge.outcome(&forge.with(&forge.header, &claims)).await;
    assert_eq!(status, 401, "a version that is yet to come");
}

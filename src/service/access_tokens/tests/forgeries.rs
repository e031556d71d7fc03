//! Forgeries: with the real key, and with what a forger can have.

use super::*;
use crate::keyring::{Key, RotationPolicy};

#[test]
fn a_forged_twin_of_our_own_token_is_taken_so_the_forgeries_below_fail_for_what_they_change() {
    for fixture in fixtures() {
        assert!(fixture.with_header(|_| {}).is_ok());
        for typ in ["AT+JWT", "application/at+jwt"] {
            assert!(fixture.with_header(|h| h["typ"] = json!(typ)).is_ok(), "{typ}");
        }
    }
}

#[test]
fn tok_1_2_3_10_no_other_header_is_taken() {
    for fixture in fixtures() {
        let own = fixture.ring.current().algorithm.as_str();
        let others =
            ["none", "None", "", "hs256", "HS256 ", "HS256", "HS384", "HS512", "RS256", "PS256", "ES256", "ES384", "EdDSA", "Ed25519"];
        for alg in others.into_iter().filter(|alg| *alg != own) {
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
        let twice = header.to_string().replacen('{', &format!("{{\"alg\":\"{own}\","), 1);
        assert_eq!(fixture.tokens.verify(&fixture.forge(&twice, &claims.to_string())), Err(VerifyError::Invalid));
    }
}

#[test]
fn tok_4_every_claim_is_there_of_its_type_and_ours() {
    for fixture in fixtures() {
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
}

#[test]
fn tok_6_size_characters_and_parts_are_checked_before_anything_is_decoded() {
    for fixture in fixtures() {
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
}

#[test]
fn every_last_character_but_the_right_one_is_refused() {
    for fixture in fixtures() {
        let token = fixture.issue();
        let (rest, last) = token.split_at(token.len() - 1);
        for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".chars() {
            assert_eq!(fixture.tokens.verify(&format!("{rest}{c}")).is_ok(), last.starts_with(c), "{c}");
        }
    }
}

/// Wycheproof's signatures: our verification agrees with each expected result. None of them is one of our access
/// tokens, not even the one with a valid signature, whose header and payload lack what we require.
#[test]
fn tok_1_6_the_wycheproof_vectors_for_hs256_are_judged_as_they_should_be() {
    let secret = BASE64URL_NOPAD.decode(b"-ebuDNsVZ2iJtoZ-akfXTSCt4UO2cruLCsbWlBinggE").expect("base64url");
    let ring = TokenRing::of_secret(Key { id: "kid-aes-sign".into(), secret: secret.into(), created_at: Timestamp::default() });
    let tokens = fixture_with(&ring).tokens;
    let keys = tokens.keys();
    let key = keys.keys.current();
    let vectors = include_str!("../../../../tests/vectors/jws_hs256.txt").lines().filter(|line| !line.starts_with('#'));
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

/// A ring with a key of each algorithm, as after switches of it; the last one signs.
fn mixed_ring() -> TokenRing {
    let mut ring = ring(Algorithm::HS256);
    for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
        let policy = RotationPolicy { algorithm, every: None, token_lifetime: Duration::from_secs(960) };
        ring.settle(Timestamp::default(), &policy);
    }
    ring
}

/// RFC 8725 §2.1: the forger knows every public key, and tries each as the secret of an HMAC and under each algorithm.
#[test]
fn tok_1_a_public_key_is_no_secret_and_a_key_has_one_algorithm() {
    let fixture = fixture_with(&mixed_ring());
    let (header, claims) = fixture.parts();
    assert_eq!(header["alg"], "EdDSA");
    let other = TokenRing::generate(Algorithm::EdDSA, Timestamp::default());
    for key in fixture.ring.iter() {
        let Material::Pair { public, .. } = &key.material else { continue };
        let jwk = serde_json::to_string(&key.jwk().expect("public")).expect("JSON");
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", data_encoding::BASE64.encode(public));
        for alg in ["HS256", "EdDSA", "ES256", "RS256", "none"] {
            let header = json!({ "alg": alg, "typ": "at+jwt", "kid": key.id }).to_string();
            for secret in [public.as_slice(), jwk.as_bytes(), pem.as_bytes(), b""] {
                let forged = token_of(&header, &claims.to_string(), |message| hmac(secret, message));
                assert_eq!(fixture.tokens.verify(&forged), Err(VerifyError::Invalid), "{alg} with the public key of {}", key.algorithm);
            }
            let forged = token_of(&header, &claims.to_string(), |message| sign(other.current(), message));
            assert_eq!(fixture.tokens.verify(&forged), Err(VerifyError::Invalid), "another's signature as {alg}");
            let forged = token_of(&header, &claims.to_string(), |_| vec![0; 64]);
            assert_eq!(fixture.tokens.verify(&forged), Err(VerifyError::Invalid), "a signature of zeros as {alg}");
        }
    }
}

#[test]
fn a_key_of_another_ring_signs_no_access_token() {
    let fixture = fixture_with(&ring(Algorithm::ES256));
    let oidc = TokenRing::generate(Algorithm::ES256, Timestamp::default());
    let (mut header, claims) = fixture.parts();
    header["kid"] = json!(oidc.current().id);
    let foreign = token_of(&header.to_string(), &claims.to_string(), |message| sign(oidc.current(), message));
    assert_eq!(fixture.tokens.verify(&foreign), Err(VerifyError::Invalid));
}

/// A token is only good with the issuer that its own key gives it.
#[test]
fn tok_4_the_issuer_is_the_one_of_the_key() {
    for fixture in fixtures() {
        let others = ["doorward", "http://127.0.0.1:3000", "http://127.0.0.1:3000/"];
        let own = fixture.parts().1["iss"].clone();
        for issuer in others.into_iter().filter(|issuer| own != *issuer) {
            assert_eq!(fixture.with_claims(|c| c["iss"] = json!(issuer)), Err(VerifyError::Invalid), "{issuer}");
        }
    }
}

#[test]
fn a_switch_of_the_algorithm_keeps_tokens_good_and_an_emergency_does_not() {
    let mut fixture = fixture();
    let mut tokens = vec![fixture.issue()];
    for algorithm in [Algorithm::EdDSA, Algorithm::RS256, Algorithm::ES256, Algorithm::HS256] {
        let policy = RotationPolicy { algorithm, every: None, token_lifetime: Duration::from_secs(960) };
        fixture.ring.settle(fixture.clock.now(), &policy);
        fixture.tokens.replace_keys(&fixture.ring);
        tokens.push(fixture.issue());
        for token in &tokens {
            fixture.tokens.verify(token).expect("not over yet");
        }
    }
    let policy = RotationPolicy { algorithm: Algorithm::EdDSA, every: None, token_lifetime: Duration::from_secs(960) };
    fixture.ring.replace(fixture.clock.now(), &policy);
    fixture.tokens.replace_keys(&fixture.ring);
    for token in &tokens {
        assert_eq!(fixture.tokens.verify(token), Err(VerifyError::Invalid));
    }
    fixture.tokens.verify(&fixture.issue()).expect("the new key's");
}

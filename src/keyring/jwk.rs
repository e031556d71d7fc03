//! Public keys as JSON Web Keys (RFC 7517).

use super::pair::rsa_members;
use crate::domain::Algorithm;
use data_encoding::BASE64URL_NOPAD;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// A public key as verifiers fetch it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Jwk {
    /// The `kid`: the key's thumbprint (RFC 7638), so a key can never have another's.
    pub kid: String,
    #[serde(rename = "use")]
    usage: &'static str,
    alg: Algorithm,
    #[serde(flatten)]
    members: BTreeMap<&'static str, String>,
}

impl Jwk {
    /// The JWK of a public key, in the form that [`super::pair::PublicKey`] takes it.
    pub fn new(algorithm: Algorithm, public: &[u8]) -> Option<Self> {
        let text = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        let members: BTreeMap<_, _> = match algorithm {
            Algorithm::HS256 => return None,
            // RFC 8037 §2
            Algorithm::EdDSA => [("kty", "OKP".into()), ("crv", "Ed25519".into()), ("x", text(public))].into(),
            // RFC 7518 §6.2: an uncompressed point is 0x04, x and y, with their leading zeros.
            Algorithm::ES256 => {
                let (x, y) = public.strip_prefix(&[4]).filter(|point| point.len() == 64)?.split_at(32);
                [("kty", "EC".into()), ("crv", "P-256".into()), ("x", text(x)), ("y", text(y))].into()
            }
            // RFC 7518 §6.3
            Algorithm::RS256 => {
                let (modulus, exponent) = rsa_members(public)?;
                [("kty", "RSA".into()), ("n", text(&modulus)), ("e", text(&exponent))].into()
            }
        };
        // RFC 7638 §3: the required members in the order of their names, which a map of them has, without spaces.
        let required = serde_json::to_vec(&members).ok()?;
        Some(Self { kid: text(&Sha256::digest(&required)), usage: "sig", alg: algorithm, members })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ed25519_key_has_the_thumbprint_of_rfc_8037() {
        // RFC 8037, appendices A.2 and A.3
        let x = BASE64URL_NOPAD.decode(b"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").expect("base64url");
        let jwk = Jwk::new(Algorithm::EdDSA, &x).expect("a key");
        assert_eq!(jwk.kid, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        let json = serde_json::to_value(&jwk).expect("JSON");
        assert_eq!(
            (&json["kty"], &json["crv"], &json["use"], &json["alg"]),
            (&"OKP".into(), &"Ed25519".into(), &"sig".into(), &"EdDSA".into())
        );
    }

    #[test]
    fn an_rsa_key_has_the_thumbprint_of_rfc_7638() {
        // RFC 7638 §3.1, its modulus as RSAPublicKey.
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMs\
                 tn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajr\
                 n1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let modulus = BASE64URL_NOPAD.decode(n.as_bytes()).expect("base64url");
        let mut der = vec![0x30, 0x82, 0x01, 0x0a, 0x02, 0x82, 0x01, 0x01, 0x00];
        der.extend(modulus);
        der.extend([0x02, 0x03, 0x01, 0x00, 0x01]);
        let jwk = Jwk::new(Algorithm::RS256, &der).expect("a key");
        assert_eq!(jwk.kid, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
        assert_eq!((&*jwk.members["n"], &*jwk.members["e"]), (n, "AQAB"));
    }
}

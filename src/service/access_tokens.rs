//! Access tokens: JWTs (RFC 7519, RFC 9068) that live for minutes. The only place that names
//! jsonwebtoken (I1).
//!
//! jsonwebtoken checks the signature. What a token must say is checked here, because the crate
//! ignores `typ` and `crit`, and takes a missing or wrong-typed claim for an absent one.

use super::revocation::{Claim, Revocation, Verdict};
use crate::{
    config,
    domain::{Clock, Permission, Role, Session, SessionId, Timestamp, TokenId, User, UserId},
    keyring::{self, Keyring},
};
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize, de::IgnoredAny};
use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// Longest token, in bytes (TOK-6).
const MAX_LEN: usize = 4096;
/// Longest encoded header: ours have some 80 bytes.
const MAX_HEADER_LEN: usize = 256;
/// `typ` (RFC 9068 §2.1).
const TYPE: &str = "at+jwt";
/// How far ahead of us the issuing clock, which is our own, may have been (TOK-5).
const MAX_SKEW: u64 = 60;

/// Issues and verifies access tokens.
pub struct AccessTokens {
    keys: Vec<SigningKey>,
    settings: config::Tokens,
    clock: Clock,
    revocation: Arc<Revocation>,
    /// The latest `iat` there was, in seconds: the clock may be set back (OPS-7).
    latest: AtomicU64,
}

struct SigningKey {
    header: Header,
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
}

/// Who a request comes from, as its access token says and nothing revoked contradicts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// `sub`
    pub user: UserId,
    /// `sid`
    pub session: SessionId,
    /// `jti`
    pub token: TokenId,
    /// `role`: current, because a change of role revokes the token.
    pub role: Role,
    /// `exp`
    pub expires_at: Timestamp,
    /// Whole seconds left of the token.
    pub expires_in: u64,
}

/// Why a bearer token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejected {
    /// Not one of ours.
    Invalid,
    /// Ours, and over since this moment.
    Expired(Timestamp),
    /// Ours, and revoked.
    Revoked,
}

/// An access token and how long it lives.
#[derive(Debug)]
pub struct Issued {
    /// The JWT.
    pub token: String,
    /// Whole seconds left of it.
    pub expires_in: u64,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: UserId,
    iat: u64,
    exp: u64,
    jti: TokenId,
    sid: SessionId,
    ver: u32,
    role: &'a Role,
    permissions: &'a [Permission],
}

/// The claims of a token that was presented: all required, each of its type, none twice (TOK-4).
#[derive(Deserialize)]
struct PresentedClaims {
    iss: String,
    aud: String,
    sub: UserId,
    iat: u64,
    exp: u64,
    #[serde(default)]
    nbf: u64,
    jti: TokenId,
    sid: SessionId,
    ver: u32,
    role: Role,
    /// What a role permits is looked up: the configuration may have changed since (SPEC §7).
    #[serde(rename = "permissions")]
    _permissions: IgnoredAny,
}

/// A header with nothing in it that we do not write: no `crit`, `b64`, `jku`, `jwk`, `x5u` … (TOK-3).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PresentedHeader {
    alg: String,
    typ: String,
    kid: String,
}

impl AccessTokens {
    /// Sets up the keys.
    #[must_use]
    pub fn new(keyring: &Keyring, settings: config::Tokens, clock: Clock, revocation: Arc<Revocation>) -> Self {
        Self { keys: keyring.access.iter().map(SigningKey::new).collect(), settings, clock, revocation, latest: AtomicU64::new(0) }
    }

    /// Issues a token for a session. It never outlives the session.
    ///
    /// # Panics
    /// Never: an HMAC key signs anything.
    #[must_use]
    pub fn issue(&self, user: &User, permissions: &[Permission], session: &Session) -> Issued {
        let now = self.clock.now().secs();
        let latest = self.latest.fetch_max(now, Relaxed);
        // A clock that was set back must not date tokens before others that are still good.
        let iat = now.max(latest.saturating_sub(MAX_SKEW));
        if iat > now {
            tracing::warn!(seconds = latest - now, "the clock was set back");
        }
        let exp = (iat + self.settings.access_ttl.as_secs()).min(session.ends_at.secs());
        let claims = Claims {
            iss: &self.settings.issuer,
            aud: &self.settings.audience,
            sub: user.id,
            iat,
            exp,
            jti: TokenId::random(),
            sid: session.id,
            ver: user.version,
            role: &user.role,
            permissions,
        };
        let key = self.keys.first().expect("a ring has at least one key");
        let token = jsonwebtoken::encode(&key.header, &claims, &key.encoding).expect("an HMAC key signs any claims");
        Issued { token, expires_in: exp.saturating_sub(iat) }
    }

    /// The principal of a bearer token.
    ///
    /// # Errors
    /// [`Rejected`]; anything unforeseen is [`Rejected::Invalid`] (REV-9).
    pub fn verify(&self, token: &str) -> Result<Principal, Rejected> {
        let key = self.key_of(token).ok_or(Rejected::Invalid)?;
        let claims = jsonwebtoken::decode::<PresentedClaims>(token, &key.decoding, &key.validation).map_err(|_| Rejected::Invalid)?.claims;
        let now = self.clock.now().secs();
        let leeway = self.settings.clock_tolerance.as_secs();
        let sound = claims.iss == self.settings.issuer
            && claims.aud == self.settings.audience
            && claims.iat <= now.max(self.latest.load(Relaxed)) + MAX_SKEW
            && claims.nbf <= now + leeway
            && claims.exp.checked_sub(claims.iat).is_some_and(|life| life <= self.settings.access_ttl.as_secs());
        if !sound {
            return Err(Rejected::Invalid);
        }
        // RFC 7519 §4.1.4: on or after `exp` it is over.
        if now >= claims.exp + leeway {
            return Err(Rejected::Expired(Timestamp::from_secs(claims.exp)));
        }
        match self.revocation.judge(&Claim { user: claims.sub, version: claims.ver, session: claims.sid, token: claims.jti }) {
            Verdict::Good => {}
            Verdict::Revoked => return Err(Rejected::Revoked),
            Verdict::Unheard => return Err(Rejected::Invalid),
        }
        Ok(Principal {
            user: claims.sub,
            session: claims.sid,
            token: claims.jti,
            role: claims.role,
            expires_at: Timestamp::from_secs(claims.exp),
            expires_in: claims.exp.saturating_sub(now),
        })
    }

    /// Until when a revocation must be remembered: when every token issued so far has expired.
    #[must_use]
    pub fn last_expiry(&self) -> Timestamp {
        self.clock.now().plus(Self::longest_memory(&self.settings))
    }

    /// How long a token issued now can be of use to anybody.
    #[must_use]
    pub fn longest_memory(settings: &config::Tokens) -> Duration {
        settings.access_ttl + settings.clock_tolerance + Duration::from_secs(MAX_SKEW)
    }

    /// The key a token names, if the token's size, characters and header are such as we issue. No
    /// more is decoded of it than its header, and that only when it is short.
    fn key_of(&self, token: &str) -> Option<&SigningKey> {
        let plain = token.len() <= MAX_LEN && token.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
        let (header, rest) = token.split_once('.').filter(|_| plain)?;
        if header.len() > MAX_HEADER_LEN || rest.bytes().filter(|b| *b == b'.').count() != 1 {
            return None;
        }
        let header: PresentedHeader = serde_json::from_slice(&BASE64URL_NOPAD.decode(header.as_bytes()).ok()?).ok()?;
        let media_type = header.typ.to_ascii_lowercase();
        let typed = media_type.strip_prefix("application/").unwrap_or(&media_type) == TYPE;
        // The key says the algorithm, never the token (TOK-1); the token may only agree.
        self.keys.iter().find(|key| typed && key.header.kid.as_ref() == Some(&header.kid) && header.alg == format!("{:?}", key.header.alg))
    }
}

impl SigningKey {
    fn new(key: &keyring::Key) -> Self {
        let algorithm = jsonwebtoken::Algorithm::HS256;
        let mut header = Header::new(algorithm);
        header.typ = Some(TYPE.into());
        header.kid = Some(key.id.clone());
        let mut validation = Validation::new(algorithm);
        // The claims are checked by `verify`, to the letter and by our clock.
        validation.required_spec_claims = HashSet::new();
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        let secret = key.secret.expose_secret();
        Self { header, encoding: EncodingKey::from_secret(secret), decoding: DecodingKey::from_secret(secret), validation }
    }
}

/// What a token says, for a person to read. Nothing of it is verified.
///
/// # Errors
/// When it is not made of two base64url parts of JSON and a signature.
pub fn inspect(token: &str) -> Result<(serde_json::Value, serde_json::Value), &'static str> {
    let parts: Vec<_> = token.trim().split('.').collect();
    let [header, claims, _signature] = parts[..] else { return Err("a JWT has three parts with dots between them") };
    let decode = |part: &str| {
        let bytes = BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| "a part is not base64url")?;
        serde_json::from_slice(&bytes).map_err(|_| "a part is not JSON")
    };
    Ok((decode(header)?, decode(claims)?))
}

#[cfg(test)]
mod tests {
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
            version: 3,
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

        fn with_header(&self, change: impl Fn(&mut Value)) -> Result<Principal, Rejected> {
            let (mut header, claims) = self.parts();
            change(&mut header);
            self.tokens.verify(&self.forge(&header.to_string(), &claims.to_string()))
        }

        fn with_claims(&self, change: impl Fn(&mut Value)) -> Result<Principal, Rejected> {
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
    fn ops_7_a_clock_set_back_or_ahead_makes_no_token_invalid_that_was_just_issued() {
        let desk = desk();
        let before = desk.issue();
        desk.clock.shift(-3_600_000);
        assert!(desk.tokens.verify(&before).is_ok());
        let after = desk.issue();
        assert!(desk.tokens.verify(&after).is_ok());
        let iat = |token: &str| inspect(token).expect("reads").1["iat"].as_u64().expect("iat");
        assert!(iat(&after) + 60 >= iat(&before));
        desk.clock.shift(86_400_000);
        assert!(matches!(desk.tokens.verify(&after), Err(Rejected::Expired(_))));
        assert!(desk.tokens.verify(&desk.issue()).is_ok());
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
}

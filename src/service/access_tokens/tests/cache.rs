//! What was verified once is judged at each use, and goes with its key.

use super::*;
use crate::{domain::SessionId, keyring::RotationPolicy};
use std::time::Duration;

fn pairs() -> impl Iterator<Item = Fixture> {
    fixtures().filter(|fixture| fixture.ring.current().algorithm.is_asymmetric())
}

impl Fixture {
    fn keeps(&self, token: &str) -> bool {
        self.tokens.keys().verified.as_ref().is_some_and(|verified| verified.get(&VerifiedTokens::digest(token)).is_some())
    }
}

#[test]
fn tok_15_a_token_that_was_verified_before_is_judged_anew() {
    let late = Timestamp::from_secs(4_000_000_000);
    for fixture in pairs() {
        let token = fixture.issue();
        assert!(!fixture.keeps(&token), "issuing keeps nothing");
        let first = fixture.tokens.verify(&token).expect("in force");
        assert!(fixture.keeps(&token));
        assert_eq!(fixture.tokens.verify(&token).as_ref(), Ok(&first), "the second time says the same");
        // The clock is asked each time.
        fixture.clock.shift(10_000);
        assert_eq!(fixture.tokens.verify(&token).expect("in force").expires_in, first.expires_in - 10);
        fixture.clock.shift(900_000);
        assert_eq!(fixture.tokens.verify(&token), Err(VerifyError::Expired(first.expires_at)));
        fixture.clock.shift(-910_000 - 120_000);
        assert_eq!(fixture.tokens.verify(&token), Err(VerifyError::Invalid), "it is from the future");
        fixture.clock.shift(120_000);
        assert_eq!(fixture.tokens.verify(&token).as_ref(), Ok(&first));
        // So is the deny list.
        fixture.denylist.committed(CommitEvent::SessionRevoked(fixture.session.id, late));
        assert!(fixture.keeps(&token));
        assert_eq!(fixture.tokens.verify(&token), Err(VerifyError::Revoked));
    }
    for revoke in [
        |token: &VerifiedToken| CommitEvent::TokensVoided {
            user: token.ids.user,
            least_version: token.ids.version + 1,
            until: Timestamp::from_secs(4_000_000_000),
        },
        |token: &VerifiedToken| CommitEvent::TokenRevoked(token.ids.token, Timestamp::from_secs(4_000_000_000)),
        |token: &VerifiedToken| CommitEvent::AllVoidedBefore {
            moment: token.ids.issued_at.next_second(),
            until: Timestamp::from_secs(4_000_000_000),
        },
    ] {
        let fixture = fixture_with(&ring(Algorithm::EdDSA));
        let token = fixture.issue();
        let verified = fixture.tokens.verify(&token).expect("in force");
        fixture.denylist.committed(revoke(&verified));
        assert_eq!(fixture.tokens.verify(&token), Err(VerifyError::Revoked));
    }
}

#[test]
fn tok_15_nothing_outlives_its_key() {
    for fixture in pairs() {
        let token = fixture.issue();
        fixture.tokens.verify(&token).expect("in force");
        // Another key beside it: the token is verified anew.
        let now = fixture.clock.now();
        let policy = RotationPolicy { algorithm: fixture.ring.current().algorithm, every: None, token_lifetime: Duration::from_secs(900) };
        let mut rotated = fixture.ring.clone();
        rotated.rotate(Algorithm::ES256, now, &policy).expect("rotated");
        fixture.tokens.replace_keys(&rotated);
        assert!(!fixture.keeps(&token));
        fixture.tokens.verify(&token).expect("in force");
        // Another key in its place: it is nobody's.
        fixture.tokens.replace_keys(&TokenRing::generate(Algorithm::ES256, now));
        assert_eq!(fixture.tokens.verify(&token), Err(VerifyError::Invalid));
    }
}

#[test]
fn tok_15_what_is_not_in_force_is_not_kept() {
    for fixture in pairs() {
        let good = fixture.issue();
        fixture.tokens.verify(&good).expect("in force");
        let (message, signature) = good.rsplit_once('.').expect("a signature");
        let forged =
            format!("{message}.{}", BASE64URL_NOPAD.encode(&vec![1; BASE64URL_NOPAD.decode_len(signature.len()).expect("a length")]));
        let over = fixture.issue_at(Timestamp::from_secs(fixture.clock.now().secs() - 901));
        let ended = Session { id: SessionId::from_bytes([9; 16]), ..fixture.session.clone() };
        fixture.denylist.committed(CommitEvent::SessionRevoked(ended.id, Timestamp::from_secs(4_000_000_000)));
        let new = NewToken { user: &fixture.user, permissions: &[], of: TokenFor::Session(&ended), issued_at: fixture.tokens.now() };
        let revoked = fixture.tokens.issue(&new).token.expose_secret().to_owned();
        for bad in [forged, over, revoked, format!("{good}A"), format!("{message}.")] {
            for _ in 0..2 {
                assert!(fixture.tokens.verify(&bad).is_err(), "{bad}");
                assert!(!fixture.keeps(&bad), "{bad}");
            }
        }
        assert!(fixture.keeps(&good));
        fixture.clock.shift(901_000);
        fixture.tokens.sweep();
        assert!(!fixture.keeps(&good), "it is over");
    }
    let fixture = fixture();
    let token = fixture.issue();
    fixture.tokens.verify(&token).expect("in force");
    assert!(!fixture.keeps(&token), "an HMAC is as cheap as a look-up");
}

#[test]
fn tok_15_so_many_tokens_are_kept_and_no_more() {
    let fixture = fixture_with(&ring(Algorithm::EdDSA));
    let tokens: Vec<_> = (0..2 * verified::MAX_TOKENS + 100).map(|_| fixture.issue()).collect();
    tokens.iter().for_each(|token| drop(fixture.tokens.verify(token).expect("in force")));
    let kept = tokens.iter().filter(|token| fixture.keeps(token)).count();
    assert!((verified::MAX_TOKENS / 2..=verified::MAX_TOKENS).contains(&kept), "{kept}");
}

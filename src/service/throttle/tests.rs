//! The limits with their default settings.

use super::{limited::MAX_KEYS, *};
use crate::service::devices::Device;
use std::net::Ipv4Addr;

const HERE: AddressPrefix = AddressPrefix::V4(Ipv4Addr::LOCALHOST);
const USER: UserId = UserId::from_bytes([1; 16]);

fn throttle() -> Throttle {
    Throttle::new(&config::Limits::default())
}

/// With so many hashes allowed that only failures are limited.
fn without_hash_limit() -> Throttle {
    Throttle::new(&config::Limits { hashes_per_minute: 1_000_000, ..config::Limits::default() })
}

/// The nth of prefixes that have no wider one in common.
fn far(n: u64) -> AddressPrefix {
    AddressPrefix::V6(n << 16)
}

fn stranger(prefix: AddressPrefix) -> LoginSource {
    LoginSource::Stranger(prefix)
}

fn device(id: u8) -> LoginSource {
    LoginSource::KnownDevice(Device { user: USER, epoch: 0, id }, HERE)
}

fn ada() -> AccountKey {
    AccountKey::of("ada@example.org")
}

/// A login with a wrong password, for which a hash was begun.
#[track_caller]
fn fail(throttle: &Throttle, account: AccountKey, source: LoginSource) {
    let attempt = throttle.charge_login(account, source).expect("free");
    attempt.caller().begin();
    attempt.count_failure();
}

fn policy(outcome: Result<Attempt<'_>, Limited>) -> &'static str {
    outcome.err().expect("limited").policy
}

#[test]
fn lim_1_after_five_failures_the_account_must_wait_from_there_and_nowhere_else() {
    let throttle = throttle();
    for _ in 0..5 {
        fail(&throttle, ada(), stranger(HERE));
    }
    let limited = throttle.charge_login(ada(), stranger(HERE)).err().expect("limited");
    assert_eq!((limited.policy, limited.quota, limited.retry_after), ("login", 5, Duration::from_secs(1)));
    assert!(throttle.charge_login(ada(), stranger(far(1))).is_ok());
    assert!(throttle.charge_login(AccountKey::of("eve@example.org"), stranger(HERE)).is_ok());
    // LIM-7: another spelling is the same account.
    assert!(throttle.charge_login(AccountKey::of(" ADA@Example.org "), stranger(HERE)).is_err());
}

#[test]
fn lim_10_parallel_tries_cannot_pass_together() {
    let throttle = throttle();
    let tries: Vec<_> = (0..50).map(|_| throttle.charge_login(ada(), stranger(HERE))).collect();
    assert_eq!(tries.iter().filter(|t| t.is_ok()).count(), 5);
}

#[test]
fn lim_2_failures_of_an_address_count_over_all_accounts_and_successes_do_not() {
    let throttle = without_hash_limit();
    for n in 0..200 {
        throttle.charge_login(AccountKey::of(&format!("good{n}")), stranger(HERE)).expect("successes cost nothing").refund();
    }
    for n in 0..50 {
        fail(&throttle, AccountKey::of(&format!("bad{n}")), stranger(HERE));
    }
    let limited = throttle.charge_login(AccountKey::of("bad50"), stranger(HERE)).err().expect("limited");
    assert_eq!((limited.policy, limited.quota), ("login-address", 50));
    assert!(limited.retry_after <= Duration::from_secs(18));
    assert!(throttle.charge_login(AccountKey::of("bad50"), stranger(far(7))).is_ok());
}

#[test]
fn lim_9_every_hash_begun_counts_whatever_came_of_it() {
    let throttle = throttle();
    let mut attempts = 0;
    let limited = loop {
        match throttle.charge_login(AccountKey::of(&format!("own{attempts}")), stranger(HERE)) {
            Ok(attempt) => {
                attempt.caller().begin();
                attempt.refund();
            }
            Err(limited) => break limited,
        }
        attempts += 1;
    };
    assert_eq!((attempts, limited.policy, limited.quota), (30, "hash", 30));
    assert!(limited.retry_after <= Duration::from_secs(2));
    assert_eq!(policy(throttle.charge_registration(ada(), HERE)), "hash", "registering hashes too");
    assert!(throttle.charge_login(ada(), stranger(far(1))).is_ok(), "other addresses are not held up");
    assert!(throttle.charge_login(ada(), LoginSource::KnownPrefix(HERE)).is_ok(), "nor are known clients there");
    assert!(throttle.charge_password_change(USER, HERE).is_ok(), "nor are users who are logged in there");
}

#[test]
fn lim_9_who_hangs_up_once_the_hash_was_begun_has_failed_and_before_it_nothing_counts() {
    let throttle = throttle();
    for _ in 0..200 {
        drop(throttle.charge_login(ada(), stranger(HERE)).expect("free"));
        drop(throttle.charge_registration(ada(), HERE).expect("free"));
    }
    for _ in 0..5 {
        let attempt = throttle.charge_login(ada(), stranger(HERE)).expect("free");
        attempt.caller().begin();
        drop(attempt);
    }
    assert_eq!(policy(throttle.charge_login(ada(), stranger(HERE))), "login");
    for _ in 0..20 {
        throttle.charge_registration(ada(), HERE).expect("free").caller().begin();
    }
    assert_eq!(policy(throttle.charge_registration(ada(), HERE)), "register");
}

#[test]
fn lim_3_strangers_from_everywhere_hold_up_nobody_who_is_known() {
    let throttle = throttle();
    for n in 0..100 {
        fail(&throttle, ada(), stranger(far(n)));
    }
    let limited = throttle.charge_login(ada(), stranger(far(100))).err().expect("limited");
    assert_eq!(limited.policy, "login-account");
    assert!(limited.retry_after <= Duration::from_secs(60));
    for source in [device(2), LoginSource::KnownPrefix(HERE), LoginSource::KnownPrefix(far(5))] {
        throttle.charge_login(ada(), source).expect("known").refund();
        // The failures of a known client are counted too.
        for _ in 0..5 {
            fail(&throttle, ada(), source);
        }
        assert_eq!(policy(throttle.charge_login(ada(), source)), "login", "{source:?}");
    }
    throttle.charge_login(ada(), device(3)).expect("another device").refund();
    throttle.charge_password_change(USER, far(1)).expect("a user who is logged in is not limited").refund();
    throttle.unlock(ada(), USER);
    for source in [stranger(far(1)), stranger(far(101)), device(2), LoginSource::KnownPrefix(HERE)] {
        assert!(throttle.charge_login(ada(), source).is_ok(), "{source:?} after it was unlocked");
    }
}

#[test]
fn lim_3_what_known_devices_fail_counts_for_the_account() {
    let throttle = throttle();
    for id in 0..20 {
        for _ in 0..5 {
            fail(&throttle, ada(), device(id));
        }
    }
    assert_eq!(policy(throttle.charge_login(ada(), stranger(HERE))), "login-account", "a hundred failures");
}

#[test]
fn lim_3_the_last_try_is_not_for_who_has_failed_before() {
    let throttle = throttle();
    for n in 0..99 {
        fail(&throttle, ada(), stranger(AddressPrefix::V6(n / 5)));
    }
    // Refused to an address that has failed before, and to another in the same wider prefix.
    assert_eq!(policy(throttle.charge_login(ada(), stranger(AddressPrefix::V6(19)))), "login-account");
    assert_eq!(policy(throttle.charge_login(ada(), stranger(AddressPrefix::V6(5000)))), "login-account");
    throttle.charge_login(ada(), stranger(far(1))).expect("it was kept").refund();
}

#[test]
fn lim_4_registrations_refreshes_and_password_changes_have_their_own_limits() {
    let throttle = throttle();
    let registered = |n: &u32| {
        throttle.charge_registration(AccountKey::of(&n.to_string()), HERE).is_ok_and(|attempt| {
            attempt.caller().begin();
            true
        })
    };
    assert_eq!((0..100).filter(registered).count(), 20);
    let session = SessionId::from_bytes([1; 16]);
    assert_eq!((0..100).filter(|_| throttle.charge_refresh(session).is_ok()).count(), 30);
    assert!(throttle.charge_refresh(SessionId::from_bytes([2; 16])).is_ok());
    for _ in 0..5 {
        let attempt = throttle.charge_password_change(USER, HERE).expect("free");
        attempt.caller().begin();
        attempt.count_failure();
    }
    assert_eq!(policy(throttle.charge_password_change(USER, far(1))), "password", "wherever they are");
    assert!(throttle.charge_password_change(UserId::from_bytes([2; 16]), HERE).is_ok());
}

#[test]
fn lim_5_a_wider_prefix_has_a_multiple_of_what_one_has() {
    let throttle = without_hash_limit();
    let registered = |n: u64| {
        let attempt = throttle.charge_registration(AccountKey::of(&n.to_string()), AddressPrefix::V6(n))?;
        attempt.caller().begin();
        Ok::<_, Limited>(())
    };
    assert_eq!((0..1000).filter(|n| registered(*n).is_ok()).count(), 8 * 20);
    registered(1 << 16).expect("another wider prefix");
    for n in 0..8 * 50 {
        fail(&throttle, AccountKey::of(&n.to_string()), stranger(AddressPrefix::V6(n)));
    }
    assert_eq!(policy(throttle.charge_login(ada(), stranger(AddressPrefix::V6(5000)))), "login-address");
    assert!(throttle.charge_login(ada(), stranger(far(1))).is_ok());
}

#[test]
fn lim_8_keys_beyond_the_cap_share_one_limit_and_never_pass_freely() {
    let throttle = throttle();
    for n in 0..MAX_KEYS as u64 {
        throttle.registrations.narrow.charge(&far(n)).expect("room").keep();
    }
    let last = u64::MAX >> 16;
    let passed = (0..1000).filter(|n| throttle.registrations.narrow.charge(&far(last - n)).map(Charge::keep).is_ok()).count();
    assert_eq!(passed, 20);
    assert_eq!(throttle.registrations.narrow.len(), MAX_KEYS);
    throttle.sweep();
    assert_eq!(throttle.registrations.narrow.len(), MAX_KEYS, "all are recent");
}

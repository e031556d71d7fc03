//! Password rules and password hashes. The only place that names scrypt (I1).

use super::{
    caller::Caller,
    hashing::{HashPool, Overloaded},
};
use crate::{
    config::{self, MAX_SCRYPT_MEMORY},
    domain::{Email, Password},
};
use scrypt::{
    Params, Scrypt,
    password_hash::{CustomizedPasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use std::{
    fmt,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// The names that must not be a password here.
const PRODUCT: &str = "doorward";

/// Common passwords of eight characters and more, lower-cased and sorted: shorter ones are refused
/// for their length already (AUT-8).
static COMMON: LazyLock<Vec<&str>> = LazyLock::new(|| include_str!("../../assets/common-passwords.txt").lines().collect());

/// Why a password may not be used. Reads on after "the password".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weakness {
    /// Fewer characters than this.
    Short(usize),
    /// One of those that everybody tries first.
    Common,
    /// The e-mail address, a part of it, or the name of this program.
    Guessable,
    /// The present one: whoever replaces a password means to have another.
    InUse,
}

impl fmt::Display for Weakness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short(least) => write!(f, "must have at least {least} characters"),
            Self::Common => f.write_str("is one of the most common passwords"),
            Self::Guessable => f.write_str("is too close to the e-mail address or the name of this service"),
            Self::InUse => f.write_str("is the one in use"),
        }
    }
}

/// How a password compares with a stored hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PasswordMatch {
    /// It is the one. With a new hash, if the stored one had other parameters than today's.
    Yes {
        /// The hash to keep from now on.
        rehashed: Option<String>,
    },
    /// It is not.
    No,
}

/// Checks and hashes passwords.
pub struct Passwords {
    hasher: Hasher,
    pool: HashPool,
    min_length: usize,
}

impl Passwords {
    /// Starts the hashing threads.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(settings: &config::Passwords) -> std::io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if settings.hash_threads == 0 { cores.min(2) } else { settings.hash_threads };
        Ok(Self {
            hasher: Hasher::new(settings),
            pool: HashPool::start(threads, settings.hash_queue, settings.hash_wait)?,
            min_length: settings.min_length,
        })
    }

    /// Whether a password may be used by the owner of an address (AUT-6..8).
    ///
    /// # Errors
    /// The first [`Weakness`] found.
    pub fn check(&self, password: &Password, email: &Email) -> Result<(), Weakness> {
        check(password, email, self.min_length)
    }

    /// Hashes a new password.
    ///
    /// # Errors
    /// [`Overloaded`].
    pub async fn hash(&self, caller: Caller, password: Password) -> Result<String, Overloaded> {
        let hasher = self.hasher.clone();
        self.pool.run(caller, move || hasher.hash(&password)).await
    }

    /// Compares a password with a stored hash. Without a hash, or without a password that could be
    /// one, it does the same work and says no (AUT-2).
    ///
    /// # Errors
    /// [`Overloaded`].
    pub async fn verify(&self, caller: Caller, password: Option<Password>, stored: Option<String>) -> Result<PasswordMatch, Overloaded> {
        let hasher = self.hasher.clone();
        self.pool.run(caller, move || hasher.verify(password.as_ref(), stored.as_deref())).await
    }
}

/// Whether a password of at least `min_length` characters may be used by the owner of an address (AUT-6..8).
///
/// # Errors
/// The first [`Weakness`] found.
pub fn check(password: &Password, email: &Email, min_length: usize) -> Result<(), Weakness> {
    let text = password.expose();
    if text.chars().count() < min_length {
        return Err(Weakness::Short(min_length));
    }
    let folded = text.to_lowercase();
    if folded == PRODUCT || folded == email.local_part() || folded == email.as_str() {
        return Err(Weakness::Guessable);
    }
    if COMMON.binary_search(&folded.as_str()).is_ok() {
        return Err(Weakness::Common);
    }
    Ok(())
}

/// Hashes with today's parameters, verifies with any that are affordable.
#[derive(Clone)]
struct Hasher {
    params: Params,
    /// A hash with today's parameters that no password has: what is compared when there is none.
    nobody: Arc<str>,
    /// What a hash with today's parameters costs of late.
    todays: Arc<Cost>,
}

impl Hasher {
    fn new(settings: &config::Passwords) -> Self {
        let (log_n, r, p) = (settings.scrypt_log_n, settings.scrypt_r, settings.scrypt_p);
        let params = Params::new(log_n, r, p).expect("the settings were checked to be affordable");
        // 16 bytes of salt and 32 of hash, all zero.
        let nobody = format!("$scrypt$ln={log_n},r={r},p={p}${}${}", "A".repeat(22), "A".repeat(43));
        Self { params, nobody: nobody.into(), todays: Arc::default() }
    }

    /// A PHC string with a fresh 16-byte salt (AUT-13).
    fn hash(&self, password: &Password) -> String {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).expect("the operating system provides randomness");
        Scrypt::new()
            .hash_password_with_params(password.expose().as_bytes(), &salt, self.params)
            .expect("checked parameters and a 16-byte salt make a hash")
            .to_string()
    }

    /// The same steps whether there is a user, a password, a sound hash or none of them, and the same work
    /// however cheap the parameters were that the hash was made with (AUT-2).
    fn verify(&self, password: Option<&Password>, stored: Option<&str>) -> PasswordMatch {
        let (hash, params) = affordable(stored.unwrap_or(&self.nobody)).unwrap_or_else(|| {
            tracing::error!("a stored password hash is damaged or asks for too much; its user cannot sign in until it is reset");
            affordable(&self.nobody).expect("today's parameters are affordable")
        });
        let typed = password.map_or("", Password::expose);
        let begun = cpu_time();
        let is_right = Scrypt::new().verify_password(typed.as_bytes(), &hash).is_ok();
        let is_todays = (params.log_n(), params.r(), params.p()) == (self.params.log_n(), self.params.r(), self.params.p());
        if is_todays {
            self.todays.note(cpu_time().saturating_sub(begun));
        }
        match password {
            Some(password) if is_right && stored.is_some() => PasswordMatch::Yes { rehashed: (!is_todays).then(|| self.hash(password)) },
            _ => {
                if !is_todays {
                    self.top_up(begun);
                }
                PasswordMatch::No
            }
        }
    }

    /// Works on, since what began then, for as long as a hash with today's parameters takes, and throws it
    /// away. Counted in time of the processor: the same number of blocks is quicker in less memory.
    fn top_up(&self, begun: Duration) {
        let goal = self.todays.get().unwrap_or_else(|| {
            let begun = cpu_time();
            self.throw_away(self.params.log_n(), self.params.p());
            self.todays.note(cpu_time().saturating_sub(begun))
        });
        let step = self.params.log_n().min(MOST_TOP_UP_LOG_N);
        // Twice as much as all of it: whatever the clock says, this ends.
        let steps = 2 * (u64::from(self.params.p()) << (self.params.log_n() - step));
        for _ in 0..steps {
            if cpu_time().saturating_sub(begun) >= goal {
                break;
            }
            self.throw_away(step, 1);
        }
    }

    fn throw_away(&self, log_n: u8, p: u32) {
        let params = Params::new(log_n, self.params.r(), p).expect("no more than today's, which were checked");
        let mut thrown_away = [0; 32];
        // Nothing depends on whether it succeeds.
        let _ = scrypt::scrypt(b"", b"", &params, std::hint::black_box(&mut thrown_away));
        std::hint::black_box(thrown_away);
    }
}

/// N of the steps of a top-up: 2^10 with r = 8 is a millisecond or two, which is lost in the noise.
const MOST_TOP_UP_LOG_N: u8 = 10;

/// A running mean of microseconds.
#[derive(Default)]
struct Cost(AtomicU64);

impl Cost {
    /// None before the first.
    fn get(&self) -> Option<Duration> {
        Some(self.0.load(Relaxed)).filter(|micros| *micros > 0).map(Duration::from_micros)
    }

    /// Two at the same time may lose one: it is a mean.
    fn note(&self, taken: Duration) -> Duration {
        let taken = u64::try_from(taken.as_micros()).unwrap_or(u64::MAX / 8).max(1);
        let mean = self.get().map_or(taken, |mean| (u64::try_from(mean.as_micros()).unwrap_or(0) * 7 + taken).div_ceil(8));
        self.0.store(mean, Relaxed);
        Duration::from_micros(mean)
    }
}

/// Time of the processor that this thread has had.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// A stored hash, if it is scrypt's and no more work than we are ready to do: `verify_password`
/// itself obeys whatever stands there.
fn affordable(stored: &str) -> Option<(PasswordHash, Params)> {
    let hash = PasswordHash::new(stored).ok().filter(|hash| hash.algorithm.as_str() == "scrypt")?;
    // Bounded before they are multiplied: scrypt's own check of r * p overflows.
    let bounded = hash.params.iter().all(|(name, value)| {
        let most = if name.as_str() == "ln" { 30 } else { 1024 };
        value.decimal().is_ok_and(|n| n <= most)
    });
    let params = bounded.then(|| Params::try_from(&hash).ok())??;
    let memory = 128_u64.checked_mul(u64::from(params.r()))?.checked_mul(1_u64.checked_shl(params.log_n().into())?)?;
    (memory <= MAX_SCRYPT_MEMORY && params.p() <= 16).then_some((hash, params))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::caller::AccountKey;
    use secrecy::SecretString;
    use std::time::Instant;

    fn caller() -> Caller {
        Caller::operator(AccountKey::of("ada"))
    }

    fn passwords(log_n: u8) -> Passwords {
        let settings = config::Passwords { scrypt_log_n: log_n, scrypt_p: 1, ..config::Passwords::default() };
        Passwords::start(&settings).expect("threads")
    }

    fn password(text: &str) -> Password {
        Password::new(&SecretString::from(text)).expect("short enough")
    }

    #[test]
    fn aut_8_guessable_passwords_are_refused_with_the_reason() {
        let passwords = passwords(4);
        let email: Email = "ada.lovelace@example.org".parse().expect("an address");
        let check = |text: &str| passwords.check(&password(text), &email);
        assert_eq!(check("seven77"), Err(Weakness::Short(8)));
        assert_eq!(check("pässwör"), Err(Weakness::Short(8)), "code points count, not bytes");
        for common in ["password1", "PassWord1", "qwertyuiop", "1234567890", "iloveyou1"] {
            assert_eq!(check(common), Err(Weakness::Common), "{common}");
        }
        for own in ["Doorward", "ada.lovelace", "ADA.lovelace@example.org"] {
            assert_eq!(check(own), Err(Weakness::Guessable), "{own}");
        }
        // No rules of composition, and the whole is what counts (AUT-7).
        for good in ["correct horse battery", "only-lower-case", "xpassword1x", "        \t       "] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn aut_8_the_list_is_sorted_lower_case_and_long() {
        assert!(COMMON.len() >= 10_000);
        assert!(COMMON.is_sorted());
        assert!(COMMON.iter().all(|entry| entry.len() >= 8 && *entry == entry.to_lowercase()));
    }

    #[tokio::test]
    async fn aut_13_hashes_are_salted_phc_strings_and_upgraded_when_parameters_change() {
        let (weak, strong) = (passwords(4), passwords(5));
        let right = password("correct horse");
        let hash = weak.hash(caller(), right.clone()).await.expect("hashed");
        assert!(hash.starts_with("$scrypt$ln=4,r=8,p=1$"), "{hash}");
        assert_ne!(hash, weak.hash(caller(), right.clone()).await.expect("hashed"));
        let verdict = |p: &'static Passwords, pw: &str| p.verify(caller(), Some(password(pw)), Some(hash.clone()));
        let (weak, strong): (&'static _, &'static _) = (Box::leak(Box::new(weak)), Box::leak(Box::new(strong)));
        assert_eq!(verdict(weak, "correct horse").await, Ok(PasswordMatch::Yes { rehashed: None }));
        assert_eq!(verdict(weak, "correct horse ").await, Ok(PasswordMatch::No));
        let Ok(PasswordMatch::Yes { rehashed: Some(upgraded) }) = verdict(strong, "correct horse").await else { panic!("not upgraded") };
        assert!(upgraded.starts_with("$scrypt$ln=5,"), "{upgraded}");
    }

    #[tokio::test]
    async fn aut_7_every_byte_of_a_long_password_counts() {
        let passwords = passwords(4);
        let long = "x".repeat(100);
        let hash = passwords.hash(caller(), password(&format!("{long}a"))).await.expect("hashed");
        assert_eq!(passwords.verify(caller(), Some(password(&format!("{long}b"))), Some(hash)).await, Ok(PasswordMatch::No));
    }

    #[tokio::test]
    async fn aut_13_hostile_parameters_are_not_obeyed() {
        let passwords = passwords(4);
        for hostile in ["ln=32,r=8,p=1", "ln=63,r=8,p=1", "ln=15,r=4294967295,p=1", "ln=4,r=8,p=4294967295", "ln=30,r=8,p=1"] {
            let stored = format!("$scrypt${hostile}$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E");
            let begun = Instant::now();
            assert_eq!(passwords.verify(caller(), Some(password("password")), Some(stored)).await, Ok(PasswordMatch::No), "{hostile}");
            assert!(begun.elapsed() < Duration::from_secs(5), "{hostile} was obeyed");
        }
        for garbage in ["", "x", "$argon2id$v=19$m=1,t=1,p=1$c2FsdHNhbHQ$aGFzaA", "$scrypt$"] {
            assert_eq!(
                passwords.verify(caller(), Some(password("password")), Some(garbage.into())).await,
                Ok(PasswordMatch::No),
                "{garbage}"
            );
        }
    }

    #[test]
    fn aut_2_a_cheaper_hash_costs_as_much_as_todays() {
        let hasher =
            |log_n, r, p| Hasher::new(&config::Passwords { scrypt_log_n: log_n, scrypt_r: r, scrypt_p: p, ..config::Passwords::default() });
        let today = hasher(15, 8, 1);
        // Of the processor alone: whatever else the machine does shows less.
        let time = |stored: &str| {
            let begun = cpu_time();
            assert_eq!(today.verify(Some(&password("not this one")), Some(stored)), PasswordMatch::No);
            cpu_time().saturating_sub(begun)
        };
        let nobody = || time(&today.nobody);
        for before in [hasher(4, 8, 1), hasher(13, 8, 1), hasher(14, 8, 1), hasher(15, 4, 1), hasher(13, 8, 3), hasher(10, 8, 20)] {
            let stored = before.hash(&password("correct horse"));
            // Side by side, and the middle one of nine.
            let mut ratios: Vec<_> = (0..9).map(|_| time(&stored).as_secs_f64() / nobody().as_secs_f64()).collect();
            ratios.sort_unstable_by(f64::total_cmp);
            println!("{stored:.32}: {ratios:.2?}");
            assert!((0.85..1.18).contains(&ratios[4]), "{stored:.32}: {ratios:?}");
        }
    }
}

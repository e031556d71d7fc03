//! Password rules and password hashes. The only file that names scrypt (I1).

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

/// The name of this program, which must not be a password.
const PRODUCT_NAME: &str = "doorward";

/// Common passwords of eight characters and more, lower-cased and sorted. Shorter ones are refused for their
/// length already (AUT-8).
static COMMON_PASSWORDS: LazyLock<Vec<&str>> = LazyLock::new(|| include_str!("../../assets/common-passwords.txt").lines().collect());

/// Why a password may not be used. Its text continues "the password".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weakness {
    /// It has fewer characters than this.
    Short(usize),
    /// It is on the list of common passwords.
    Common,
    /// It is the e-mail address, the part before the `@`, or the name of this program.
    Guessable,
    /// It is the password that it shall replace.
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
    /// It matches.
    Yes {
        /// A new hash to store, if the stored one was not made with the current parameters.
        rehashed: Option<String>,
    },
    /// It does not match.
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

    /// Has each hash from now on told to `watch`: how long it waited, and how long it took.
    pub fn watch(&self, watch: super::hashing::Watch) {
        self.pool.watch(watch);
    }

    /// How many passwords wait to be hashed.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.pool.waiting()
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
    /// `Overloaded`.
    pub async fn hash(&self, caller: Caller, password: Password) -> Result<String, Overloaded> {
        let hasher = self.hasher.clone();
        self.pool.run(caller, move || hasher.hash(&password)).await
    }

    /// Compares a password with a stored hash. Without a stored hash, or when the text cannot be a password, it
    /// does the same work and answers [`PasswordMatch::No`] (AUT-2).
    ///
    /// # Errors
    /// `Overloaded`.
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
    if folded == PRODUCT_NAME || folded == email.local_part() || folded == email.as_str() {
        return Err(Weakness::Guessable);
    }
    if COMMON_PASSWORDS.binary_search(&folded.as_str()).is_ok() {
        return Err(Weakness::Common);
    }
    Ok(())
}

/// Hashes with the current parameters, and verifies hashes with any parameters that are affordable.
#[derive(Clone)]
struct Hasher {
    params: Params,
    /// A hash with the current parameters that no password has. It is compared when there is no stored hash.
    dummy_hash: Arc<str>,
    /// The mean processor time of recent hashes with the current parameters.
    current_cost: Arc<MeanCost>,
}

impl Hasher {
    fn new(settings: &config::Passwords) -> Self {
        let (log_n, r, p) = (settings.scrypt_log_n, settings.scrypt_r, settings.scrypt_p);
        let params = Params::new(log_n, r, p).expect("the settings were checked to be affordable");
        // A salt of 16 bytes and a hash of 32, all zero.
        let dummy_hash = format!("$scrypt$ln={log_n},r={r},p={p}${}${}", "A".repeat(22), "A".repeat(43));
        Self { params, dummy_hash: dummy_hash.into(), current_cost: Arc::default() }
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

    /// Compares a password with a stored hash. It takes the same steps whether or not there is a user, a password
    /// and a sound hash, and the same work even if the hash was made with cheaper parameters (AUT-2).
    fn verify(&self, password: Option<&Password>, stored: Option<&str>) -> PasswordMatch {
        let (hash, params) = parse_affordable(stored.unwrap_or(&self.dummy_hash)).unwrap_or_else(|| {
            tracing::error!("a stored password hash is damaged or asks for too much; its user cannot sign in until it is reset");
            parse_affordable(&self.dummy_hash).expect("the current parameters are affordable")
        });
        let typed = password.map_or("", Password::expose);
        let started = cpu_time();
        let is_right = Scrypt::new().verify_password(typed.as_bytes(), &hash).is_ok();
        let has_current_params = (params.log_n(), params.r(), params.p()) == (self.params.log_n(), self.params.r(), self.params.p());
        if has_current_params {
            self.current_cost.record(cpu_time().saturating_sub(started));
        }
        match password {
            Some(password) if is_right && stored.is_some() => {
                PasswordMatch::Yes { rehashed: (!has_current_params).then(|| self.hash(password)) }
            }
            _ => {
                if !has_current_params {
                    self.pad_work(started);
                }
                PasswordMatch::No
            }
        }
    }

    /// Hashes for nothing until as much processor time has passed since `started` as a hash with the current
    /// parameters takes. Time is measured because the number of scrypt blocks says too little: the same number is
    /// quicker in less memory.
    fn pad_work(&self, started: Duration) {
        let goal = self.current_cost.get().unwrap_or_else(|| {
            let started = cpu_time();
            self.waste_work(self.params.log_n(), self.params.p());
            self.current_cost.record(cpu_time().saturating_sub(started))
        });
        let step = self.params.log_n().min(MAX_PADDING_LOG_N);
        // At most twice the work of a whole hash, so that this ends even if the clock stands still.
        let steps = 2 * (u64::from(self.params.p()) << (self.params.log_n() - step));
        for _ in 0..steps {
            if cpu_time().saturating_sub(started) >= goal {
                break;
            }
            self.waste_work(step, 1);
        }
    }

    fn waste_work(&self, log_n: u8, p: u32) {
        let params = Params::new(log_n, self.params.r(), p).expect("no more than today's, which were checked");
        let mut output = [0; 32];
        // Only the work counts: the outcome is not used.
        let _ = scrypt::scrypt(b"", b"", &params, std::hint::black_box(&mut output));
        std::hint::black_box(output);
    }
}

/// The largest log2 of N for one step of [`Hasher::pad_work`]. 2^10 with r = 8 takes one or two milliseconds, so
/// the padding is precise to that.
const MAX_PADDING_LOG_N: u8 = 10;

/// A running mean of microseconds.
#[derive(Default)]
struct MeanCost(AtomicU64);

impl MeanCost {
    /// `None` before the first measurement.
    fn get(&self) -> Option<Duration> {
        Some(self.0.load(Relaxed)).filter(|micros| *micros > 0).map(Duration::from_micros)
    }

    /// Adds a measurement and returns the new mean. One of two at the same time may be lost, which a mean can bear.
    fn record(&self, taken: Duration) -> Duration {
        let taken = u64::try_from(taken.as_micros()).unwrap_or(u64::MAX / 8).max(1);
        let mean = self.get().map_or(taken, |mean| (u64::try_from(mean.as_micros()).unwrap_or(0) * 7 + taken).div_ceil(8));
        self.0.store(mean, Relaxed);
        Duration::from_micros(mean)
    }
}

/// The processor time that this thread has used.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Parses a stored hash, if it is scrypt's and its parameters are within our limits: `verify_password` itself
/// would take any parameters.
fn parse_affordable(stored: &str) -> Option<(PasswordHash, Params)> {
    let hash = PasswordHash::new(stored).ok().filter(|hash| hash.algorithm.as_str() == "scrypt")?;
    // Each number is bounded before scrypt multiplies them: its own check of r * p overflows.
    let bounded = hash.params.iter().all(|(name, value)| {
        let max = if name.as_str() == "ln" { 30 } else { 1024 };
        value.decimal().is_ok_and(|n| n <= max)
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
        // There are no rules of composition, and only the whole password is looked up in the list (AUT-7).
        for good in ["correct horse battery", "only-lower-case", "xpassword1x", "        \t       "] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn aut_8_the_list_is_sorted_lower_case_and_long() {
        assert!(COMMON_PASSWORDS.len() >= 10_000);
        assert!(COMMON_PASSWORDS.is_sorted());
        assert!(COMMON_PASSWORDS.iter().all(|entry| entry.len() >= 8 && *entry == entry.to_lowercase()));
    }

    #[tokio::test]
    async fn aut_13_hashes_are_salted_phc_strings_and_upgraded_when_parameters_change() {
        let (weak, strong) = (passwords(4), passwords(5));
        let right = password("correct horse");
        let hash = weak.hash(caller(), right.clone()).await.expect("hashed");
        assert!(hash.starts_with("$scrypt$ln=4,r=8,p=1$"), "{hash}");
        assert_ne!(hash, weak.hash(caller(), right.clone()).await.expect("hashed"));
        let verify = |p: &'static Passwords, pw: &str| p.verify(caller(), Some(password(pw)), Some(hash.clone()));
        let (weak, strong): (&'static _, &'static _) = (Box::leak(Box::new(weak)), Box::leak(Box::new(strong)));
        assert_eq!(verify(weak, "correct horse").await, Ok(PasswordMatch::Yes { rehashed: None }));
        assert_eq!(verify(weak, "correct horse ").await, Ok(PasswordMatch::No));
        let Ok(PasswordMatch::Yes { rehashed: Some(upgraded) }) = verify(strong, "correct horse").await else { panic!("not upgraded") };
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
            let started = Instant::now();
            assert_eq!(passwords.verify(caller(), Some(password("password")), Some(stored)).await, Ok(PasswordMatch::No), "{hostile}");
            assert!(started.elapsed() < Duration::from_secs(5), "{hostile} was obeyed");
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
        // Processor time, which other programs on the machine disturb less than elapsed time.
        let time = |stored: &str| {
            let started = cpu_time();
            assert_eq!(today.verify(Some(&password("not this one")), Some(stored)), PasswordMatch::No);
            cpu_time().saturating_sub(started)
        };
        let dummy_time = || time(&today.dummy_hash);
        for before in [hasher(4, 8, 1), hasher(13, 8, 1), hasher(14, 8, 1), hasher(15, 4, 1), hasher(13, 8, 3), hasher(10, 8, 20)] {
            let stored = before.hash(&password("correct horse"));
            // Measured side by side, nine times; the median counts.
            let mut ratios: Vec<_> = (0..9).map(|_| time(&stored).as_secs_f64() / dummy_time().as_secs_f64()).collect();
            ratios.sort_unstable_by(f64::total_cmp);
            println!("{stored:.32}: {ratios:.2?}");
            assert!((0.85..1.18).contains(&ratios[4]), "{stored:.32}: {ratios:?}");
        }
    }
}

//! Memory that was needed once and lies about: given back.
//!
//! The one place with `unsafe` (ADR 14): a call into the C library that no safe crate makes.

/// Gives back to the system what the start needed and nothing needs any more: sled reads a snapshot of
/// all its pages into memory, and glibc keeps what that took. A tenth of all, with a million users.
/// With another C library it does nothing.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    #[allow(unsafe_code)]
    // SAFETY: malloc_trim(3) may be called at any time, from any thread; it touches no memory in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

//! Bytes for names and nonces, from the operating system's randomness. Keys and codes, which must stay
//! secret, are asked for by themselves.

use std::cell::RefCell;

/// What is asked for at once: a system call for each id would be a fortieth of a refresh.
const POOL: usize = 512;

/// Bytes that were never handed out before.
///
/// # Panics
/// When the operating system has no randomness to give: nothing safe can be done then.
#[must_use]
pub fn bytes<const N: usize>() -> [u8; N] {
    thread_local! {
        /// The pool, and how many bytes at its end are left.
        static LEFT: RefCell<([u8; POOL], usize)> = const { RefCell::new(([0; POOL], 0)) };
    }
    const { assert!(N <= POOL) };
    LEFT.with_borrow_mut(|(pool, left)| {
        if *left < N {
            getrandom::fill(pool).expect("the operating system provides randomness");
            *left = POOL;
        }
        let from = POOL - *left;
        *left -= N;
        let mut bytes = [0; N];
        // Taken out: nothing is left of them to be handed out again.
        bytes.swap_with_slice(&mut pool[from..from + N]);
        bytes
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_bytes_are_handed_out_twice() {
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(|| (0..1000).map(|_| bytes::<16>()).collect::<Vec<_>>())).collect();
        let all: HashSet<_> = threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect();
        assert_eq!(all.len(), 4000);
        assert!(!all.contains(&[0; 16]));
        // Of a size that does not divide the pool.
        assert_eq!((0..1000).map(|_| bytes::<24>()).collect::<HashSet<_>>().len(), 1000);
    }
}

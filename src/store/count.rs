//! How many rows there are. No count is kept: it would be one more row to write with each sign-in.

use super::{
    Error, Store,
    engine::Reads,
    schema::{SESSIONS, USERS},
};
use std::ops::ControlFlow;

/// How many rows are counted in one go, so that nothing else waits for long.
const MAX_AT_ONCE: usize = 1000;

/// How many users and sessions there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Users, disabled ones and service accounts too.
    pub users: u64,
    /// Sessions, until they are swept.
    pub sessions: u64,
}

impl Store {
    /// Counts users and sessions. What changes meanwhile may be counted or not.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn count(&self) -> Result<Counts, Error> {
        Ok(Counts { users: self.count_rows(USERS.prefix()).await?, sessions: self.count_rows(SESSIONS.prefix()).await? })
    }

    async fn count_rows(&self, table: u8) -> Result<u64, Error> {
        let (mut all, mut after) = (0, None);
        loop {
            let (counted, last) = self.view(|reads| count_after(reads, table, after.as_deref())).await?;
            all += counted as u64;
            if counted < MAX_AT_ONCE {
                return Ok(all);
            }
            after = last;
            tokio::task::yield_now().await;
        }
    }
}

/// How many of the next rows there are, and the key of the last of them.
fn count_after(reads: &dyn Reads, table: u8, after: Option<&[u8]>) -> Result<(usize, Option<Vec<u8>>), Error> {
    let (mut counted, mut last) = (0, None);
    reads.scan(&[table], after, &mut |key, _| {
        counted += 1;
        if counted < MAX_AT_ONCE {
            return ControlFlow::Continue(());
        }
        last = Some(key.to_vec());
        ControlFlow::Break(())
    })?;
    Ok((counted, last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::Timestamp,
        store::engine::{Engine, Priority, Tx, Work, memory::Memory},
    };

    /// Writes so many rows of two tables.
    struct Fill(usize, usize);

    impl Work for Fill {
        fn run(&mut self, tx: &mut dyn Tx) -> Result<(), Error> {
            for (table, rows) in [(USERS.prefix(), self.0), (SESSIONS.prefix(), self.1)] {
                (0..rows).for_each(|n| tx.put([&[table][..], &n.to_be_bytes()].concat(), Vec::new()));
            }
            Ok(())
        }

        fn priority(&self) -> Priority {
            Priority::Normal
        }

        fn finish(self: Box<Self>, result: Result<(), Error>) {
            result.expect("written");
        }
    }

    #[tokio::test]
    async fn every_row_is_counted_once_however_many_goes_that_takes() {
        for (users, sessions) in [(0, 0), (1, MAX_AT_ONCE - 1), (MAX_AT_ONCE, MAX_AT_ONCE + 1), (3 * MAX_AT_ONCE, 2500)] {
            let memory = Memory::default();
            Store::initialise(&memory, [7; 16], Timestamp::default()).await.expect("empty");
            memory.submit(Box::new(Fill(users, sessions)));
            let store = Store::open(Box::new(memory), [7; 16], crate::domain::Clock::default(), Vec::new()).await.expect("just made");
            let counts = store.count().await.expect("counted");
            assert_eq!(counts, Counts { users: users as u64, sessions: sessions as u64 });
        }
    }
}

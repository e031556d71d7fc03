//! Reading a backup into an engine.

use super::{Fault, Part, Reader};
use crate::{
    domain::Timestamp,
    store::{
        Error, Observers,
        engine::{Engine, Priority},
        transaction::transact,
    },
};
use secrecy::SecretString;
use std::{io::BufRead, mem, sync::Arc};

/// How many bytes of rows are written with one transaction, about.
const BATCH: usize = 512 * 1024;

impl<R: BufRead> Reader<R> {
    /// Reads the backup to its end into an engine without rows, and returns the keyring's file. What the engine has then
    /// counts only if this succeeds.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn load(&mut self, engine: &dyn Engine) -> Result<SecretString, Fault> {
        let (mut keyring, mut rows, mut bytes) = (None, Vec::new(), 0);
        while let Some(part) = self.next()? {
            match part {
                Part::Keyring(read) => keyring = Some(read),
                Part::Row(key, value) => {
                    bytes += key.len() + value.len();
                    rows.push((key, value));
                }
            }
            if bytes >= BATCH {
                write(engine, mem::take(&mut rows)).await?;
                bytes = 0;
            }
        }
        write(engine, rows).await?;
        keyring.ok_or_else(|| self.damaged("it has no keyring"))
    }
}

async fn write(engine: &dyn Engine, rows: Vec<(Vec<u8>, Vec<u8>)>) -> Result<(), Error> {
    let observers = Arc::new(Observers::default());
    transact(engine, observers, Timestamp::default(), Priority::Revocation, Vec::new, move |t| {
        rows.iter().for_each(|(key, value)| t.tx.put(key.clone(), value.clone()));
        Ok(())
    })
    .await
}

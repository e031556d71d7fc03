//! Making a backup of a store.

use super::{Fault, Header, Summary, Writer};
use crate::{
    domain::Timestamp,
    store::{Error, Store, engine::Reads, schema::INSTANCE},
};
use secrecy::SecretString;
use std::{io::Write, ops::ControlFlow};

impl Store {
    /// Writes all rows as they are stored, of one moment, with the keyring's file. If it cannot go on, what was written says
    /// so. It blocks.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn write_backup(&self, out: impl Write, keyring: SecretString, now: Timestamp) -> Result<Summary, Fault> {
        let reads = self.engine.snapshot()?;
        let instance = INSTANCE.get(&*reads, &())?.ok_or(Error::NotOurs)?;
        let mut writer = Writer::begin(out, Header::new(instance.schema, instance.id, now))?;
        match write_rows(&*reads, &mut writer, keyring) {
            Ok(()) => writer.finish(),
            Err(fault) => {
                // Whoever reads it may be gone as well.
                let _ = writer.fail(&fault);
                Err(fault)
            }
        }
    }
}

fn write_rows(reads: &dyn Reads, writer: &mut Writer<impl Write>, keyring: SecretString) -> Result<(), Fault> {
    writer.keyring(keyring)?;
    let mut outcome = Ok(());
    reads.scan(&[], None, &mut |key, value| {
        outcome = writer.row(key, value);
        if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    outcome
}

//! Making a backup of a store.

use super::{Contents, Fault, Header, Line, Summary, Writer};
use crate::{
    domain::Timestamp,
    store::{Error, Store, schema::INSTANCE},
};
use data_encoding::BASE64;
use secrecy::SecretString;
use std::{io::Write, ops::ControlFlow};

impl Store {
    /// Writes all rows as they are stored, of one moment, with the keyring's file. It blocks.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn write_raw_backup(&self, out: impl Write, keyring: SecretString, now: Timestamp) -> Result<Summary, Fault> {
        let reads = self.engine.snapshot()?;
        let instance = INSTANCE.get(&*reads, &())?.ok_or(Error::NotOurs)?;
        let mut writer = Writer::begin(out, Header::new(Contents::Raw, instance.schema, instance.id, now))?;
        writer.line(&Line::Keyring(keyring))?;
        let mut outcome = Ok(());
        reads.scan(&[], None, &mut |key, value| {
            outcome = writer.line(&Line::Raw(BASE64.encode(key), BASE64.encode(value)));
            if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        outcome?;
        writer.finish()
    }
}

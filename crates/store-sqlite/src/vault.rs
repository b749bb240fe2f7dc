//! Secrets at rest: sealed with a data key, which lies in the database wrapped by the master key.
//!
//! Each value is sealed with AES-256-GCM, bound to its table, row and column, so that one copied
//! elsewhere does not open. What is stored is a byte for the form (1), the data key's number (4
//! bytes), a random nonce (12), the ciphertext and its tag (16). Random nonces are safe for 2^32
//! values under one data key; `rekey` makes a new one.

use std::collections::BTreeMap;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    constant_time::verify_slices_are_equal,
    rand,
};
use rusqlite::Connection;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::master_key::MasterKey;

/// The form of a sealed value that this release writes.
const FORM: u8 = 1;

const HEADER_LEN: usize = 1 + 4;

/// Where a sealed value lives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    table: &'a str,
    row: &'a [&'a str],
}

impl<'a> Place<'a> {
    /// A row of a table, by the columns of its primary key. Only the last of them may hold a NUL.
    pub(crate) const fn new(table: &'a str, row: &'a [&'a str]) -> Self {
        Self { table, row }
    }

    fn bound_to(self, column: &str) -> Vec<u8> {
        let mut text = self.table.as_bytes().to_vec();
        for part in self.row.iter().chain(&[column]) {
            text.push(0);
            text.extend_from_slice(part.as_bytes());
        }
        text
    }
}

/// A secret could not be sealed or opened. Never holds any of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum SealError {
    #[error("a sealed value has a form that this release does not know")]
    Form,
    #[error("a value is sealed with a data key that is not there")]
    NoDataKey,
    #[error("a sealed value does not open in its place: it was changed or moved")]
    NotGenuine,
    #[error("no random numbers, or the cipher failed")]
    Cipher,
}

/// Why the data keys could not be unwrapped.
#[derive(Debug, Error)]
pub(crate) enum UnlockError {
    #[error("the master key is not the one of this database")]
    WrongMasterKey,
    #[error("the data keys are damaged")]
    Damaged,
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// The data keys of an open database.
pub(crate) struct Vault {
    keys: BTreeMap<u32, LessSafeKey>,
    current: u32,
}

impl Vault {
    /// Makes a data key of the next number, stores it wrapped, and seals with it from now on.
    pub(crate) fn make_data_key(
        &mut self,
        connection: &Connection,
        master: &MasterKey,
    ) -> Result<(), UnlockError> {
        let id = self.current + 1;
        let mut key = Zeroizing::new([0; 32]);
        rand::fill(key.as_mut_slice()).map_err(|_| SealError::Cipher)?;
        let wrapped = seal(&cipher(master.bytes())?, id, &wrapping_place(id), key.as_slice())?;
        connection.execute(
            "INSERT INTO data_keys (id, wrapped, check_value) VALUES (?1, ?2, ?3)",
            (id, wrapped, master.check_value()),
        )?;
        self.keys.insert(id, cipher(&key)?);
        self.current = id;
        Ok(())
    }

    /// A vault without keys, for a database that has none yet.
    pub(crate) const fn new() -> Self {
        Self { keys: BTreeMap::new(), current: 0 }
    }

    /// Unwraps the data keys of a database.
    pub(crate) fn unlock(connection: &Connection, master: &MasterKey) -> Result<Self, UnlockError> {
        let mut vault = Self::new();
        let wrapping = cipher(master.bytes())?;
        let check = master.check_value();
        let mut statement =
            connection.prepare("SELECT id, wrapped, check_value FROM data_keys ORDER BY id")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (id, wrapped, stored): (u32, Vec<u8>, Vec<u8>) =
                (row.get(0)?, row.get(1)?, row.get(2)?);
            if verify_slices_are_equal(&check, &stored).is_err() {
                return Err(UnlockError::WrongMasterKey);
            }
            let (of, body) = split(&wrapped).map_err(|_| UnlockError::Damaged)?;
            let key =
                open(&wrapping, &wrapping_place(id), body).map_err(|_| UnlockError::Damaged)?;
            let key: &[u8; 32] = key.as_slice().try_into().map_err(|_| UnlockError::Damaged)?;
            if of != id {
                return Err(UnlockError::Damaged);
            }
            vault.keys.insert(id, cipher(key)?);
            vault.current = id;
        }
        if vault.keys.is_empty() { Err(UnlockError::Damaged) } else { Ok(vault) }
    }

    /// A vault without keys, whose data keys get later numbers than those of this one.
    pub(crate) const fn successor(&self) -> Self {
        Self { keys: BTreeMap::new(), current: self.current }
    }

    /// Deletes all data keys from the database but the one it seals with.
    pub(crate) fn retire_others(&self, connection: &Connection) -> rusqlite::Result<()> {
        connection.execute("DELETE FROM data_keys WHERE id <> ?1", [self.current]).map(drop)
    }

    /// Seals a secret for a place.
    pub(crate) fn seal(
        &self,
        place: Place<'_>,
        column: &str,
        plain: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let key = self.keys.get(&self.current).ok_or(SealError::NoDataKey)?;
        seal(key, self.current, &place.bound_to(column), plain)
    }

    /// Opens what was sealed for a place.
    pub(crate) fn open(
        &self,
        place: Place<'_>,
        column: &str,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (id, body) = split(sealed)?;
        let key = self.keys.get(&id).ok_or(SealError::NoDataKey)?;
        open(key, &place.bound_to(column), body)
    }
}

fn wrapping_place(id: u32) -> Vec<u8> {
    Place::new("data_keys", &[&id.to_string()]).bound_to("wrapped")
}

fn cipher(key: &[u8; 32]) -> Result<LessSafeKey, SealError> {
    let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| SealError::Cipher)?;
    Ok(LessSafeKey::new(key))
}

fn seal(key: &LessSafeKey, id: u32, bound_to: &[u8], plain: &[u8]) -> Result<Vec<u8>, SealError> {
    let mut nonce = [0; NONCE_LEN];
    rand::fill(&mut nonce).map_err(|_| SealError::Cipher)?;
    let mut body = Zeroizing::new(plain.to_vec());
    let nonce_used = Nonce::assume_unique_for_key(nonce);
    let tag = key
        .seal_in_place_separate_tag(nonce_used, Aad::from(bound_to), body.as_mut_slice())
        .map_err(|_| SealError::Cipher)?;
    let mut sealed = Vec::with_capacity(HEADER_LEN + NONCE_LEN + body.len() + tag.as_ref().len());
    sealed.push(FORM);
    sealed.extend_from_slice(&id.to_be_bytes());
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(&body);
    sealed.extend_from_slice(tag.as_ref());
    Ok(sealed)
}

/// The data key's number, and nonce, ciphertext and tag.
fn split(sealed: &[u8]) -> Result<(u32, &[u8]), SealError> {
    match sealed {
        [FORM, a, b, c, d, body @ ..] => Ok((u32::from_be_bytes([*a, *b, *c, *d]), body)),
        _ => Err(SealError::Form),
    }
}

fn open(key: &LessSafeKey, bound_to: &[u8], body: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let (nonce, body) = body.split_at_checked(NONCE_LEN).ok_or(SealError::Form)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Form)?;
    let mut body = Zeroizing::new(body.to_vec());
    let n_plain = key
        .open_in_place(nonce, Aad::from(bound_to), body.as_mut_slice())
        .map_err(|_| SealError::NotGenuine)?
        .len();
    body.truncate(n_plain);
    Ok(body)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn vault() -> (Vault, Connection, MasterKey) {
        let connection = Connection::open_in_memory().expect("memory");
        let sql = "CREATE TABLE data_keys (id INTEGER PRIMARY KEY, wrapped BLOB, check_value BLOB)";
        connection.execute_batch(sql).expect("made");
        let master = MasterKey::generate([9; 32]);
        let mut vault = Vault::new();
        vault.make_data_key(&connection, &master).expect("made");
        (vault, connection, master)
    }

    #[test]
    fn a_value_opens_in_its_place_and_nowhere_else() {
        let (vault, ..) = vault();
        let here = Place::new("devices", &["hub-1.test", "press-17"]);
        let sealed = vault.seal(here, "primary_key", b"secret").expect("sealed");
        assert_eq!(**vault.open(here, "primary_key", &sealed).expect("opened"), *b"secret");
        let elsewhere = [
            (Place::new("devices", &["hub-1.test", "press-18"]), "primary_key"),
            (Place::new("devices", &["hub-2.test", "press-17"]), "primary_key"),
            (Place::new("devices", &["hub-1.test\0press-17"]), "primary_keys"),
            (Place::new("policies", &["hub-1.test", "press-17"]), "primary_key"),
            (here, "secondary_key"),
        ];
        for (place, column) in elsewhere {
            assert_eq!(vault.open(place, column, &sealed), Err(SealError::NotGenuine));
        }
    }

    #[test]
    fn one_secret_is_never_sealed_alike_twice() {
        let (vault, ..) = vault();
        let here = Place::new("devices", &["hub-1.test", "press-17"]);
        let one = vault.seal(here, "primary_key", b"secret").expect("sealed");
        let other = vault.seal(here, "primary_key", b"secret").expect("sealed");
        assert_ne!(one, other);
        assert_eq!(one.len(), HEADER_LEN + NONCE_LEN + b"secret".len() + 16);
    }

    #[test]
    fn only_the_master_key_unlocks() {
        let (vault, connection, master) = vault();
        let here = Place::new("devices", &["hub-1.test", "press-17"]);
        let sealed = vault.seal(here, "primary_key", b"secret").expect("sealed");
        let again = Vault::unlock(&connection, &master).expect("unlocked");
        assert_eq!(**again.open(here, "primary_key", &sealed).expect("opened"), *b"secret");
        let other = MasterKey::generate([8; 32]);
        let refused = Vault::unlock(&connection, &other).err();
        assert!(matches!(refused, Some(UnlockError::WrongMasterKey)), "{refused:?}");
        // Somebody who writes the check value of a key of his own gets no further.
        let sql = "UPDATE data_keys SET check_value = ?1";
        connection.execute(sql, [other.check_value()]).expect("written");
        let refused = Vault::unlock(&connection, &other).err();
        assert!(matches!(refused, Some(UnlockError::Damaged)), "{refused:?}");
    }

    proptest! {
        #[test]
        fn no_changed_or_foreign_bytes_open(
            at in any::<prop::sample::Index>(),
            flip in 1..=255_u8,
            foreign in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let (vault, ..) = vault();
            let here = Place::new("devices", &["hub-1.test", "press-17"]);
            let mut sealed = vault.seal(here, "primary_key", b"secret").expect("sealed");
            prop_assert!(vault.open(here, "primary_key", &foreign).is_err());
            let at = at.index(sealed.len());
            sealed[at] ^= flip;
            prop_assert!(vault.open(here, "primary_key", &sealed).is_err());
            prop_assert!(vault.open(here, "primary_key", &sealed[..at]).is_err());
        }
    }
}

//! The rows of challenges to TPMs.

use model::{
    CertificateDer, MAX_TPM_CHALLENGES, RegistrationId, SymmetricKey, Timestamp, TpmChallenge,
};
use rusqlite::{OptionalExtension, Result};

use crate::{
    codec::{Base64, Binder, Columns, Db},
    vault::Place,
};

/// The table, as its secrets are bound to it.
const TABLE: &str = "tpm_challenges";

/// The column of the key to sign with.
const KEY: &str = "challenge_key";

macro_rules! challenge_columns {
    () => {
        "key, number, registration_id, endorsement_key, storage_root_key, enrolled_root, \
         certificates, names, ban_keys, challenge_key, expires"
    };
}

/// Reads the challenges of the registration ID with the key `?1`, the latest first.
pub(crate) const LIST: &str = concat!(
    "SELECT ",
    challenge_columns!(),
    " FROM tpm_challenges WHERE key = ?1 ORDER BY number DESC"
);

const INSERT: &str = concat!(
    "INSERT INTO tpm_challenges (",
    challenge_columns!(),
    ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
);

const LAST_NUMBER: &str =
    "SELECT number FROM tpm_challenges WHERE key = ?1 ORDER BY number DESC LIMIT 1";

const FORGET_OLDEST: &str = "DELETE FROM tpm_challenges \
     WHERE key = ?1 AND enrolled_root = ?2 AND number NOT IN \
     (SELECT number FROM tpm_challenges WHERE key = ?1 AND enrolled_root = ?2 \
      ORDER BY number DESC LIMIT ?3)";

/// Deletes the challenges whose time was over at `?1`.
pub(crate) const TRIM: &str = "DELETE FROM tpm_challenges WHERE expires < ?1";

/// Remembers a challenge; the oldest of its registration ID and its kind give way.
pub(crate) fn put(db: Db<'_>, challenge: &TpmChallenge) -> Result<()> {
    let key = challenge.registration_id.key();
    let last: Option<String> =
        db.prepare_cached(LAST_NUMBER)?.query_row([key], |row| row.get(0)).optional()?;
    let last: u64 = last.and_then(|number| number.parse().ok()).unwrap_or(0);
    let number = format!("{:020}", last.saturating_add(1));
    {
        let mut statement = db.prepare_cached(INSERT)?;
        let mut binder = Binder::new(db, &mut statement);
        binder.put(key)?;
        binder.put(&number)?;
        binder.put(challenge.registration_id.as_str())?;
        binder.put(&challenge.endorsement_key)?;
        binder.put(&challenge.storage_root_key)?;
        binder.put(challenge.enrolled_root)?;
        let certificates = &challenge.endorsement_certificates;
        let certificates: Vec<Base64> =
            certificates.iter().map(|certificate| Base64(certificate.0.clone())).collect();
        binder.document(&certificates)?;
        let names = &challenge.endorsement_names;
        let names: Vec<Base64> = names.iter().map(|name| Base64(name.to_vec())).collect();
        binder.document(&names)?;
        binder.document(&challenge.ban_keys)?;
        let place = [key, &number];
        binder.secret(Place::new(TABLE, &place), KEY, Some(challenge.key.reveal()))?;
        binder.time(challenge.expires)?;
        binder.run()?;
    }
    let most = i64::try_from(MAX_TPM_CHALLENGES).unwrap_or(i64::MAX);
    db.prepare_cached(FORGET_OLDEST)?.execute((key, challenge.enrolled_root, most)).map(drop)
}

/// Forgets the challenges whose time was over at this moment.
pub(crate) fn trim(db: Db<'_>, before: Timestamp) -> Result<()> {
    db.prepare_cached(TRIM)?.execute([before.ticks()]).map(drop)
}

/// Reads a row of challenges.
pub(crate) fn read(columns: &mut Columns<'_, '_>) -> Result<TpmChallenge> {
    let row: [String; 2] = [columns.take()?, columns.take()?];
    let place = [row[0].as_str(), row[1].as_str()];
    Ok(TpmChallenge {
        registration_id: columns.text(RegistrationId::parse)?,
        endorsement_key: columns.take()?,
        storage_root_key: columns.take()?,
        enrolled_root: columns.take()?,
        endorsement_certificates: {
            let certificates: Vec<Base64> = columns.document()?;
            certificates.into_iter().map(|certificate| CertificateDer(certificate.0)).collect()
        },
        endorsement_names: {
            let names: Vec<Base64> = columns.document()?;
            let hash = |name: Base64| {
                name.0.try_into().map_err(|_| columns.unreadable("a hash that has not 32 bytes"))
            };
            names.into_iter().map(hash).collect::<Result<_>>()?
        },
        ban_keys: columns.document()?,
        key: columns
            .secret(Place::new(TABLE, &place), KEY, SymmetricKey::parse)?
            .ok_or_else(|| columns.unreadable("a challenge without its key"))?,
        expires: columns.time()?,
    })
}

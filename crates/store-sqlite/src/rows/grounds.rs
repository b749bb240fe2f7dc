//! The rows of what registrations rest on, and of the certificates they share.

use std::collections::BTreeSet;

use aws_lc_rs::digest;
use model::{CertificateDer, Grounds, KnownProof, PathCertificate, RegistrationId};
use rusqlite::{OptionalExtension, Result};

use crate::{
    codec::{Binder, Columns, Db, words},
    reads,
};

/// Reads the proof of the registration with the key `?1`.
pub(crate) const FIND: &str =
    "SELECT proof, endorsement_key, storage_root_key FROM grounds WHERE key = ?1";

/// Reads the certificates of the registration with the key `?1`: its path, then what it showed.
pub(crate) const CERTIFICATES: &str = "SELECT link.shown, \
     CASE link.shown WHEN 1 THEN known.der END, known.sha256, known.sha1, known.tbs, \
     known.subject_and_key, known.subject, known.issuer, known.serial, known.subject_name \
     FROM grounds_certificates AS link \
     JOIN known_certificates AS known ON known.id = link.certificate \
     WHERE link.key = ?1 ORDER BY link.shown, link.position";

/// Reads `?3` keys, after the key `?2`, of registrations that rest on the known certificate `?1`.
pub(crate) const RESTING_ON: &str = "SELECT DISTINCT key FROM grounds_certificates AS link \
     WHERE certificate = ?1 AND shown = 0 AND key > ?2 \
     AND EXISTS (SELECT 1 FROM registration_records AS record WHERE record.key = link.key) \
     ORDER BY key LIMIT ?3";

/// Reads `?3` keys, after the key `?2`, of registrations of the endorsement key with the hash `?1`.
pub(crate) const WITH_ENDORSEMENT_KEY: &str = "SELECT key FROM grounds WHERE endorsement_hash = ?1 AND key > ?2 \
     AND EXISTS (SELECT 1 FROM registration_records AS record WHERE record.key = grounds.key) \
     ORDER BY key LIMIT ?3";

/// Reads the known certificates by each of what a ban may know them by.
pub(crate) const BY_SHA256: &str = "SELECT id FROM known_certificates WHERE sha256 = ?1";
pub(crate) const BY_SHA1: &str = "SELECT id FROM known_certificates WHERE sha1 = ?1";
pub(crate) const BY_TBS: &str = "SELECT id FROM known_certificates WHERE tbs = ?1";
pub(crate) const BY_CA: &str = "SELECT id FROM known_certificates WHERE subject_and_key = ?1";
pub(crate) const BY_SERIAL: &str =
    "SELECT id FROM known_certificates WHERE issuer = ?1 AND serial = ?2";

/// Reads the other forms of the certificate of a thumbprint: those whose issuer signed the same.
pub(crate) const LIKE_SHA256: &str = "SELECT alike.id FROM known_certificates AS known \
     JOIN known_certificates AS alike ON alike.tbs = known.tbs \
     WHERE known.sha256 = ?1 AND alike.id <> known.id";
pub(crate) const LIKE_SHA1: &str = "SELECT alike.id FROM known_certificates AS known \
     JOIN known_certificates AS alike ON alike.tbs = known.tbs \
     WHERE known.sha1 = ?1 AND alike.id <> known.id";

/// Reads the bytes of the known certificate `?1`.
pub(crate) const DER: &str = "SELECT der FROM known_certificates WHERE id = ?1";

const PUT: &str = "INSERT OR REPLACE INTO grounds \
     (key, proof, endorsement_key, storage_root_key, endorsement_hash) VALUES (?1, ?2, ?3, ?4, ?5)";

const PUT_LINK: &str = "INSERT INTO grounds_certificates (key, shown, position, certificate) \
     VALUES (?1, ?2, ?3, ?4)";

/// Reads the known certificates that the registration with the key `?1` needs.
pub(crate) const LINKED: &str = "SELECT certificate FROM grounds_certificates WHERE key = ?1";

/// Tells whether a registration needs the known certificate `?1`.
pub(crate) const IS_LINKED: &str = "SELECT 1 FROM grounds_certificates WHERE certificate = ?1";

/// Which variant of a proof a row holds.
#[derive(Clone, Copy)]
enum Proof {
    Certificates,
    PrimaryKey,
    SecondaryKey,
    Tpm,
}

words!(Proof {
    Proof::Certificates => "certificates",
    Proof::PrimaryKey => "primaryKey",
    Proof::SecondaryKey => "secondaryKey",
    Proof::Tpm => "tpm",
});

/// SHA-256, which endorsement keys and certificates are known by.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    let digest = digest::digest(&digest::SHA256, bytes);
    hash.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
    hash
}

/// Inserts or replaces what a registration rests on.
pub(crate) fn put(db: Db<'_>, id: &RegistrationId, grounds: &Grounds) -> Result<()> {
    let key = id.key();
    let before = take_links(db, key)?;
    let (proof, tpm, shown): (_, _, &[CertificateDer]) = match &grounds.proof {
        KnownProof::Certificates(chain) => (Proof::Certificates, None, chain),
        KnownProof::Key { is_primary: true } => (Proof::PrimaryKey, None, &[]),
        KnownProof::Key { is_primary: false } => (Proof::SecondaryKey, None, &[]),
        KnownProof::Tpm { endorsement_key, storage_root_key, endorsement_certificates } => {
            (Proof::Tpm, Some((endorsement_key, storage_root_key)), endorsement_certificates)
        }
    };
    {
        let mut statement = db.prepare_cached(PUT)?;
        let mut binder = Binder::new(db, &mut statement);
        binder.put(key)?;
        binder.word(proof)?;
        binder.put(tpm.map(|(endorsement_key, _)| endorsement_key))?;
        binder.put(tpm.map(|(_, storage_root_key)| storage_root_key))?;
        binder.put(tpm.map(|(endorsement_key, _)| sha256(endorsement_key)))?;
        binder.run()?;
    }
    let mut after = BTreeSet::new();
    let mut link = db.prepare_cached(PUT_LINK)?;
    for (position, certificate) in (0_i64..).zip(&grounds.path) {
        let certificate = know_path(db, certificate)?;
        link.execute((key, 0, position, certificate))?;
        after.insert(certificate);
    }
    for (position, CertificateDer(der)) in (0_i64..).zip(shown) {
        let certificate = know_shown(db, der)?;
        link.execute((key, 1, position, certificate))?;
        after.insert(certificate);
    }
    forget_unlinked(db, before.difference(&after))
}

/// Forgets what the registration of a key rests on, once it has no record and no identity came from
/// it: as long as one did, it is known by what its device may be banned.
pub(crate) fn forget_unneeded(db: Db<'_>, key: &str) -> Result<()> {
    if db.prepare_cached(HAS_RECORD)?.exists([key])?
        || db.prepare_cached(IS_FORMER)?.exists([key])?
    {
        return Ok(());
    }
    let deleted = db.prepare_cached("DELETE FROM grounds WHERE key = ?1")?.execute([key])?;
    if deleted == 0 {
        return Ok(());
    }
    let before = take_links(db, key)?;
    forget_unlinked(db, before.iter())
}

const HAS_RECORD: &str = "SELECT 1 FROM registration_records WHERE key = ?1";

/// Tells whether an identity came from the registration of the key `?1`.
pub(crate) const IS_FORMER: &str = "SELECT 1 FROM devices \
     WHERE lower(former_registration) = ?1 AND former_registration IS NOT NULL";

/// What a registration that has a record rests on.
pub(crate) fn find_of_record(db: Db<'_>, id: &RegistrationId) -> Result<Option<Grounds>> {
    if db.prepare_cached(HAS_RECORD)?.exists([id.key()])? { find(db, id) } else { Ok(None) }
}

/// What a registration rests on, or rested on when its record was deleted.
pub(crate) fn find(db: Db<'_>, id: &RegistrationId) -> Result<Option<Grounds>> {
    let found = reads::find(db, FIND, [id.key()], |columns| {
        let proof: Proof = columns.word()?;
        let endorsement_key: Option<Vec<u8>> = columns.take()?;
        let storage_root_key: Option<Vec<u8>> = columns.take()?;
        Ok((proof, endorsement_key.unwrap_or_default(), storage_root_key.unwrap_or_default()))
    })?;
    let Some((proof, endorsement_key, storage_root_key)) = found else { return Ok(None) };
    let mut path = Vec::new();
    let mut shown = Vec::new();
    let mut statement = db.prepare_cached(CERTIFICATES)?;
    let mut rows = statement.query([id.key()])?;
    while let Some(row) = rows.next()? {
        let mut columns = Columns::new(db, row);
        if columns.take()? {
            let der: Option<Vec<u8>> = columns.take()?;
            let missing = || columns.unreadable("a shown certificate without its bytes");
            shown.push(CertificateDer(der.ok_or_else(missing)?));
        } else {
            columns.take::<Option<Vec<u8>>>()?;
            path.push(read_path(&mut columns)?);
        }
    }
    let proof = match proof {
        Proof::Certificates => KnownProof::Certificates(shown),
        Proof::PrimaryKey => KnownProof::Key { is_primary: true },
        Proof::SecondaryKey => KnownProof::Key { is_primary: false },
        Proof::Tpm => {
            KnownProof::Tpm { endorsement_key, storage_root_key, endorsement_certificates: shown }
        }
    };
    Ok(Some(Grounds { proof, path }))
}

fn read_path(columns: &mut Columns<'_, '_>) -> Result<PathCertificate> {
    Ok(PathCertificate {
        sha256: columns.take()?,
        sha1: columns.take()?,
        tbs: columns.take()?,
        subject_and_key: columns.take()?,
        subject: columns.take()?,
        issuer: columns.take()?,
        serial: columns.take()?,
        subject_name: columns.take()?,
    })
}

/// The row of a certificate of a verified path, made or completed.
fn know_path(db: Db<'_>, certificate: &PathCertificate) -> Result<i64> {
    let PathCertificate {
        sha256,
        sha1,
        tbs,
        subject_and_key,
        subject,
        issuer,
        serial,
        subject_name,
    } = certificate;
    let sql = "SELECT id, sha1 IS NOT NULL FROM known_certificates WHERE sha256 = ?1";
    let known: Option<(i64, bool)> = db
        .prepare_cached(sql)?
        .query_row([sha256], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let sql = match known {
        Some((id, true)) => return Ok(id),
        Some((_, false)) => {
            "UPDATE known_certificates SET (sha1, tbs, subject_and_key, subject, issuer, serial, \
             subject_name) = (?2, ?3, ?4, ?5, ?6, ?7, ?8) WHERE sha256 = ?1 RETURNING id"
        }
        None => {
            "INSERT INTO known_certificates (sha256, sha1, tbs, subject_and_key, subject, issuer, \
             serial, subject_name) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) RETURNING id"
        }
    };
    let values = (sha256, sha1, tbs, subject_and_key, subject, issuer, serial, subject_name);
    db.prepare_cached(sql)?.query_row(values, |row| row.get(0))
}

/// The row of a certificate that was shown, made or completed.
fn know_shown(db: Db<'_>, der: &[u8]) -> Result<i64> {
    let sha256 = sha256(der);
    let sql = "SELECT id, der IS NOT NULL FROM known_certificates WHERE sha256 = ?1";
    let known: Option<(i64, bool)> = db
        .prepare_cached(sql)?
        .query_row([sha256], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let sql = match known {
        Some((id, true)) => return Ok(id),
        Some((_, false)) => "UPDATE known_certificates SET der = ?2 WHERE sha256 = ?1 RETURNING id",
        None => "INSERT INTO known_certificates (sha256, der) VALUES (?1, ?2) RETURNING id",
    };
    db.prepare_cached(sql)?.query_row((sha256, der), |row| row.get(0))
}

/// Deletes a registration's links and returns where they led.
fn take_links(db: Db<'_>, key: &str) -> Result<BTreeSet<i64>> {
    let linked: BTreeSet<i64> =
        db.prepare_cached(LINKED)?.query_map([key], |row| row.get(0))?.collect::<Result<_>>()?;
    if !linked.is_empty() {
        db.prepare_cached("DELETE FROM grounds_certificates WHERE key = ?1")?.execute([key])?;
    }
    Ok(linked)
}

/// Deletes those of the certificates that no registration needs any more.
fn forget_unlinked<'a>(db: Db<'_>, certificates: impl Iterator<Item = &'a i64>) -> Result<()> {
    for certificate in certificates {
        if !db.prepare_cached(IS_LINKED)?.exists([certificate])? {
            let sql = "DELETE FROM known_certificates WHERE id = ?1";
            db.prepare_cached(sql)?.execute([certificate])?;
        }
    }
    Ok(())
}

//! The rows of bans.

use std::net::IpAddr;

use model::{Ban, BanKind, BanSubject, Caller, ReceiptId, RegistrationId, Version};
use rusqlite::{OptionalExtension, Result};
use serde::{Deserialize, Serialize};

use super::certificate::CertificateRow;
use crate::codec::{Base64, Binder, Columns, Db, words};

macro_rules! ban_columns {
    () => {
        "subject, kind, reason, policy, address, created, expires, receipt, version"
    };
}

/// Reads the ban of a key, `?1`.
pub(crate) const FIND: &str = concat!("SELECT ", ban_columns!(), " FROM bans WHERE key = ?1");

/// Reads `?2` bans after the key `?1`.
pub(crate) const LIST: &str =
    concat!("SELECT ", ban_columns!(), " FROM bans WHERE key > ?1 ORDER BY key LIMIT ?2");

macro_rules! with_key {
    () => {
        " FROM bans WHERE key IN (SELECT value FROM json_each(?1))"
    };
}

macro_rules! with_tbs {
    () => {
        " FROM bans WHERE tbs IN (SELECT unhex(value) FROM json_each(?1))"
    };
}

/// Reads the bans whose key is in the list `?1`.
pub(crate) const BY_KEYS: &str = concat!("SELECT ", ban_columns!(), with_key!());

/// Reads the bans on certificates that are known by what their issuer signed, the hash of which is in
/// the list `?1`.
pub(crate) const BY_ANY_TBS: &str = concat!("SELECT ", ban_columns!(), with_tbs!());

/// Reads keys and versions of what [`BY_KEYS`] finds.
pub(crate) const VERSIONS_BY_KEYS: &str = concat!("SELECT key, version", with_key!());

/// Reads keys and versions of what [`BY_ANY_TBS`] finds.
pub(crate) const VERSIONS_BY_ANY_TBS: &str = concat!("SELECT key, version", with_tbs!());

/// Reads the bans on CAs the hash of whose name is in the list `?1`.
pub(crate) const BY_CAS: &str = concat!(
    "SELECT ",
    ban_columns!(),
    " FROM bans WHERE ca_subject IN (SELECT unhex(value) FROM json_each(?1))"
);

const PUT: &str = concat!(
    "INSERT OR REPLACE INTO bans (key, ca_subject, tbs, ",
    ban_columns!(),
    ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)"
);

words!(BanKind {
    BanKind::Suspended => "suspended",
    BanKind::Retired => "retired",
    BanKind::Revoked => "revoked",
});

/// Whether there is a ban of this key.
pub(crate) fn exists(db: Db<'_>, key: &str) -> Result<bool> {
    db.prepare_cached("SELECT 1 FROM bans WHERE key = ?1")?.exists([key])
}

/// Deletes the ban of a key; whether it was one on a CA, if there was one.
pub(crate) fn delete(db: Db<'_>, key: &str) -> Result<Option<bool>> {
    let sql = "DELETE FROM bans WHERE key = ?1 RETURNING ca_subject IS NOT NULL";
    db.prepare_cached(sql)?.query_row([key], |row| row.get(0)).optional()
}

/// Inserts or replaces the ban of its subject's key.
pub(crate) fn put(db: Db<'_>, key: &str, ban: &Ban, version: Version) -> Result<()> {
    let mut statement = db.prepare_cached(PUT)?;
    let mut binder = Binder::new(db, &mut statement);
    binder.put(key)?;
    binder.put(match &ban.subject {
        BanSubject::Ca(certificate) => Some(certificate.keys.subject),
        BanSubject::Registration(_)
        | BanSubject::Certificate { .. }
        | BanSubject::CertificateSha1 { .. }
        | BanSubject::Serial { .. }
        | BanSubject::EndorsementKey(_) => None,
    })?;
    binder.put(ban.subject.tbs().copied())?;
    binder.document(&SubjectRow::from(&ban.subject))?;
    binder.word(ban.kind)?;
    binder.put(&ban.reason)?;
    binder.put(&ban.by.policy)?;
    binder.put(ban.by.address.map(|address| address.to_string()))?;
    binder.time(ban.created)?;
    binder.optional_time(ban.expires)?;
    binder.put(ban.receipt.as_ref().map(ReceiptId::as_str))?;
    binder.unsigned(version)?;
    binder.run()?;
    Ok(())
}

/// Reads a row of bans.
pub(crate) fn read(columns: &mut Columns<'_, '_>) -> Result<Ban> {
    Ok(Ban {
        subject: {
            let subject: SubjectRow = columns.document()?;
            subject.into_model().map_err(|why| columns.unreadable(why))?
        },
        kind: columns.word()?,
        reason: columns.take()?,
        by: Caller {
            policy: columns.take()?,
            address: columns.optional_text(str::parse::<IpAddr>)?,
        },
        created: columns.time()?,
        expires: columns.optional_time()?,
        receipt: columns.optional_text(ReceiptId::parse)?,
        version: columns.unsigned()?,
    })
}

/// Whom a ban keeps out, as a document.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum SubjectRow {
    Registration(String),
    Certificate { thumbprint: Base64, tbs: Option<Base64> },
    CertificateSha1 { thumbprint: Base64, tbs: Option<Base64> },
    Ca(Box<CertificateRow>),
    Serial { issuer: Base64, issuer_name: String, serial: String },
    EndorsementKey(Base64),
}

impl From<&BanSubject> for SubjectRow {
    fn from(subject: &BanSubject) -> Self {
        match subject {
            BanSubject::Registration(id) => Self::Registration(id.as_str().to_owned()),
            BanSubject::Certificate { sha256, tbs } => Self::Certificate {
                thumbprint: Base64(sha256.to_vec()),
                tbs: tbs.map(|tbs| Base64(tbs.to_vec())),
            },
            BanSubject::CertificateSha1 { sha1, tbs } => Self::CertificateSha1 {
                thumbprint: Base64(sha1.to_vec()),
                tbs: tbs.map(|tbs| Base64(tbs.to_vec())),
            },
            BanSubject::Ca(certificate) => Self::Ca(Box::new((&**certificate).into())),
            BanSubject::Serial { issuer, issuer_name, serial } => Self::Serial {
                issuer: Base64(issuer.to_vec()),
                issuer_name: issuer_name.clone(),
                serial: serial.clone(),
            },
            BanSubject::EndorsementKey(sha256) => Self::EndorsementKey(Base64(sha256.to_vec())),
        }
    }
}

impl SubjectRow {
    /// The subject, unless a hash has another length.
    pub(crate) fn into_model(self) -> Result<BanSubject, &'static str> {
        Ok(match self {
            Self::Registration(id) => BanSubject::Registration(
                RegistrationId::parse(&id).map_err(|_| "a registration ID that is none")?,
            ),
            Self::Certificate { thumbprint, tbs } => BanSubject::Certificate {
                sha256: hash(thumbprint)?,
                tbs: tbs.map(hash).transpose()?,
            },
            Self::CertificateSha1 { thumbprint, tbs } => BanSubject::CertificateSha1 {
                sha1: hash(thumbprint)?,
                tbs: tbs.map(hash).transpose()?,
            },
            Self::Ca(certificate) => BanSubject::Ca(Box::new(certificate.into_model()?)),
            Self::Serial { issuer, issuer_name, serial } => {
                BanSubject::Serial { issuer: hash(issuer)?, issuer_name, serial }
            }
            Self::EndorsementKey(sha256) => BanSubject::EndorsementKey(hash(sha256)?),
        })
    }
}

fn hash<const N: usize>(bytes: Base64) -> Result<[u8; N], &'static str> {
    bytes.0.try_into().map_err(|_| "a hash of another length")
}

//! Certificates inside documents, and the rows of the CA store.

use model::{
    CaCertificate, CaKeys, CertificateInfo, EnrolledCertificate, Etag, Slots, Timestamp, Version,
};
use rusqlite::Result;
use serde::{Deserialize, Serialize};

use crate::codec::{Base64, Binder, Columns, Db};

macro_rules! ca_columns {
    () => {
        "name, certificate, verified, pending_code, etag, created, last_updated, version"
    };
}

/// Reads the CA certificate of a name, `?1`.
pub(crate) const FIND_CA: &str =
    concat!("SELECT ", ca_columns!(), " FROM ca_certificates WHERE name = ?1");

/// Reads all CA certificates.
pub(crate) const LIST_CA: &str =
    concat!("SELECT ", ca_columns!(), " FROM ca_certificates ORDER BY name");

const PUT_CA: &str = concat!(
    "INSERT OR REPLACE INTO ca_certificates (",
    ca_columns!(),
    ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"
);

/// Inserts or replaces a CA certificate.
pub(crate) fn put_ca(db: Db<'_>, certificate: &CaCertificate, version: Version) -> Result<()> {
    let mut statement = db.prepare_cached(PUT_CA)?;
    let mut binder = Binder::new(db, &mut statement);
    binder.put(&certificate.name)?;
    binder.document(&CertificateRow::from(&certificate.certificate))?;
    binder.put(certificate.verified)?;
    binder.put(&certificate.pending_code)?;
    binder.put(certificate.etag.as_str())?;
    binder.time(certificate.created)?;
    binder.time(certificate.last_updated)?;
    binder.unsigned(version)?;
    binder.run()?;
    Ok(())
}

/// Reads a row of the CA store.
pub(crate) fn read_ca(columns: &mut Columns<'_, '_>) -> Result<CaCertificate> {
    let name = columns.take()?;
    let certificate: CertificateRow = columns.document()?;
    let certificate = certificate.into_model().map_err(|why| columns.unreadable(why))?;
    Ok(CaCertificate {
        name,
        certificate,
        verified: columns.take()?,
        pending_code: columns.take()?,
        etag: columns.text(|text| Ok::<_, String>(Etag::from_stored(text)))?,
        created: columns.time()?,
        last_updated: columns.time()?,
        version: columns.unsigned()?,
    })
}

/// A certificate inside a document.
#[derive(Serialize, Deserialize)]
pub(crate) struct CertificateRow {
    der: Base64,
    subject_name: String,
    sha1_thumbprint: String,
    sha256_thumbprint: String,
    issuer_name: String,
    not_before: i64,
    not_after: i64,
    serial_number: String,
    version: u32,
    subject_hash: Base64,
    subject_and_key_hash: Base64,
    issuer_hash: Base64,
}

impl From<&EnrolledCertificate> for CertificateRow {
    fn from(certificate: &EnrolledCertificate) -> Self {
        let EnrolledCertificate { der, info, keys } = certificate;
        Self {
            der: Base64(der.clone()),
            subject_name: info.subject_name.clone(),
            sha1_thumbprint: info.sha1_thumbprint.clone(),
            sha256_thumbprint: info.sha256_thumbprint.clone(),
            issuer_name: info.issuer_name.clone(),
            not_before: info.not_before.ticks(),
            not_after: info.not_after.ticks(),
            serial_number: info.serial_number.clone(),
            version: info.version,
            subject_hash: Base64(keys.subject.to_vec()),
            subject_and_key_hash: Base64(keys.subject_and_key.to_vec()),
            issuer_hash: Base64(keys.issuer.to_vec()),
        }
    }
}

impl CertificateRow {
    /// The certificate, unless a hash has not 32 bytes.
    pub(crate) fn into_model(self) -> Result<EnrolledCertificate, &'static str> {
        let hash = |bytes: Base64| bytes.0.try_into().map_err(|_| "a hash that has not 32 bytes");
        Ok(EnrolledCertificate {
            der: self.der.0,
            info: CertificateInfo {
                subject_name: self.subject_name,
                sha1_thumbprint: self.sha1_thumbprint,
                sha256_thumbprint: self.sha256_thumbprint,
                issuer_name: self.issuer_name,
                not_before: Timestamp::from_ticks(self.not_before),
                not_after: Timestamp::from_ticks(self.not_after),
                serial_number: self.serial_number,
                version: self.version,
            },
            keys: CaKeys {
                subject: hash(self.subject_hash)?,
                subject_and_key: hash(self.subject_and_key_hash)?,
                issuer: hash(self.issuer_hash)?,
            },
        })
    }
}

/// A primary and a secondary of something inside a document.
#[derive(Serialize, Deserialize)]
pub(crate) struct SlotsRow<T> {
    pub(crate) primary: Option<T>,
    pub(crate) secondary: Option<T>,
}

impl From<&Slots<EnrolledCertificate>> for SlotsRow<CertificateRow> {
    fn from(slots: &Slots<EnrolledCertificate>) -> Self {
        Self {
            primary: slots.primary.as_ref().map(CertificateRow::from),
            secondary: slots.secondary.as_ref().map(CertificateRow::from),
        }
    }
}

impl SlotsRow<CertificateRow> {
    /// The certificates.
    pub(crate) fn into_model(self) -> Result<Slots<EnrolledCertificate>, &'static str> {
        Ok(Slots {
            primary: self.primary.map(CertificateRow::into_model).transpose()?,
            secondary: self.secondary.map(CertificateRow::into_model).transpose()?,
        })
    }
}

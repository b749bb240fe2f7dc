//! Values to columns and back: the small pieces every row is made of.

use std::{error::Error as StdError, ops::Deref};

use base64::{Engine, engine::general_purpose::STANDARD};
use model::{
    AllocationPolicy, AttestationKind, AuthenticationKind, DeviceStatus, Json, ProvisioningStatus,
    RegistrationStatus, Reprovision, Sent, Substatus, SymmetricKey, SymmetricKeys, Timestamp,
};
use rusqlite::{
    Connection, Error, Result, Row, Statement, ToSql,
    types::{FromSql, Type},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, de::DeserializeOwned};

use crate::vault::{Place, Vault};

/// A connection, and what seals and opens its secrets.
#[derive(Clone, Copy)]
pub(crate) struct Db<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) vault: &'a Vault,
}

impl Deref for Db<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}

/// A value of ours as JSON text.
pub(crate) fn json_text(value: &(impl Serialize + ?Sized)) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::ToSqlConversionFailure(Box::new(error)))
}

/// Binds a statement's parameters, one after the other.
pub(crate) struct Binder<'a, 'c> {
    statement: &'a mut Statement<'c>,
    vault: &'a Vault,
    next: usize,
}

impl<'a, 'c> Binder<'a, 'c> {
    /// Begins at `?1`.
    pub(crate) fn new(db: Db<'a>, statement: &'a mut Statement<'c>) -> Self {
        Self { statement, vault: db.vault, next: 1 }
    }

    /// Binds the next parameter.
    pub(crate) fn put(&mut self, value: impl ToSql) -> Result<()> {
        self.statement.raw_bind_parameter(self.next, value)?;
        self.next += 1;
        Ok(())
    }

    /// Binds one of a closed set of words.
    pub(crate) fn word(&mut self, value: impl Word) -> Result<()> {
        self.put(value.word())
    }

    /// Binds an unsigned number as the signed one of the same bits.
    pub(crate) fn unsigned(&mut self, value: u64) -> Result<()> {
        self.put(value.cast_signed())
    }

    /// Binds a moment.
    pub(crate) fn time(&mut self, value: Timestamp) -> Result<()> {
        self.put(value.ticks())
    }

    /// Binds a moment that may be missing.
    pub(crate) fn optional_time(&mut self, value: Option<Timestamp>) -> Result<()> {
        self.put(value.map(Timestamp::ticks))
    }

    /// Binds the operator's JSON.
    pub(crate) fn json(&mut self, value: &Json) -> Result<()> {
        self.put(value.to_string())
    }

    /// Binds the operator's JSON, or nothing.
    pub(crate) fn optional_json(&mut self, value: Option<&Json>) -> Result<()> {
        self.put(value.map(Json::to_string))
    }

    /// Binds a document of ours as JSON text.
    pub(crate) fn document(&mut self, value: &impl Serialize) -> Result<()> {
        self.put(json_text(value)?)
    }

    /// Binds a secret, sealed for its place, or null.
    pub(crate) fn secret(
        &mut self,
        place: Place<'_>,
        column: &str,
        secret: Option<&str>,
    ) -> Result<()> {
        let sealed = secret
            .map(|secret| self.vault.seal(place, column, secret.as_bytes()))
            .transpose()
            .map_err(|error| Error::ToSqlConversionFailure(Box::new(error)))?;
        self.put(sealed)
    }

    /// Binds two keys, sealed for the columns `primary_key` and `secondary_key`, or two nulls.
    pub(crate) fn keys(&mut self, place: Place<'_>, keys: Option<&SymmetricKeys>) -> Result<()> {
        self.named_keys(place, ["primary_key", "secondary_key"], keys)
    }

    /// Binds two keys, sealed for columns of other names, or two nulls.
    pub(crate) fn named_keys(
        &mut self,
        place: Place<'_>,
        [primary, secondary]: [&str; 2],
        keys: Option<&SymmetricKeys>,
    ) -> Result<()> {
        self.secret(place, primary, keys.map(|keys| keys.primary.reveal()))?;
        self.secret(place, secondary, keys.map(|keys| keys.secondary.reveal()))
    }

    /// Runs the statement and returns how many rows it changed.
    pub(crate) fn run(self) -> Result<usize> {
        self.statement.raw_execute()
    }
}

/// Takes a row's columns, one after the other.
pub(crate) struct Columns<'a, 'r> {
    row: &'a Row<'r>,
    vault: &'a Vault,
    next: usize,
}

impl<'a, 'r> Columns<'a, 'r> {
    /// Begins at the first column.
    pub(crate) const fn new(db: Db<'a>, row: &'a Row<'r>) -> Self {
        Self { row, vault: db.vault, next: 0 }
    }

    /// Takes the next column.
    pub(crate) fn take<T: FromSql>(&mut self) -> Result<T> {
        let value = self.row.get(self.next)?;
        self.next += 1;
        Ok(value)
    }

    /// Takes a text and reads it.
    pub(crate) fn text<T, E>(&mut self, read: impl FnOnce(&str) -> Result<T, E>) -> Result<T>
    where
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        let at = self.next;
        self.optional_text(read)?.ok_or(Error::InvalidColumnType(at, String::new(), Type::Null))
    }

    /// Takes a text that may be missing and reads it.
    pub(crate) fn optional_text<T, E>(
        &mut self,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>>
    where
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        let at = self.next;
        self.next += 1;
        let text = self.row.get_ref(at)?.as_str_or_null().map_err(|e| unreadable(at, e))?;
        text.map(read).transpose().map_err(|error| unreadable(at, error))
    }

    /// Takes one of a closed set of words.
    pub(crate) fn word<W: Word>(&mut self) -> Result<W> {
        self.text(read_word)
    }

    /// Takes one of a closed set of words, or nothing.
    pub(crate) fn optional_word<W: Word>(&mut self) -> Result<Option<W>> {
        self.optional_text(read_word)
    }

    /// Takes an unsigned number.
    pub(crate) fn unsigned(&mut self) -> Result<u64> {
        Ok(self.take::<i64>()?.cast_unsigned())
    }

    /// Takes a moment.
    pub(crate) fn time(&mut self) -> Result<Timestamp> {
        Ok(Timestamp::from_ticks(self.take()?))
    }

    /// Takes a moment that may be missing.
    pub(crate) fn optional_time(&mut self) -> Result<Option<Timestamp>> {
        Ok(self.take::<Option<i64>>()?.map(Timestamp::from_ticks))
    }

    /// Takes the operator's JSON.
    pub(crate) fn json(&mut self) -> Result<Json> {
        self.text(parse_json)
    }

    /// Takes the operator's JSON, if any.
    pub(crate) fn optional_json(&mut self) -> Result<Option<Json>> {
        self.optional_text(parse_json)
    }

    /// Takes a document of ours.
    pub(crate) fn document<T: DeserializeOwned>(&mut self) -> Result<T> {
        self.text(|text| serde_json::from_str(text))
    }

    /// Takes a document of ours, if any.
    pub(crate) fn optional_document<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        self.optional_text(|text| serde_json::from_str(text))
    }

    /// Takes a secret that was sealed for this place, if any, and reads it.
    pub(crate) fn secret<T, E>(
        &mut self,
        place: Place<'_>,
        column: &str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>>
    where
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        let at = self.next;
        self.next += 1;
        let sealed = self.row.get_ref(at)?.as_blob_or_null().map_err(|e| unreadable(at, e))?;
        let Some(sealed) = sealed else { return Ok(None) };
        let secret = self.vault.open(place, column, sealed).map_err(|e| unreadable(at, e))?;
        let text = std::str::from_utf8(&secret).map_err(|_| unreadable(at, "not UTF-8"))?;
        read(text).map(Some).map_err(|error| unreadable(at, error))
    }

    /// Takes two keys from the columns `primary_key` and `secondary_key`, or two nulls.
    pub(crate) fn keys(&mut self, place: Place<'_>) -> Result<Option<SymmetricKeys>> {
        self.named_keys(place, ["primary_key", "secondary_key"])
    }

    /// Takes two keys from columns of other names, or two nulls.
    pub(crate) fn named_keys(
        &mut self,
        place: Place<'_>,
        [primary, secondary]: [&str; 2],
    ) -> Result<Option<SymmetricKeys>> {
        let primary = self.secret(place, primary, SymmetricKey::parse)?;
        let secondary = self.secret(place, secondary, SymmetricKey::parse)?;
        Ok(primary.zip(secondary).map(|(primary, secondary)| SymmetricKeys { primary, secondary }))
    }

    /// The error for a column before the next one that cannot be what it says.
    pub(crate) fn unreadable(&self, why: &'static str) -> Error {
        unreadable(self.next.saturating_sub(1), why)
    }
}

fn unreadable(at: usize, error: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
    Error::FromSqlConversionFailure(at, Type::Text, error.into())
}

/// What was accepted once is read again, so these limits lie far above those of the doors.
const STORED_JSON: json::Limits =
    json::Limits { max_bytes: 64 * 1024 * 1024, max_depth: 128, max_values: 10_000_000 };

/// Reads JSON that was accepted once.
pub(crate) fn parse_json(text: &str) -> Result<Json, json::BadJson> {
    STORED_JSON.parse(text.as_bytes())
}

fn read_word<W: Word>(text: &str) -> Result<W, &'static str> {
    W::from_word(text).ok_or("a word that this release does not know")
}

/// A closed set of words that stand for an enum's variants.
pub(crate) trait Word: Sized {
    /// The word of a variant.
    fn word(self) -> &'static str;
    /// The variant of a word.
    fn from_word(word: &str) -> Option<Self>;
}

/// Writes each pair once, for both directions.
macro_rules! words {
    ($type:ty { $($variant:pat => $value:expr, $word:literal;)* }) => {
        impl $crate::codec::Word for $type {
            fn word(self) -> &'static str {
                match self { $($variant => $word,)* }
            }

            fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some($value),)* _ => None }
            }
        }
    };
    ($type:ty { $($variant:path => $word:literal,)* }) => {
        impl $crate::codec::Word for $type {
            fn word(self) -> &'static str {
                match self { $($variant => $word,)* }
            }

            fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some($variant),)* _ => None }
            }
        }
    };
}
pub(crate) use words;

words!(AttestationKind {
    AttestationKind::SymmetricKey => "symmetricKey",
    AttestationKind::X509 => "x509",
    AttestationKind::Tpm => "tpm",
});

words!(AllocationPolicy {
    AllocationPolicy::Hashed => "hashed",
    AllocationPolicy::GeoLatency => "geoLatency",
    AllocationPolicy::Static => "static",
    AllocationPolicy::Custom => "custom",
});

words!(Sent<ProvisioningStatus> {
    Self::Absent => Self::Absent, "absent";
    Self::Null => Self::Null, "null";
    Self::Value(ProvisioningStatus::Enabled) => Self::Value(ProvisioningStatus::Enabled), "enabled";
    Self::Value(ProvisioningStatus::Disabled) => Self::Value(ProvisioningStatus::Disabled), "disabled";
});

words!(RegistrationStatus {
    RegistrationStatus::Assigning => "assigning",
    RegistrationStatus::Assigned => "assigned",
    RegistrationStatus::Failed => "failed",
    RegistrationStatus::Disabled => "disabled",
});

words!(Substatus {
    Substatus::InitialAssignment => "initialAssignment",
    Substatus::DeviceDataMigrated => "deviceDataMigrated",
    Substatus::DeviceDataReset => "deviceDataReset",
    Substatus::ReprovisionedToInitialAssignment => "reprovisionedToInitialAssignment",
});

words!(Reprovision {
    Reprovision::Never => "never",
    Reprovision::WithData => "withData",
    Reprovision::WithInitialTwin => "withInitialTwin",
});

words!(DeviceStatus {
    DeviceStatus::Enabled => "enabled",
    DeviceStatus::Disabled => "disabled",
});

words!(AuthenticationKind {
    AuthenticationKind::Sas => "sas",
    AuthenticationKind::SelfSigned => "selfSigned",
    AuthenticationKind::CertificateAuthority => "certificateAuthority",
});

/// Bytes as base64 inside a document.
pub(crate) struct Base64(pub(crate) Vec<u8>);

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Self).map_err(de::Error::custom)
    }
}

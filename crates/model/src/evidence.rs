//! What a device showed, and what it asked for.

use std::fmt;

use crate::{Json, RegistrationId};

/// A certificate as it came over the wire: DER, not yet looked at.
#[derive(Clone, PartialEq, Eq)]
pub struct CertificateDer(pub Vec<u8>);

impl fmt::Debug for CertificateDer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertificateDer({} bytes)", self.0.len())
    }
}

/// What a device showed to prove itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// A chain whose leaf key's possession the TLS handshake proved; leaf first, as sent.
    X509(Vec<CertificateDer>),
    /// A shared access signature.
    Sas(SasToken),
    /// A TPM's keys, before its proof.
    Tpm {
        /// The endorsement key, TPM2B_PUBLIC.
        endorsement_key: Vec<u8>,
        /// The storage root key, TPM2B_PUBLIC.
        storage_root_key: Option<Vec<u8>>,
    },
    /// Nothing at all.
    Nothing,
}

/// A shared access signature, taken apart but not yet verified.
///
/// The signed text is `resource_raw + "\n" + expiry_raw`, both exactly as they stood in the
/// token: clients disagree on the encoding and sign what they send (D §0.5).
#[derive(Clone, PartialEq, Eq)]
pub struct SasToken {
    /// `sr` as it stood in the token.
    pub resource_raw: String,
    /// `sr` percent-decoded once.
    pub resource: String,
    /// `se` as it stood in the token.
    pub expiry_raw: String,
    /// `se` as seconds since 1970.
    pub expiry_unix_secs: i64,
    /// `sig`, decoded.
    pub signature: Vec<u8>,
    /// `skn`, if there and not empty.
    pub key_name: Option<String>,
}

/// Prints no signature: with it a log would hold a working credential.
impl fmt::Debug for SasToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SasToken")
            .field("resource", &self.resource)
            .field("expiry_unix_secs", &self.expiry_unix_secs)
            .field("key_name", &self.key_name)
            .finish_non_exhaustive()
    }
}

/// The api-versions of the device and service APIs that we answer (D §0.4, O §1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ApiVersion {
    /// `2017-08-31-preview`
    V2017_08_31Preview,
    /// `2017-11-15`
    V2017_11_15,
    /// `2018-04-01`: the last with a sticky hub when there is no reprovision policy.
    V2018_04_01,
    /// `2018-09-01-preview`
    V2018_09_01Preview,
    /// `2018-11-01`
    V2018_11_01,
    /// `2019-03-31`
    V2019_03_31,
    /// `2021-06-01`
    V2021_06_01,
    /// `2021-10-01`
    V2021_10_01,
    /// `2021-11-01-preview`
    V2021_11_01Preview,
    /// `2025-07-01-preview`
    V2025_07_01Preview,
    /// `2026-04-01`
    V2026_04_01,
    /// `2026-11-01`
    V2026_11_01,
}

impl ApiVersion {
    /// Every version we answer, oldest first, with its text.
    pub const ALL: [(Self, &'static str); 12] = [
        (Self::V2017_08_31Preview, "2017-08-31-preview"),
        (Self::V2017_11_15, "2017-11-15"),
        (Self::V2018_04_01, "2018-04-01"),
        (Self::V2018_09_01Preview, "2018-09-01-preview"),
        (Self::V2018_11_01, "2018-11-01"),
        (Self::V2019_03_31, "2019-03-31"),
        (Self::V2021_06_01, "2021-06-01"),
        (Self::V2021_10_01, "2021-10-01"),
        (Self::V2021_11_01Preview, "2021-11-01-preview"),
        (Self::V2025_07_01Preview, "2025-07-01-preview"),
        (Self::V2026_04_01, "2026-04-01"),
        (Self::V2026_11_01, "2026-11-01"),
    ];

    /// The version with this text, if we answer it.
    #[must_use]
    pub fn find(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, t)| *t == text).map(|(v, _)| *v)
    }

    /// Whether a missing reprovision policy means “keep the hub” (D §0.4, §5.9).
    #[must_use]
    pub fn has_sticky_hub(self) -> bool {
        self <= Self::V2018_04_01
    }
}

/// A device asks to be registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisterRequest {
    /// The name it registers under, as it spelled it.
    pub registration_id: RegistrationId,
    /// What it showed.
    pub evidence: Evidence,
    /// Its custom payload, as received.
    pub payload: Option<Json>,
    /// The version it speaks.
    pub api_version: ApiVersion,
}

/// The random bytes one decision may use. Randomness is an argument, so that a test can say what
/// it is; each field is used for one thing only.
#[derive(Clone)]
pub struct Fresh {
    /// For the etag of what is written.
    pub etag: [u8; 16],
    /// For the operation's id.
    pub operation: [u8; 16],
    /// For a generated primary key.
    pub primary_key: [u8; 64],
    /// For a generated secondary key.
    pub secondary_key: [u8; 64],
    /// Where a new device identity's etag counter starts.
    pub counter: u32,
}

/// Prints nothing of the bytes: keys are made of them.
impl fmt::Debug for Fresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fresh(secret)")
    }
}

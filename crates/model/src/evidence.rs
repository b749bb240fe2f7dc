//! What a device showed, and what it asked for.

use std::fmt;

use crate::{Json, RegistrationId, SymmetricKey, Timestamp};

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
    Tpm(TpmKeys),
    /// A TPM's answer to a challenge that the connection remembers, as over AMQP (D §3.3). Over
    /// HTTPS a TPM answers with a [`SasToken`], and the store remembers the challenge.
    TpmAnswer {
        /// What it was asked.
        challenge: Box<TpmChallenge>,
        /// What it signed with the challenge's key.
        token: Box<SasToken>,
    },
    /// Nothing at all.
    Nothing,
}

/// What a TPM says of itself. Public, and no proof of anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmKeys {
    /// The endorsement key, TPM2B_PUBLIC.
    pub endorsement_key: Vec<u8>,
    /// The storage root key, TPM2B_PUBLIC.
    pub storage_root_key: Option<Vec<u8>>,
    /// The endorsement key's certificate, and those between it and its vendor's; empty from every
    /// client of the vendor. **An extension of Induct.**
    pub endorsement_certificates: Vec<CertificateDer>,
}

/// How long a challenge can be answered, in seconds; polls are signed with its key as well, for
/// tokens live an hour (D §1.10).
pub const TPM_CHALLENGE_LIFE_SECS: i64 = 3600;

/// How many challenges of one registration ID can be answered, the latest ones (D §1.10); counted
/// apart by [`TpmChallenge::enrolled_root`].
pub const MAX_TPM_CHALLENGES: usize = 2;

/// What a TPM was asked: to unwrap a key and to sign with it, which only the TPM that has both of
/// these keys can (D §5.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmChallenge {
    /// Who registers.
    pub registration_id: RegistrationId,
    /// The endorsement key, TPM2B_PUBLIC.
    pub endorsement_key: Vec<u8>,
    /// The storage root key, TPM2B_PUBLIC.
    pub storage_root_key: Vec<u8>,
    /// Whether the enrollment holds that storage root key. An endorsement key is public, and who
    /// knows it can ask with storage root keys of their own making; those never take the place of
    /// this one.
    pub enrolled_root: bool,
    /// The endorsement key's certificate and those behind it, as the device showed them; where the
    /// answer does not depend on them, as it showed them first.
    pub endorsement_certificates: Vec<CertificateDer>,
    /// SHA-256 of the subjects and issuers of those certificates, which groups are found by; empty
    /// where the answer does not depend on any.
    pub endorsement_names: Vec<[u8; 32]>,
    /// The keys of the bans that could be about the TPM and those certificates: its answer is a
    /// token, which shows neither.
    pub ban_keys: Vec<String>,
    /// The key to sign with, 32 bytes. A secret.
    pub key: SymmetricKey,
    /// Until when it can be answered.
    pub expires: Timestamp,
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
    /// For a key that is wrapped for a TPM.
    pub tpm: TpmRandom,
}

/// The random bytes of a key that is wrapped for a TPM (D appendix A.3).
#[derive(Clone)]
pub struct TpmRandom {
    /// The key itself: a challenge's, or a device's on its hub.
    pub key: [u8; 32],
    /// The inner wrap key.
    pub inner: [u8; 16],
    /// The seed of the credential.
    pub identity_seed: [u8; 32],
    /// The seed of the duplicate.
    pub duplication_seed: [u8; 32],
    /// What the key's public name is blinded with.
    pub obfuscation: [u8; 32],
}

/// Prints nothing of the bytes.
impl fmt::Debug for TpmRandom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TpmRandom(secret)")
    }
}

/// Prints nothing of the bytes: keys are made of them.
impl fmt::Debug for Fresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fresh(secret)")
    }
}

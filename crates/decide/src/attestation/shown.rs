//! What a device shows, taken apart.

use attest::chain::{self, Presented};
use model::{AttestFailure, Evidence, GroupQuery, PathCertificate, SasToken, TpmKeys};

use super::tpm::{Answered, ShownTpm};
use crate::ban;

/// Evidence, parsed once: before the facts are read, because it says which groups to read.
#[derive(Debug)]
pub enum Shown {
    /// A certificate chain.
    X509(Box<Presented>),
    /// A shared access signature.
    Sas(SasToken),
    /// A TPM's keys, which prove nothing.
    Tpm(Box<ShownTpm>),
    /// A TPM's answer to a challenge.
    TpmAnswer(Box<Answered>),
    /// Nothing.
    Nothing,
}

impl Shown {
    /// Parses evidence.
    ///
    /// # Errors
    /// [`AttestFailure`] when a certificate cannot be parsed or is beyond the limits;
    /// [`AttestFailure::BadTpmKey`] for one of an endorsement key.
    pub fn parse(evidence: &Evidence, limits: &chain::Limits) -> Result<Self, AttestFailure> {
        Ok(match evidence {
            Evidence::X509(certificates) => {
                Self::X509(Box::new(Presented::parse(certificates, limits)?))
            }
            Evidence::Sas(token) => Self::Sas(token.clone()),
            Evidence::Tpm(keys) => Self::Tpm(Box::new(ShownTpm::parse(keys, limits)?)),
            Evidence::TpmAnswer { challenge, token } => {
                Self::TpmAnswer(Box::new(Answered::parse(challenge, token, limits)?))
            }
            Evidence::Nothing => Self::Nothing,
        })
    }

    /// Which groups could admit its bearer.
    #[must_use]
    pub fn group_query(&self) -> GroupQuery {
        match self {
            Self::Sas(_) => GroupQuery::BySymmetricKey,
            Self::X509(_) | Self::Tpm(_) | Self::TpmAnswer(_) | Self::Nothing => {
                match self.chain() {
                    Some(chain) => GroupQuery::ByCa { subjects: chain.name_hashes() },
                    None => GroupQuery::None,
                }
            }
        }
    }

    /// The keys of the bans that could be about what is shown, the registration ID's apart.
    #[must_use]
    pub fn ban_keys(&self) -> Vec<String> {
        let mut keys: Vec<String> =
            self.certificates().iter().flat_map(PathCertificate::ban_keys).collect();
        keys.extend(self.endorsement_key().map(ban::of_endorsement_key));
        keys
    }

    /// SHA-256 of the names of the subjects and issuers in the chain shown, if there is one.
    #[must_use]
    pub fn ca_names(&self) -> Vec<[u8; 32]> {
        self.chain().map(Presented::name_hashes).unwrap_or_default()
    }

    /// Issuer and serial number of every certificate shown.
    #[must_use]
    pub fn serials(&self) -> Vec<([u8; 32], String)> {
        self.certificates().into_iter().map(|shown| (shown.issuer, shown.serial)).collect()
    }

    /// Every certificate shown, a TPM's included, in the order sent.
    #[must_use]
    pub fn certificates(&self) -> Vec<PathCertificate> {
        self.chain().map(Presented::path_certificates).unwrap_or_default()
    }

    /// The endorsement key shown, TPM2B_PUBLIC.
    #[must_use]
    pub fn endorsement_key(&self) -> Option<&[u8]> {
        match self {
            Self::Tpm(shown) => Some(&shown.keys.endorsement_key),
            Self::TpmAnswer(answered) => Some(answered.endorsement_key()),
            Self::X509(_) | Self::Sas(_) | Self::Nothing => None,
        }
    }

    /// The chain shown, a TPM's endorsement certificates included.
    pub(crate) fn chain(&self) -> Option<&Presented> {
        match self {
            Self::X509(presented) => Some(presented),
            Self::Tpm(shown) => shown.endorsement.as_ref(),
            Self::TpmAnswer(answered) => answered.endorsement.as_ref(),
            Self::Sas(_) | Self::Nothing => None,
        }
    }

    /// Whether it is a TPM that asks.
    pub(super) const fn is_tpm(&self) -> bool {
        match self {
            Self::Tpm(_) | Self::TpmAnswer(_) => true,
            Self::X509(_) | Self::Sas(_) | Self::Nothing => false,
        }
    }

    /// The keys, where these are a TPM's that has not been challenged.
    pub(crate) fn tpm_keys(&self) -> Option<&TpmKeys> {
        match self {
            Self::Tpm(shown) => Some(&shown.keys),
            Self::X509(_) | Self::Sas(_) | Self::TpmAnswer(_) | Self::Nothing => None,
        }
    }
}

//! Whether a ban keeps someone out.
//!
//! A ban outranks every enrollment, so it is looked at wherever a device could come in: before
//! anything is verified, against what was shown; and again against the verified path, which says
//! what the device rests on. Setting and lifting bans is in [`crate::manage::bans`].

use model::{
    Ban, BanKind, BanSubject, EnrolledCertificate, Grounds, KnownProof, PathCertificate,
    RegistrationId, Timestamp,
    ban::{endorsement_key, registration_key},
};

use crate::{hub::cause, manage::bans::sha256};

/// The bans of some facts that count at a moment.
#[derive(Debug)]
pub(crate) struct InForce<'f>(Vec<&'f Ban>);

impl<'f> InForce<'f> {
    pub(crate) fn new(bans: &'f [Ban], now: Timestamp) -> Self {
        Self(bans.iter().filter(|ban| ban.is_in_force(now)).collect())
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ban on a registration ID. One that retires the device is over once there is an individual
    /// enrollment of it again ([`BanKind::Retired`]).
    pub(crate) fn on_registration(
        &self,
        id: &RegistrationId,
        is_enrolled: bool,
    ) -> Option<&'f Ban> {
        if self.is_empty() {
            return None;
        }
        let ban = self.find(&registration_key(id))?;
        match ban.kind {
            BanKind::Retired if is_enrolled => None,
            BanKind::Retired | BanKind::Suspended | BanKind::Revoked => Some(ban),
        }
    }

    /// The ban on one of these certificates, in their order.
    pub(crate) fn on_certificates(&self, certificates: &[PathCertificate]) -> Option<&'f Ban> {
        if self.is_empty() {
            return None;
        }
        let keys = certificates.iter().flat_map(PathCertificate::ban_keys);
        keys.into_iter().find_map(|key| self.find(&key))
    }

    /// The ban on a TPM.
    pub(crate) fn on_endorsement_key(&self, key: &[u8]) -> Option<&'f Ban> {
        if self.is_empty() { None } else { self.find(&of_endorsement_key(key)) }
    }

    /// The ban on what a registration rests on, or on the CA above that.
    pub(crate) fn on_grounds(&self, grounds: &Grounds) -> Option<&'f Ban> {
        self.on_grounds_below(grounds, &[])
    }

    /// The same, up to any banned CA that the certificates of CAs that are known now lead to.
    pub(crate) fn on_grounds_below(
        &self,
        grounds: &Grounds,
        known: &[EnrolledCertificate],
    ) -> Option<&'f Ban> {
        let tpm = match &grounds.proof {
            KnownProof::Tpm { endorsement_key, .. } => self.on_endorsement_key(endorsement_key),
            KnownProof::Certificates(_) | KnownProof::Key { .. } => None,
        };
        let is_above = |ban: &&&Ban| match &ban.subject {
            BanSubject::Ca(ca) => cause::rests_on(grounds, ca, known),
            BanSubject::Registration(_)
            | BanSubject::Certificate { .. }
            | BanSubject::CertificateSha1 { .. }
            | BanSubject::Serial { .. }
            | BanSubject::EndorsementKey(_) => false,
        };
        tpm.or_else(|| self.on_certificates(&grounds.path))
            .or_else(|| self.0.iter().find(is_above).copied())
    }

    /// The CAs that are banned, which say themselves what rests on them.
    pub(crate) fn cas(&self) -> impl Iterator<Item = &'f EnrolledCertificate> {
        self.0.iter().filter_map(|ban| match &ban.subject {
            BanSubject::Ca(certificate) => Some(&**certificate),
            BanSubject::Registration(_)
            | BanSubject::Certificate { .. }
            | BanSubject::CertificateSha1 { .. }
            | BanSubject::Serial { .. }
            | BanSubject::EndorsementKey(_) => None,
        })
    }

    fn find(&self, key: &str) -> Option<&'f Ban> {
        self.0.iter().find(|ban| ban.subject.keys().any(|one| one == key)).copied()
    }
}

/// The key of a ban on the TPM with this endorsement key, TPM2B_PUBLIC.
#[must_use]
pub fn of_endorsement_key(key: &[u8]) -> String {
    endorsement_key(&sha256(key))
}

#[cfg(test)]
pub(crate) mod tests;

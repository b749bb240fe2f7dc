//! Bans: who is kept out whatever an enrollment says.
//!
//! A ban outranks every enrollment, and nothing but lifting it undoes it (issue “Off means off”;
//! the gap it closes is O §2: deleting the wrong entry lets a device back in).

use crate::{
    Caller, CertificateDer, EnrolledCertificate, EnrollmentGroupId, EnrollmentRef, Expect,
    ReceiptId, RegistrationId, Timestamp, Version, hex,
};

/// The longest reason that is kept with a ban, in characters.
pub const MAX_REASON_CHARS: usize = 512;

/// Keeps out whoever is its subject. There is one ban for a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ban {
    /// Whom it keeps out.
    pub subject: BanSubject,
    /// How it ends.
    pub kind: BanKind,
    /// Why, in the operator's words; at most [`MAX_REASON_CHARS`].
    pub reason: Option<String>,
    /// Who set it.
    pub by: Caller,
    /// When it was set.
    pub created: Timestamp,
    /// When it is over by itself, if ever.
    pub expires: Option<Timestamp>,
    /// The deprovisioning that set it, if one did.
    pub receipt: Option<ReceiptId>,
    /// The store's version of the row; 0 for one that was never stored.
    pub version: Version,
}

impl Ban {
    /// Whether it still counts.
    #[must_use]
    pub fn is_in_force(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}

/// How a ban ends, besides its expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BanKind {
    /// When the device is reinstated.
    Suspended,
    /// Of a registration ID: when there is an individual enrollment of it again; until then no
    /// group admits it. Retiring a device deletes its own enrollment, so one that is there was
    /// made since.
    Retired,
    /// When an operator lifts it.
    Revoked,
}

/// Whom a ban keeps out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BanSubject {
    /// The device of this registration ID; letter case does not matter.
    Registration(RegistrationId),
    /// Whoever shows, or rests on, the certificate of this SHA-256 thumbprint.
    Certificate {
        /// The thumbprint.
        sha256: [u8; 32],
        /// What its issuer signed ([`PathCertificate::tbs`]), where the certificate is known.
        ///
        /// A thumbprint covers the signature as well, and whoever has an ECDSA certificate can write
        /// its signature in another way that is as good ((r, s) and (r, n − s)), without any key.
        tbs: Option<[u8; 32]>,
    },
    /// Whoever shows, or rests on, the certificate of this SHA-1 thumbprint.
    CertificateSha1 {
        /// The thumbprint.
        sha1: [u8; 20],
        /// As that of [`BanSubject::Certificate`].
        tbs: Option<[u8; 32]>,
    },
    /// Whoever rests on this CA: its name and its key, whichever certificate of it comes
    /// (docs/decisions/0006).
    Ca(Box<EnrolledCertificate>),
    /// Whoever shows, or rests on, the certificate of this issuer and serial number.
    Serial {
        /// SHA-256 of the issuer name's DER.
        issuer: [u8; 32],
        /// The issuer's name, for people.
        issuer_name: String,
        /// Upper-case hex without leading zeros.
        serial: String,
    },
    /// The TPM whose endorsement key (TPM2B_PUBLIC) has this SHA-256.
    EndorsementKey([u8; 32]),
}

impl BanSubject {
    /// The certificate of a SHA-256 thumbprint, of which nothing else is known.
    #[must_use]
    pub const fn by_sha256(sha256: [u8; 32]) -> Self {
        Self::Certificate { sha256, tbs: None }
    }

    /// The certificate of a SHA-1 thumbprint, of which nothing else is known.
    #[must_use]
    pub const fn by_sha1(sha1: [u8; 20]) -> Self {
        Self::CertificateSha1 { sha1, tbs: None }
    }

    /// What the subject is named by: one text for one subject. It is the ban's name in the API, and
    /// one of its [`keys`](Self::keys).
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Registration(id) => registration_key(id),
            Self::Certificate { sha256, .. } => sha256_key(sha256),
            Self::CertificateSha1 { sha1, .. } => sha1_key(sha1),
            Self::Ca(certificate) => ca_key(&certificate.keys.subject_and_key),
            Self::Serial { issuer, serial, .. } => serial_key(issuer, serial),
            Self::EndorsementKey(sha256) => endorsement_key(sha256),
        }
    }

    /// All that the subject is found by: its [`key`](Self::key), and what its issuer signed.
    pub fn keys(&self) -> impl Iterator<Item = String> {
        std::iter::once(self.key()).chain(self.tbs().map(tbs_key))
    }

    /// Of a certificate that is known, what its issuer signed ([`PathCertificate::tbs`]).
    #[must_use]
    pub const fn tbs(&self) -> Option<&[u8; 32]> {
        match self {
            Self::Certificate { tbs, .. } | Self::CertificateSha1 { tbs, .. } => tbs.as_ref(),
            Self::Registration(_) | Self::Ca(_) | Self::Serial { .. } | Self::EndorsementKey(_) => {
                None
            }
        }
    }
}

/// The key of a ban on a registration ID.
#[must_use]
pub fn registration_key(id: &RegistrationId) -> String {
    format!("registration:{}", id.key())
}

/// The [`RegistrationId::key`] in a key that [`registration_key`] made; nothing for any other key.
#[must_use]
pub fn parse_registration_key(key: &str) -> Option<&str> {
    key.strip_prefix("registration:")
}

/// The key of a ban on an endorsement key, by the SHA-256 of its TPM2B_PUBLIC.
#[must_use]
pub fn endorsement_key(sha256: &[u8; 32]) -> String {
    hex::lower_after("endorsement-key:", sha256)
}

/// The key of a ban on a certificate's SHA-256 thumbprint.
#[must_use]
pub fn sha256_key(sha256: &[u8; 32]) -> String {
    hex::lower_after("sha256:", sha256)
}

/// The key of a ban on a certificate's SHA-1 thumbprint.
#[must_use]
pub fn sha1_key(sha1: &[u8; 20]) -> String {
    hex::lower_after("sha1:", sha1)
}

/// The key of a ban on a certificate, by what its issuer signed ([`PathCertificate::tbs`]).
#[must_use]
pub fn tbs_key(tbs: &[u8; 32]) -> String {
    hex::lower_after("tbs:", tbs)
}

/// The key of a ban on a CA, by [`CaKeys::subject_and_key`](crate::CaKeys::subject_and_key).
#[must_use]
pub fn ca_key(subject_and_key: &[u8; 32]) -> String {
    hex::lower_after("ca:", subject_and_key)
}

/// The key of a ban on an issuer and serial number.
#[must_use]
pub fn serial_key(issuer: &[u8; 32], serial: &str) -> String {
    let mut key = hex::lower_after("serial:", issuer);
    key.push(':');
    key.push_str(serial);
    key
}

/// Issuer and serial number of a key that [`serial_key`] made; nothing for any other key.
#[must_use]
pub fn parse_serial_key(key: &str) -> Option<([u8; 32], String)> {
    let (issuer, serial) = key.strip_prefix("serial:")?.split_once(':')?;
    Some((crate::crl::parse_crl_id(issuer)?, serial.to_owned()))
}

/// One certificate of the path that an admission rests on, as bans, revocation lists and the
/// index of live sessions know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathCertificate {
    /// SHA-256 of the DER.
    pub sha256: [u8; 32],
    /// SHA-1 of the DER.
    pub sha1: [u8; 20],
    /// SHA-256 of the DER of its `TBSCertificate`: all that its issuer signed. Unlike a thumbprint it
    /// stays the same when the signature is written in another way.
    pub tbs: [u8; 32],
    /// See [`CaKeys::subject_and_key`](crate::CaKeys::subject_and_key).
    pub subject_and_key: [u8; 32],
    /// SHA-256 of the subject's DER.
    pub subject: [u8; 32],
    /// SHA-256 of the issuer name's DER.
    pub issuer: [u8; 32],
    /// Serial number, upper-case hex without leading zeros.
    pub serial: String,
    /// The subject's name, for people.
    pub subject_name: String,
}

impl PathCertificate {
    /// The keys of all bans that would be about this certificate.
    #[must_use]
    pub fn ban_keys(&self) -> [String; 5] {
        [
            sha256_key(&self.sha256),
            sha1_key(&self.sha1),
            tbs_key(&self.tbs),
            ca_key(&self.subject_and_key),
            serial_key(&self.issuer, &self.serial),
        ]
    }
}

/// What a device's admission rests on, without any secret: enough to ask again whether it would be
/// admitted (`simulate-change`, `deprovision`), and to find the devices that rest on a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grounds {
    /// What it proved itself with.
    pub proof: KnownProof,
    /// The verified path, leaf first, up to the highest certificate that we know; empty for keys.
    pub path: Vec<PathCertificate>,
}

/// What a device is known to be able to prove itself with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KnownProof {
    /// The chain it presented, leaf first, as sent.
    Certificates(Vec<CertificateDer>),
    /// A key of the enrollment that decided, or one derived from it.
    Key {
        /// Whether it was the primary one.
        is_primary: bool,
    },
    /// A TPM.
    Tpm {
        /// The endorsement key, TPM2B_PUBLIC.
        endorsement_key: Vec<u8>,
        /// The storage root key, TPM2B_PUBLIC.
        storage_root_key: Vec<u8>,
        /// The endorsement key's certificate and those behind it, as shown.
        endorsement_certificates: Vec<CertificateDer>,
    },
}

/// Where the identity that a connection uses came from: the registration that was assigned to it,
/// or the last one that was, where its record was deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The registration.
    pub registration_id: RegistrationId,
    /// The enrollment that decided.
    pub enrollment: EnrollmentRef,
    /// That enrollment as it stands; `None` when it is gone.
    pub entry: Option<OriginEntry>,
    /// The group's own word on whether its end ends sessions, also when it is gone; `None` leaves
    /// it to the service.
    pub ends_sessions: Option<bool>,
    /// The group that an individual enrollment took the device over from: its word is in
    /// `ends_sessions`, because the enrollment has none of its own.
    pub taken_from: Option<EnrollmentGroupId>,
    /// What the admission rests on; absent for registrations from before it was kept.
    pub grounds: Option<Grounds>,
    /// The other registrations that were assigned the same identity. A ban on one of them is a ban
    /// on the identity, unless it retired that registration's ID and there is an individual
    /// enrollment of it again ([`OtherRegistration::is_enrolled`]). Whether their enrollments are
    /// enabled is of no matter to it.
    pub others: Vec<OtherRegistration>,
    /// What a change set that was decided from this has to expect.
    pub expects: Vec<Expect>,
}

/// A registration that shares its identity with the one that an [`Origin`] is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherRegistration {
    /// The registration.
    pub registration_id: RegistrationId,
    /// The enrollment that decided.
    pub enrollment: EnrollmentRef,
    /// Whether that is an individual enrollment and there is one still.
    pub is_enrolled: bool,
    /// What the admission rests on, where it was kept.
    pub grounds: Option<Grounds>,
}

/// Of an enrollment, what a session that rests on it depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginEntry {
    /// Whether it is enabled.
    pub is_enabled: bool,
    /// The group's own word on whether its end ends sessions; `None` leaves it to the service.
    pub ends_sessions: Option<bool>,
    /// What admits by certificate now; `None` when it admits by something else.
    pub anchors: Option<Vec<Anchor>>,
}

/// A certificate that an enrollment admits by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// Of a group, [`CaKeys::subject_and_key`](crate::CaKeys::subject_and_key); of an individual
    /// enrollment, the SHA-256 of its leaf.
    pub key: [u8; 32],
    /// The name of the service's CA certificate that the group refers to, if it is one. Only
    /// verified ones are anchors (O §1.6).
    pub reference: Option<String>,
}

/// A ban as an operator sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BanDraft {
    /// Whom to keep out.
    pub subject: SubjectDraft,
    /// Why.
    pub reason: Option<String>,
    /// When it is to be over by itself.
    pub expires: Option<Timestamp>,
}

/// Whom to keep out, as an operator says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubjectDraft {
    /// A device, by its registration ID.
    Registration(RegistrationId),
    /// A certificate, DER: a CA's bans the CA, whichever of its certificates comes; another's bans
    /// itself.
    Certificate(Vec<u8>),
    /// A certificate by its thumbprint. One of a CA that is known here bans the CA.
    Thumbprint(Thumbprint),
    /// A certificate by its issuer and serial number.
    Serial {
        /// The issuer.
        issuer: IssuerDraft,
        /// Hex, colons and spaces ignored.
        serial: String,
    },
    /// A TPM, by its endorsement key, TPM2B_PUBLIC.
    EndorsementKey(Vec<u8>),
}

/// An issuer, as an operator names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IssuerDraft {
    /// By its certificate, DER.
    Certificate(Vec<u8>),
    /// By the thumbprint of a certificate that is enrolled here.
    Thumbprint(Thumbprint),
}

/// A certificate's thumbprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Thumbprint {
    /// SHA-1 of the DER.
    Sha1([u8; 20]),
    /// SHA-256 of the DER.
    Sha256([u8; 32]),
}

impl Thumbprint {
    /// Reads one: 40 or 64 hex digits in any letter case; colons and spaces between do not count.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = hex_digits(text, 64)?;
        let mut bytes = [0_u8; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        match digits.len() {
            64 => Some(Self::Sha256(bytes)),
            40 => {
                let mut sha1 = [0; 20];
                sha1.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
                Some(Self::Sha1(sha1))
            }
            _ => None,
        }
    }

    /// Upper-case hex, as [`CertificateInfo`](crate::CertificateInfo) has it.
    #[must_use]
    pub fn hex(&self) -> String {
        let bytes: &[u8] = match self {
            Self::Sha1(bytes) => bytes,
            Self::Sha256(bytes) => bytes,
        };
        hex::upper(bytes)
    }
}

/// The hex digits of a text, upper-case, without what may stand between them; `None` for other
/// characters, for too many digits and for none.
#[must_use]
pub fn hex_digits(text: &str, most: usize) -> Option<String> {
    let mut digits = String::new();
    for c in text.trim().chars() {
        match c {
            ':' | ' ' => {}
            c if c.is_ascii_hexdigit() && digits.len() < most => {
                digits.push(c.to_ascii_uppercase());
            }
            _ => return None,
        }
    }
    (!digits.is_empty()).then_some(digits)
}

impl SubjectDraft {
    /// The thumbprint that the store has to be asked about before it is clear who is meant.
    #[must_use]
    pub const fn asked_for(&self) -> Option<Thumbprint> {
        match self {
            Self::Thumbprint(thumbprint)
            | Self::Serial { issuer: IssuerDraft::Thumbprint(thumbprint), .. } => Some(*thumbprint),
            Self::Registration(_)
            | Self::Certificate(_)
            | Self::Serial { issuer: IssuerDraft::Certificate(_), .. }
            | Self::EndorsementKey(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thumbprint_is_read_however_tools_print_it() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(Thumbprint::parse(text).map(|t| t.hex()).as_deref(), expected, "{text}");
        };
        let sha1 = "AB".repeat(20);
        let sha256 = "0F".repeat(32);
        check(&sha1.to_lowercase(), Some(&sha1));
        check(&vec!["ab"; 20].join(":"), Some(&sha1));
        check(&sha256, Some(&sha256));
        check(&format!(" {} ", vec!["0f"; 32].join(" ")), Some(&sha256));
        check("AB", None);
        check("", None);
        check(&"0".repeat(65), None);
        check(&format!("{}x", "AB".repeat(19)), None);
    }
}

//! Enrollments: what the operator promised about one device, or about a family of them.

use std::fmt;

use crate::{
    CertificateDer, DeviceId, EnrollmentGroupId, Etag, Json, RegistrationId, SymmetricKey,
    SymmetricKeys, Timestamp, Version,
};

/// What the operator promised about one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndividualEnrollment {
    /// The device's registration ID, in the operator's spelling.
    pub registration_id: RegistrationId,
    /// The name in the hub; absent means the registration ID.
    pub device_id: Option<DeviceId>,
    /// Any JSON object of the operator's, echoed verbatim (O §1.6).
    pub optional_device_information: Option<Json>,
    /// Everything that groups have as well.
    pub terms: Terms,
}

/// What the operator promised about a family of devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrollmentGroup {
    /// The group's name, in the operator's spelling.
    pub group_id: EnrollmentGroupId,
    /// Everything that individual enrollments have as well.
    pub terms: Terms,
    /// What only Induct knows of: kept when the vendor's API replaces the group.
    pub settings: GroupSettings,
}

/// What an operator sets on a group beside what the vendor's API shows. **An extension of
/// Induct.**
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GroupSettings {
    /// Whether disabling or deleting it ends the sessions that rest on it; `None` leaves it to the
    /// service's setting.
    pub disenroll_ends_sessions: Option<bool>,
    /// What becomes of devices whose issuer's revocation list is out of date; `None` admits them.
    pub stale_crl: Option<StaleCrl>,
}

/// What becomes of devices whose issuer's revocation list is out of date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StaleCrl {
    /// They are admitted: fail open.
    Admit,
    /// They are refused: fail closed.
    Refuse,
}

/// The part that individual enrollments and groups share (O §1.6).
///
/// An absent member stays absent in answers; its meaning is given by the methods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// How devices prove themselves.
    pub attestation: AttestationMechanism,
    /// `capabilities.iotEdge`, if sent.
    pub iot_edge: Option<bool>,
    /// The single hub of clients of 2018; meaning `static` to that hub. As sent.
    pub iot_hub_host_name: Option<String>,
    /// `initialTwin` as sent; a JSON object.
    pub initial_twin: Option<Json>,
    /// The version mark, new at every write.
    pub etag: Etag,
    /// The operator's switch.
    pub provisioning_status: Sent<ProvisioningStatus>,
    /// What a second registration may change, if sent.
    pub reprovision_policy: Option<ReprovisionPolicy>,
    /// When it was first written. Survives updates.
    pub created: Timestamp,
    /// When it was last written.
    pub last_updated: Timestamp,
    /// How a hub is chosen; absent means the service's policy.
    pub allocation_policy: Option<AllocationPolicy>,
    /// The hubs to choose from, as sent; absent means all linked ones.
    pub iot_hubs: Option<Vec<String>>,
    /// Whom to ask when the policy is `custom`.
    pub custom_allocation: Option<CustomAllocation>,
    /// The store's version of the row; 0 for one that was never stored.
    pub version: Version,
}

impl Terms {
    /// Whether devices may register: enabled unless said otherwise (O §1.6).
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.provisioning_status != Sent::Value(ProvisioningStatus::Disabled)
    }

    /// The same terms with their switch turned, not written yet.
    #[must_use]
    pub fn switched(&self, status: ProvisioningStatus) -> Self {
        Self { provisioning_status: Sent::Value(status), ..self.clone() }
    }

    /// The same terms with their switch turned, as they are written at this moment.
    #[must_use]
    pub fn switched_at(&self, status: ProvisioningStatus, now: Timestamp, etag: Etag) -> Self {
        Self { last_updated: now, etag, ..self.switched(status) }
    }
}

/// A member whose absence, explicit `null` and value are three things (O §0.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sent<T> {
    /// The member was not there.
    #[default]
    Absent,
    /// The member was `null`.
    Null,
    /// The member had a value.
    Value(T),
}

/// The operator's switch on an enrollment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProvisioningStatus {
    /// Devices may register.
    Enabled,
    /// Devices are refused.
    Disabled,
}

/// How devices of an enrollment prove themselves. Closed, because the protocol closes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttestationMechanism {
    /// By keys: the enrollment's own for one device, derived from them for a group.
    SymmetricKey(SymmetricKeys),
    /// By one of two enrolled leaf certificates (`clientCertificates`). Individual only.
    X509Client(Slots<EnrolledCertificate>),
    /// By a chain to one of two certificates kept in the group (`signingCertificates`).
    X509Signing(Slots<EnrolledCertificate>),
    /// By a chain to one of two certificates of the service's store, by name (`caReferences`).
    X509CaReferences(Slots<String>),
    /// By a TPM. Individual only.
    Tpm(TpmIdentity),
    /// By a TPM whose endorsement key has a certificate that one of two CA certificates kept in the
    /// group vouches for. Groups only. **An extension of Induct**: the service we are compatible
    /// with has no groups for TPMs (D §5.6).
    TpmIssuer(Slots<EnrolledCertificate>),
}

impl AttestationMechanism {
    /// Which kind of evidence it wants.
    #[must_use]
    pub const fn kind(&self) -> AttestationKind {
        match self {
            Self::SymmetricKey(_) => AttestationKind::SymmetricKey,
            Self::X509Client(_) | Self::X509Signing(_) | Self::X509CaReferences(_) => {
                AttestationKind::X509
            }
            Self::Tpm(_) | Self::TpmIssuer(_) => AttestationKind::Tpm,
        }
    }

    /// The certificates that it holds itself, not by a name in the service's store: those enrolled,
    /// and of a TPM whose endorsement is demanded the vendors' that count. What an operator sent of
    /// the endorsement key's own chain ([`Endorsement::certificates`]) is not among them.
    pub fn own_certificates(&self) -> impl Iterator<Item = &EnrolledCertificate> {
        let slots = match self {
            Self::X509Client(slots) | Self::X509Signing(slots) | Self::TpmIssuer(slots) => {
                Some(slots)
            }
            Self::Tpm(tpm) => tpm.endorsement.as_ref().map(|demanded| &demanded.roots),
            Self::SymmetricKey(_) | Self::X509CaReferences(_) => None,
        };
        slots.into_iter().flat_map(Slots::iter)
    }
}

/// The kind of an attestation mechanism: `type` on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttestationKind {
    /// `symmetricKey`
    SymmetricKey,
    /// `x509`
    X509,
    /// `tpm`
    Tpm,
}

/// A primary and a secondary of something, at least one of which is there. Both always count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slots<T> {
    /// The first slot.
    pub primary: Option<T>,
    /// The second slot.
    pub secondary: Option<T>,
}

impl<T> Slots<T> {
    /// The filled slots, primary first.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.primary.iter().chain(self.secondary.iter())
    }
}

/// A certificate kept in an enrollment, with what is shown of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolledCertificate {
    /// The certificate, DER.
    pub der: Vec<u8>,
    /// What answers show of it.
    pub info: CertificateInfo,
    /// What certificates are found by: see [`CaKeys`].
    pub keys: CaKeys,
}

/// What answers show of a certificate (O §1.6, `info`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateInfo {
    /// The subject, such as `CN=press-17`.
    pub subject_name: String,
    /// SHA-1 of the DER, upper-case hex without separators.
    pub sha1_thumbprint: String,
    /// SHA-256 of the DER, upper-case hex without separators.
    pub sha256_thumbprint: String,
    /// The issuer, in the form of the subject.
    pub issuer_name: String,
    /// Start of validity.
    pub not_before: Timestamp,
    /// End of validity.
    pub not_after: Timestamp,
    /// Serial number, upper-case hex.
    pub serial_number: String,
    /// X.509 version, 3 for all modern ones.
    pub version: u32,
}

/// What the store indexes a CA certificate by: hashes of its name, of its name with its key, and
/// of its issuer's name.
///
/// An enrolled CA is recognised in a chain by subject and public key, so that a re-issued
/// certificate of the same CA cannot step around a disabled group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CaKeys {
    /// SHA-256 of the subject's DER.
    pub subject: [u8; 32],
    /// SHA-256 of the subject's DER followed by the SubjectPublicKeyInfo's DER.
    pub subject_and_key: [u8; 32],
    /// SHA-256 of the issuer name's DER; that of the subject's for a self-signed certificate.
    pub issuer: [u8; 32],
}

/// The identity of a TPM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmIdentity {
    /// The endorsement key, TPM2B_PUBLIC.
    pub endorsement_key: Vec<u8>,
    /// The storage root key, TPM2B_PUBLIC; optional and not compared (D §5.5).
    pub storage_root_key: Option<Vec<u8>>,
    /// What the endorsement key's certificate must lead to, where the operator demands one. **An
    /// extension of Induct.**
    pub endorsement: Option<Box<Endorsement>>,
}

/// That an endorsement key must have a certificate, and whose word counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endorsement {
    /// The certificates of TPM vendors that count.
    pub roots: Slots<EnrolledCertificate>,
    /// The endorsement key's certificate and those between it and a root, as the operator sent
    /// them, the key's own first. Empty: the device must show them.
    pub certificates: Vec<CertificateDer>,
}

/// What a second registration may change, as the operator wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReprovisionPolicy {
    /// `updateHubAssignment`; true unless sent.
    pub update_hub_assignment: Option<bool>,
    /// `migrateDeviceData`; true unless sent.
    pub migrate_device_data: Option<bool>,
}

/// What a reprovision policy means (D §5.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reprovision {
    /// The first assignment stands.
    Never,
    /// Choose again; the twin moves along.
    WithData,
    /// Choose again; start from the initial twin.
    WithInitialTwin,
}

impl ReprovisionPolicy {
    /// What it means.
    #[must_use]
    pub fn meaning(self) -> Reprovision {
        let update = self.update_hub_assignment.unwrap_or(true);
        let migrate = self.migrate_device_data.unwrap_or(true);
        match (update, migrate) {
            (false, _) => Reprovision::Never,
            (true, true) => Reprovision::WithData,
            (true, false) => Reprovision::WithInitialTwin,
        }
    }
}

/// How a hub is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AllocationPolicy {
    /// Evenly by weight, stable per device.
    Hashed,
    /// The nearest one.
    GeoLatency,
    /// The one named.
    Static,
    /// A webhook of the operator's decides.
    Custom,
}

/// Whom to ask when the policy is `custom`.
#[derive(Clone, PartialEq, Eq)]
pub struct CustomAllocation {
    /// Where to post the question. Its query often holds a secret: mask it wherever it is shown
    /// to anyone but the operator.
    pub webhook_url: String,
    /// The shape of the question; at least `2018-09-01-preview`.
    pub api_version: String,
}

impl CustomAllocation {
    /// The webhook's URL with its query masked.
    #[must_use]
    pub fn masked_url(&self) -> String {
        match self.webhook_url.split_once('?') {
            Some((url, _)) => format!("{url}?****"),
            None => self.webhook_url.clone(),
        }
    }
}

/// Prints the URL with its query masked.
impl fmt::Debug for CustomAllocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CustomAllocation")
            .field("webhook_url", &self.masked_url())
            .field("api_version", &self.api_version)
            .finish()
    }
}

/// An enrollment as an operator sends it: secrets and certificates may be left for the service
/// to make or to keep (O §1.7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// See [`Terms::attestation`].
    pub attestation: AttestationDraft,
    /// See [`Terms::iot_edge`].
    pub iot_edge: Option<bool>,
    /// See [`Terms::iot_hub_host_name`].
    pub iot_hub_host_name: Option<String>,
    /// See [`Terms::initial_twin`].
    pub initial_twin: Option<Json>,
    /// The etag in the body: the precondition in bulk, ignored otherwise.
    pub etag: Option<String>,
    /// See [`Terms::provisioning_status`].
    pub provisioning_status: Sent<ProvisioningStatus>,
    /// See [`Terms::reprovision_policy`].
    pub reprovision_policy: Option<ReprovisionPolicy>,
    /// See [`Terms::allocation_policy`].
    pub allocation_policy: Option<AllocationPolicy>,
    /// See [`Terms::iot_hubs`].
    pub iot_hubs: Option<Vec<String>>,
    /// See [`Terms::custom_allocation`].
    pub custom_allocation: Option<CustomAllocation>,
}

/// An individual enrollment as an operator sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndividualDraft {
    /// See [`IndividualEnrollment::registration_id`].
    pub registration_id: RegistrationId,
    /// See [`IndividualEnrollment::device_id`].
    pub device_id: Option<DeviceId>,
    /// See [`IndividualEnrollment::optional_device_information`].
    pub optional_device_information: Option<Json>,
    /// Everything else.
    pub draft: Draft,
}

/// An enrollment group as an operator sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDraft {
    /// See [`EnrollmentGroup::group_id`].
    pub group_id: EnrollmentGroupId,
    /// Everything else.
    pub draft: Draft,
}

/// An attestation mechanism as an operator sends it. Whether the combination is legal is
/// `decide`'s to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttestationDraft {
    /// Keys; absent ones are generated on create and kept on update (O §1.7.5, §9 row 5).
    SymmetricKey {
        /// The primary key, unless it is to be generated or kept.
        primary: Option<SymmetricKey>,
        /// The secondary key, unless it is to be generated or kept.
        secondary: Option<SymmetricKey>,
    },
    /// Certificates: exactly one of the three kinds is legal (O §1.6).
    X509 {
        /// `clientCertificates`
        client: Option<Slots<CertificateDraft>>,
        /// `signingCertificates`
        signing: Option<Slots<CertificateDraft>>,
        /// `caReferences`
        ca_references: Option<Slots<String>>,
    },
    /// A TPM.
    Tpm(TpmDraft),
    /// A group of TPMs by the issuers of their endorsement certificates. **An extension of Induct.**
    TpmIssuer(Slots<CertificateDraft>),
}

/// A TPM as an operator sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmDraft {
    /// The endorsement key, TPM2B_PUBLIC.
    pub endorsement_key: Vec<u8>,
    /// The storage root key, TPM2B_PUBLIC.
    pub storage_root_key: Option<Vec<u8>>,
    /// What is demanded of the endorsement key's certificate.
    pub endorsement: EndorsementDraft,
}

/// What an operator says of an endorsement key's certificate. **An extension of Induct**, which the
/// vendor's wire cannot say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndorsementDraft {
    /// Nothing: what was demanded before still is. A write in the vendor's shape must not undo it.
    Keep,
    /// No certificate is demanded any more.
    Remove,
    /// A certificate is demanded.
    Demand {
        /// The certificates of TPM vendors that count.
        roots: Slots<CertificateDraft>,
        /// The key's certificate and those between it and a root; empty: the device shows them.
        certificates: Vec<CertificateDer>,
    },
}

/// A certificate slot as an operator sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateDraft {
    /// A new certificate, DER.
    Der(Vec<u8>),
    /// Only `info` was sent: keep the stored certificate with this thumbprint (SHA-256 or SHA-1,
    /// hex), or the one in the same slot when no thumbprint was sent (O §1.7.5).
    Keep {
        /// `info.sha256Thumbprint` or else `info.sha1Thumbprint`, upper case.
        thumbprint: Option<String>,
    },
}

/// A certificate of the service's own store, which groups refer to by name (O §3.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaCertificate {
    /// Its name; at most 256 characters.
    pub name: String,
    /// The certificate, and what is shown of it.
    pub certificate: EnrolledCertificate,
    /// Whether possession of its key was proven. An unverified one attests nothing.
    pub verified: bool,
    /// The code a leaf must be called to prove possession, while one was asked for and not used:
    /// 48 upper-case hex digits. The store keeps it with the row; it is no secret.
    pub pending_code: Option<String>,
    /// The version mark.
    pub etag: Etag,
    /// When it was first written.
    pub created: Timestamp,
    /// When it was last written.
    pub last_updated: Timestamp,
    /// The store's version of the row; 0 for one that was never stored.
    pub version: Version,
}

/// Which enrollment something rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnrollmentRef {
    /// An individual enrollment.
    Individual(RegistrationId),
    /// An enrollment group.
    Group(EnrollmentGroupId),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhooks_query_is_never_printed() {
        let webhook = CustomAllocation {
            webhook_url: "https://hook.example.test/api?code=secret".to_owned(),
            api_version: "2021-10-01".to_owned(),
        };
        let printed = format!("{webhook:?}");
        assert!(printed.contains("https://hook.example.test/api?****"), "{printed}");
        assert!(!printed.contains("secret"), "{printed}");
    }
}

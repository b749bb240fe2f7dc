//! What an operator's change of an enrollment means.

use std::net::IpAddr;

use attest::certificate;
use model::{
    AllocationPolicy, AttestationDraft, AttestationMechanism, CertificateDraft, Draft,
    EnrolledCertificate, EnrollmentGroup, Etag, Fresh, GroupDraft, IndividualDraft,
    IndividualEnrollment, OperatorRefusal, Precondition, Quotas, Slots, SymmetricKey,
    SymmetricKeys, Terms, Timestamp, Usage,
};

mod endorsement;
mod settings;
mod shape;
mod tpm;

pub use endorsement::{demand, tpm_of};
pub use settings::put_settings;
pub use shape::GroupShape;

/// How many enrollments there may be (D §6). Every figure is a setting.
#[derive(Debug, Clone, Copy)]
pub struct EnrollmentLimits {
    /// Individual enrollments.
    pub individuals: u64,
    /// Groups with certificates.
    pub x509_groups: u64,
    /// Groups with symmetric keys.
    pub symmetric_key_groups: u64,
}

impl Default for EnrollmentLimits {
    fn default() -> Self {
        Self { individuals: 1_000_000, x509_groups: 100, symmetric_key_groups: 100 }
    }
}

impl From<&Quotas> for EnrollmentLimits {
    fn from(quotas: &Quotas) -> Self {
        Self {
            individuals: quotas.individual_enrollments,
            x509_groups: quotas.x509_groups,
            symmetric_key_groups: quotas.symmetric_key_groups,
        }
    }
}

/// What an individual enrollment becomes when this draft is put: created without a precondition,
/// replaced with one (O §1.7).
///
/// `usage` is how many there are, `None` when nobody asked because nothing is created.
///
/// # Errors
/// [`OperatorRefusal`]: exists, stale etag, a broken rule, a limit.
pub fn put_individual(
    existing: Option<&IndividualEnrollment>,
    draft: IndividualDraft,
    precondition: &Precondition,
    usage: &Usage,
    limits: &EnrollmentLimits,
    now: Timestamp,
    fresh: &Fresh,
) -> Result<IndividualEnrollment, OperatorRefusal> {
    let terms = existing.map(|enrollment| &enrollment.terms);
    check_put(terms, precondition, OperatorRefusal::EnrollmentExists)?;
    if existing.is_none() {
        within(usage.individual_enrollments, limits.individuals, "individual enrollments")?;
    }
    let terms = write_terms(terms, draft.draft, Family::Individual, now, fresh)?;
    Ok(IndividualEnrollment {
        registration_id: existing
            .map_or(draft.registration_id, |enrollment| enrollment.registration_id.clone()),
        device_id: draft.device_id,
        optional_device_information: draft.optional_device_information,
        terms,
    })
}

/// What a group becomes when this draft is put; as [`put_individual`]. Groups of TPMs count as
/// groups with certificates, which they are.
///
/// # Errors
/// [`OperatorRefusal`]: exists, or exists in the other shape; stale etag, a broken rule, a limit.
pub fn put_group(
    existing: Option<&EnrollmentGroup>,
    draft: GroupDraft,
    precondition: &Precondition,
    usage: &Usage,
    limits: &EnrollmentLimits,
    now: Timestamp,
    fresh: &Fresh,
) -> Result<EnrollmentGroup, OperatorRefusal> {
    if let Some(existing) = existing {
        GroupShape::of_draft(&draft.draft.attestation).check(existing)?;
    }
    let terms = existing.map(|group| &group.terms);
    check_put(terms, precondition, OperatorRefusal::GroupExists)?;
    let symmetric = matches!(draft.draft.attestation, AttestationDraft::SymmetricKey { .. });
    let was_symmetric = terms
        .is_some_and(|terms| matches!(terms.attestation, AttestationMechanism::SymmetricKey(_)));
    if existing.is_none() || symmetric != was_symmetric {
        if symmetric {
            let (is, may) = (usage.symmetric_key_groups, limits.symmetric_key_groups);
            within(is, may, "enrollment groups with symmetric keys")?;
        } else {
            within(usage.x509_groups, limits.x509_groups, "enrollment groups with certificates")?;
        }
    }
    let terms = write_terms(terms, draft.draft, Family::Group, now, fresh)?;
    Ok(EnrollmentGroup {
        group_id: existing.map_or(draft.group_id, |group| group.group_id.clone()),
        terms,
        settings: existing.map(|group| group.settings).unwrap_or_default(),
    })
}

/// Whether an enrollment may be deleted: without a precondition always, with one if it fits
/// (O §0.3). What is not there cannot be.
///
/// # Errors
/// `missing` when there is none, [`OperatorRefusal::StaleEtag`].
pub fn delete(
    existing: Option<&Terms>,
    precondition: &Precondition,
    missing: OperatorRefusal,
) -> Result<(), OperatorRefusal> {
    let terms = existing.ok_or(missing)?;
    match precondition {
        Precondition::Tag(tag) if tag != terms.etag.as_str() => Err(OperatorRefusal::StaleEtag),
        Precondition::None | Precondition::Any | Precondition::Tag(_) => Ok(()),
    }
}

/// What a bulk call does with each of its items (O §1.10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BulkMode {
    /// The item must not exist.
    Create,
    /// The item must exist; its `etag` is the precondition.
    Update,
    /// The item must exist and its `etag` must be given and fit.
    UpdateIfMatchEtag,
    /// Delete the item, whatever its etag.
    Delete,
}

impl BulkMode {
    /// The precondition of one item that is to be written.
    ///
    /// An `update` without an etag meets an existing item as a creation does: 409, as recorded.
    ///
    /// # Errors
    /// `missing` for an update of what is not there; [`OperatorRefusal::StaleEtag`] when an etag
    /// is demanded and none is given.
    pub fn precondition(
        self,
        etag: Option<&str>,
        exists: bool,
        missing: OperatorRefusal,
    ) -> Result<Precondition, OperatorRefusal> {
        let tag = |etag: &str| match etag {
            "*" => Precondition::Any,
            etag => Precondition::Tag(etag.to_owned()),
        };
        match (self, etag, exists) {
            (Self::Create, ..) => Ok(Precondition::None),
            (Self::Update | Self::UpdateIfMatchEtag, _, false) => Err(missing),
            (Self::UpdateIfMatchEtag, None, true) => Err(OperatorRefusal::StaleEtag),
            (Self::Update | Self::UpdateIfMatchEtag, Some(etag), true) => Ok(tag(etag)),
            (Self::Update, None, true) | (Self::Delete, ..) => Ok(Precondition::None),
        }
    }
}

/// Individual enrollments and groups allow different mechanisms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Individual,
    Group,
}

fn check_put(
    existing: Option<&Terms>,
    precondition: &Precondition,
    exists: OperatorRefusal,
) -> Result<(), OperatorRefusal> {
    match (existing, precondition) {
        (None, Precondition::None) | (Some(_), Precondition::Any) => Ok(()),
        (Some(_), Precondition::None) => Err(exists),
        (None, Precondition::Any | Precondition::Tag(_)) => Err(OperatorRefusal::StaleEtag),
        (Some(terms), Precondition::Tag(tag)) if tag == terms.etag.as_str() => Ok(()),
        (Some(_), Precondition::Tag(_)) => Err(OperatorRefusal::StaleEtag),
    }
}

fn within(is: u64, may: u64, what: &'static str) -> Result<(), OperatorRefusal> {
    if is < may { Ok(()) } else { Err(OperatorRefusal::QuotaExceeded { what, limit: may }) }
}

fn write_terms(
    existing: Option<&Terms>,
    draft: Draft,
    family: Family,
    now: Timestamp,
    fresh: &Fresh,
) -> Result<Terms, OperatorRefusal> {
    check_allocation(&draft)?;
    let stored = existing.map(|terms| &terms.attestation);
    Ok(Terms {
        attestation: write_attestation(stored, draft.attestation, family, now, fresh)?,
        iot_edge: draft.iot_edge,
        iot_hub_host_name: draft.iot_hub_host_name,
        initial_twin: draft.initial_twin,
        etag: Etag::from_random(fresh.etag),
        provisioning_status: draft.provisioning_status,
        reprovision_policy: draft.reprovision_policy,
        created: existing.map_or(now, |terms| terms.created),
        last_updated: now,
        allocation_policy: draft.allocation_policy,
        iot_hubs: draft.iot_hubs,
        custom_allocation: draft.custom_allocation,
        version: existing.map_or(0, |terms| terms.version),
    })
}

fn check_allocation(draft: &Draft) -> Result<(), OperatorRefusal> {
    let names_hubs = draft.iot_hubs.as_ref().is_some_and(|hubs| !hubs.is_empty());
    if names_hubs && draft.allocation_policy.is_none() {
        return Err(OperatorRefusal::HubsWithoutPolicy);
    }
    if draft.allocation_policy == Some(AllocationPolicy::Custom)
        && draft.custom_allocation.is_none()
    {
        return Err(bad(
            "customAllocationDefinition with webhookUrl and apiVersion is required when \
             allocationPolicy is custom.",
        ));
    }
    if let Some(webhook) = &draft.custom_allocation {
        if !is_webhook_url(&webhook.webhook_url) {
            return Err(bad("customAllocationDefinition.webhookUrl must begin with https://."));
        }
        if webhook.api_version.as_str() < "2018-09-01-preview" {
            return Err(bad(
                "customAllocationDefinition.apiVersion must be at least 2018-09-01-preview.",
            ));
        }
    }
    Ok(())
}

/// `https:` to anywhere, or `http:` to this machine: whether that is called is a setting, which
/// whoever calls it knows.
fn is_webhook_url(url: &str) -> bool {
    let after = |scheme: &str| {
        let (start, rest) = url.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    let is_loopback = |rest: &str| {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return false;
        }
        let host = match authority.strip_prefix('[') {
            Some(v6) => v6.split(']').next().unwrap_or_default(),
            None => authority.split(':').next().unwrap_or_default(),
        };
        let is_loopback_address = |ip: IpAddr| ip.to_canonical().is_loopback();
        host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(is_loopback_address)
    };
    after("https://").is_some() || after("http://").is_some_and(is_loopback)
}

fn bad(text: &str) -> OperatorRefusal {
    OperatorRefusal::BadRequest(text.to_owned())
}

fn write_attestation(
    stored: Option<&AttestationMechanism>,
    draft: AttestationDraft,
    family: Family,
    now: Timestamp,
    fresh: &Fresh,
) -> Result<AttestationMechanism, OperatorRefusal> {
    match draft {
        AttestationDraft::SymmetricKey { primary, secondary } => {
            let kept = match stored {
                Some(AttestationMechanism::SymmetricKey(keys)) => Some(keys.clone()),
                _ => None,
            };
            Ok(AttestationMechanism::SymmetricKey(write_keys(kept, primary, secondary, fresh)))
        }
        AttestationDraft::X509 { client, signing, ca_references } => {
            write_x509(stored, client, signing, ca_references, family)
        }
        AttestationDraft::Tpm(draft) => match family {
            Family::Individual => {
                let kept = match stored {
                    Some(AttestationMechanism::Tpm(kept)) => Some(kept),
                    _ => None,
                };
                tpm::write(kept, draft, now).map(AttestationMechanism::Tpm)
            }
            Family::Group => Err(bad(
                "attestation.type tpm is for individual enrollments; an enrollment group attests \
                 by x509 or symmetricKey. For a group of TPMs, which is an extension of Induct, \
                 use /induct/v1/tpmEnrollmentGroups.",
            )),
        },
        AttestationDraft::TpmIssuer(slots) => match family {
            Family::Group => {
                let kept = match stored {
                    Some(AttestationMechanism::TpmIssuer(kept)) => Some(kept),
                    _ => None,
                };
                let slots = write_slots(kept, slots, "attestation.tpm.issuers")?;
                Ok(AttestationMechanism::TpmIssuer(slots))
            }
            Family::Individual => Err(bad(
                "the issuers of TPMs are for enrollment groups; an individual enrollment names \
                 one endorsement key.",
            )),
        },
    }
}

/// Given keys count; absent ones are kept on an update and made on a creation. Making new ones on
/// an update would shut the devices out (O §1.7.5, §9 row 5).
fn write_keys(
    kept: Option<SymmetricKeys>,
    primary: Option<SymmetricKey>,
    secondary: Option<SymmetricKey>,
    fresh: &Fresh,
) -> SymmetricKeys {
    let kept = kept.unwrap_or_else(|| SymmetricKeys {
        primary: SymmetricKey::generated(&fresh.primary_key),
        secondary: SymmetricKey::generated(&fresh.secondary_key),
    });
    SymmetricKeys {
        primary: primary.unwrap_or(kept.primary),
        secondary: secondary.unwrap_or(kept.secondary),
    }
}

fn write_x509(
    stored: Option<&AttestationMechanism>,
    client: Option<Slots<CertificateDraft>>,
    signing: Option<Slots<CertificateDraft>>,
    ca_references: Option<Slots<String>>,
    family: Family,
) -> Result<AttestationMechanism, OperatorRefusal> {
    match (client, signing, ca_references, family) {
        (Some(slots), None, None, Family::Individual) => {
            let kept = match stored {
                Some(AttestationMechanism::X509Client(kept)) => Some(kept),
                _ => None,
            };
            let slots = write_slots(kept, slots, "attestation.x509.clientCertificates")?;
            Ok(AttestationMechanism::X509Client(slots))
        }
        (None, Some(slots), None, Family::Group) => {
            let kept = match stored {
                Some(AttestationMechanism::X509Signing(kept)) => Some(kept),
                _ => None,
            };
            let slots = write_slots(kept, slots, "attestation.x509.signingCertificates")?;
            Ok(AttestationMechanism::X509Signing(slots))
        }
        (None, None, Some(names), Family::Group) => {
            if names.iter().next().is_none() {
                return Err(bad("attestation.x509.caReferences needs a primary or a secondary."));
            }
            if names.iter().any(|name| name.is_empty() || name.len() > 256) {
                return Err(bad(
                    "a name in attestation.x509.caReferences has 1 to 256 characters.",
                ));
            }
            Ok(AttestationMechanism::X509CaReferences(names))
        }
        (_, _, _, Family::Individual) => Err(bad(
            "attestation.x509 of an individual enrollment needs clientCertificates and nothing \
             else.",
        )),
        (_, _, _, Family::Group) => Err(bad(
            "attestation.x509 of an enrollment group needs exactly one of signingCertificates \
             and caReferences.",
        )),
    }
}

fn write_slots(
    kept: Option<&Slots<EnrolledCertificate>>,
    draft: Slots<CertificateDraft>,
    path: &str,
) -> Result<Slots<EnrolledCertificate>, OperatorRefusal> {
    let old = |slot: Option<&EnrolledCertificate>| slot.cloned();
    let same_primary = old(kept.and_then(|slots| slots.primary.as_ref()));
    let same_secondary = old(kept.and_then(|slots| slots.secondary.as_ref()));
    let write = |draft: Option<CertificateDraft>, same: Option<EnrolledCertificate>, slot: &str| {
        match draft {
            None => Ok(None),
            Some(CertificateDraft::Der(der)) => certificate::describe(&der)
                .map(Some)
                .map_err(|why| bad(&format!("{path}.{slot}.certificate: {why}"))),
            Some(CertificateDraft::Keep { thumbprint: None }) => same.map(Some).ok_or_else(|| {
                bad(&format!("{path}.{slot}: there is no stored certificate to keep; send one."))
            }),
            Some(CertificateDraft::Keep { thumbprint: Some(thumbprint) }) => kept
                .iter()
                .flat_map(|slots| slots.iter())
                .find(|stored| is_called(stored, &thumbprint))
                .map(|stored| Some(stored.clone()))
                .ok_or_else(|| {
                    bad(&format!(
                        "{path}.{slot}: no stored certificate has the thumbprint of `info`; send \
                         `certificate`."
                    ))
                }),
        }
    };
    let slots = Slots {
        primary: write(draft.primary, same_primary, "primary")?,
        secondary: write(draft.secondary, same_secondary, "secondary")?,
    };
    if slots.iter().next().is_none() {
        return Err(bad(&format!("{path} needs a primary or a secondary certificate.")));
    }
    Ok(slots)
}

fn is_called(stored: &EnrolledCertificate, thumbprint: &str) -> bool {
    stored.info.sha256_thumbprint.eq_ignore_ascii_case(thumbprint)
        || stored.info.sha1_thumbprint.eq_ignore_ascii_case(thumbprint)
}

#[cfg(test)]
mod tests;

//! The columns that individual enrollments and groups share.

use model::{
    AttestationKind, AttestationMechanism, CertificateDer, CustomAllocation, Endorsement, Etag,
    ReprovisionPolicy, Slots, Terms, TpmIdentity, Version,
};
use rusqlite::Result;
use serde::{Deserialize, Serialize};

use super::certificate::{CertificateRow, SlotsRow};
use crate::{
    codec::{Base64, Binder, Columns, words},
    vault::Place,
};

macro_rules! terms_columns {
    () => {
        "attestation, primary_key, secondary_key, attestation_document, iot_edge, \
         iot_hub_host_name, initial_twin, etag, provisioning_status, reprovision_policy, created, \
         last_updated, allocation_policy, iot_hubs, webhook_url, webhook_api_version, version"
    };
}
pub(crate) use terms_columns;

/// Binds the 17 columns, stamped with a version.
pub(crate) fn bind(
    binder: &mut Binder<'_, '_>,
    place: Place<'_>,
    terms: &Terms,
    version: Version,
) -> Result<()> {
    bind_attestation(binder, place, &terms.attestation)?;
    binder.put(terms.iot_edge)?;
    binder.put(&terms.iot_hub_host_name)?;
    binder.optional_json(terms.initial_twin.as_ref())?;
    binder.put(terms.etag.as_str())?;
    binder.word(terms.provisioning_status)?;
    match terms.reprovision_policy {
        Some(policy) => binder.document(&ReprovisionRow {
            update_hub_assignment: policy.update_hub_assignment,
            migrate_device_data: policy.migrate_device_data,
        })?,
        None => binder.put(None::<String>)?,
    }
    binder.time(terms.created)?;
    binder.time(terms.last_updated)?;
    binder.put(terms.allocation_policy.map(crate::codec::Word::word))?;
    match &terms.iot_hubs {
        Some(hubs) => binder.document(hubs)?,
        None => binder.put(None::<String>)?,
    }
    let custom = terms.custom_allocation.as_ref();
    let url = custom.map(|custom| custom.webhook_url.as_str());
    binder.secret(place, "webhook_url", url)?;
    binder.put(custom.map(|custom| &custom.api_version))?;
    binder.unsigned(version)
}

/// Takes the 17 columns.
pub(crate) fn read(columns: &mut Columns<'_, '_>, place: Place<'_>) -> Result<Terms> {
    Ok(Terms {
        attestation: read_attestation(columns, place)?,
        iot_edge: columns.take()?,
        iot_hub_host_name: columns.take()?,
        initial_twin: columns.optional_json()?,
        etag: columns.text(|text| Ok::<_, String>(Etag::from_stored(text)))?,
        provisioning_status: columns.word()?,
        reprovision_policy: columns.optional_document()?.map(|row: ReprovisionRow| {
            ReprovisionPolicy {
                update_hub_assignment: row.update_hub_assignment,
                migrate_device_data: row.migrate_device_data,
            }
        }),
        created: columns.time()?,
        last_updated: columns.time()?,
        allocation_policy: columns.optional_word()?,
        iot_hubs: columns.optional_document()?,
        custom_allocation: {
            let webhook_url =
                columns.secret(place, "webhook_url", |url| Ok::<_, String>(url.to_owned()))?;
            let api_version: Option<String> = columns.take()?;
            webhook_url
                .zip(api_version)
                .map(|(webhook_url, api_version)| CustomAllocation { webhook_url, api_version })
        },
        version: columns.unsigned()?,
    })
}

/// Which variant of an attestation mechanism a row holds.
#[derive(Clone, Copy)]
pub(crate) enum Mechanism {
    SymmetricKey,
    X509Client,
    X509Signing,
    X509CaReferences,
    Tpm,
    /// A group of TPMs by issuer.
    TpmIssuer,
}

words!(Mechanism {
    Mechanism::SymmetricKey => "symmetricKey",
    Mechanism::X509Client => "x509Client",
    Mechanism::X509Signing => "x509Signing",
    Mechanism::X509CaReferences => "x509CaReferences",
    Mechanism::Tpm => "tpm",
    Mechanism::TpmIssuer => "tpmIssuer",
});

impl Mechanism {
    /// The kind of evidence it wants.
    pub(crate) const fn kind(self) -> AttestationKind {
        match self {
            Self::SymmetricKey => AttestationKind::SymmetricKey,
            Self::X509Client | Self::X509Signing | Self::X509CaReferences => AttestationKind::X509,
            Self::Tpm | Self::TpmIssuer => AttestationKind::Tpm,
        }
    }
}

fn bind_attestation(
    binder: &mut Binder<'_, '_>,
    place: Place<'_>,
    mechanism: &AttestationMechanism,
) -> Result<()> {
    let kind = match mechanism {
        AttestationMechanism::SymmetricKey(_) => Mechanism::SymmetricKey,
        AttestationMechanism::X509Client(_) => Mechanism::X509Client,
        AttestationMechanism::X509Signing(_) => Mechanism::X509Signing,
        AttestationMechanism::X509CaReferences(_) => Mechanism::X509CaReferences,
        AttestationMechanism::Tpm(_) => Mechanism::Tpm,
        AttestationMechanism::TpmIssuer(_) => Mechanism::TpmIssuer,
    };
    binder.word(kind)?;
    match mechanism {
        AttestationMechanism::SymmetricKey(keys) => {
            binder.keys(place, Some(keys))?;
            return binder.put(None::<String>);
        }
        _ => binder.keys(place, None)?,
    }
    match mechanism {
        AttestationMechanism::SymmetricKey(_) => Ok(()),
        AttestationMechanism::X509Client(slots)
        | AttestationMechanism::X509Signing(slots)
        | AttestationMechanism::TpmIssuer(slots) => {
            binder.document(&SlotsRow::<CertificateRow>::from(slots))
        }
        AttestationMechanism::X509CaReferences(Slots { primary, secondary }) => {
            binder.document(&SlotsRow { primary: primary.as_ref(), secondary: secondary.as_ref() })
        }
        AttestationMechanism::Tpm(tpm) => binder.document(&TpmRow {
            endorsement_key: Base64(tpm.endorsement_key.clone()),
            storage_root_key: tpm.storage_root_key.clone().map(Base64),
            endorsement: tpm.endorsement.as_deref().map(EndorsementRow::from),
        }),
    }
}

fn read_attestation(
    columns: &mut Columns<'_, '_>,
    place: Place<'_>,
) -> Result<AttestationMechanism> {
    let kind = columns.word()?;
    let keys = columns.keys(place)?;
    let certificates = |columns: &mut Columns<'_, '_>| {
        let slots: SlotsRow<CertificateRow> = columns.document()?;
        slots.into_model().map_err(|why| columns.unreadable(why))
    };
    Ok(match kind {
        Mechanism::SymmetricKey => {
            let keys = keys.ok_or_else(|| columns.unreadable("an enrollment without its keys"))?;
            columns.take::<Option<String>>()?;
            AttestationMechanism::SymmetricKey(keys)
        }
        Mechanism::X509Client => AttestationMechanism::X509Client(certificates(columns)?),
        Mechanism::X509Signing => AttestationMechanism::X509Signing(certificates(columns)?),
        Mechanism::TpmIssuer => AttestationMechanism::TpmIssuer(certificates(columns)?),
        Mechanism::X509CaReferences => {
            let SlotsRow { primary, secondary } = columns.document()?;
            AttestationMechanism::X509CaReferences(Slots { primary, secondary })
        }
        Mechanism::Tpm => {
            let tpm: TpmRow = columns.document()?;
            AttestationMechanism::Tpm(TpmIdentity {
                endorsement_key: tpm.endorsement_key.0,
                storage_root_key: tpm.storage_root_key.map(|key| key.0),
                endorsement: tpm
                    .endorsement
                    .map(EndorsementRow::into_model)
                    .transpose()
                    .map_err(|why| columns.unreadable(why))?
                    .map(Box::new),
            })
        }
    })
}

#[derive(Serialize, Deserialize)]
struct ReprovisionRow {
    update_hub_assignment: Option<bool>,
    migrate_device_data: Option<bool>,
}

#[derive(Serialize, Deserialize)]
struct TpmRow {
    endorsement_key: Base64,
    storage_root_key: Option<Base64>,
    /// Absent in rows that were written before there was such a thing.
    endorsement: Option<EndorsementRow>,
}

#[derive(Serialize, Deserialize)]
struct EndorsementRow {
    roots: SlotsRow<CertificateRow>,
    certificates: Vec<Base64>,
}

impl From<&Endorsement> for EndorsementRow {
    fn from(endorsement: &Endorsement) -> Self {
        let certificates = endorsement.certificates.iter();
        Self {
            roots: SlotsRow::from(&endorsement.roots),
            certificates: certificates.map(|certificate| Base64(certificate.0.clone())).collect(),
        }
    }
}

impl EndorsementRow {
    fn into_model(self) -> Result<Endorsement, &'static str> {
        let certificates = self.certificates.into_iter();
        Ok(Endorsement {
            roots: self.roots.into_model()?,
            certificates: certificates.map(|certificate| CertificateDer(certificate.0)).collect(),
        })
    }
}

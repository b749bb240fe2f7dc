//! Enrollments as operators send them (O §1.6).
//!
//! `null` is accepted for every optional member, words in any letter case, and unknown members
//! are ignored. A wrong type is refused with the member's path.

use model::{
    AllocationPolicy, AttestationDraft, CustomAllocation, DeviceId, Draft, EnrollmentGroupId,
    GroupDraft, IndividualDraft, Json, OperatorRefusal, ProvisioningStatus, RegistrationId,
    ReprovisionPolicy, Sent,
};

use super::attestation;
use crate::read::{Malformed, Members};

pub(crate) const ALLOCATION_POLICIES: &[(&str, AllocationPolicy)] = &[
    ("hashed", AllocationPolicy::Hashed),
    ("geoLatency", AllocationPolicy::GeoLatency),
    ("static", AllocationPolicy::Static),
    ("custom", AllocationPolicy::Custom),
];

pub(super) const PROVISIONING_STATUSES: &[(&str, ProvisioningStatus)] =
    &[("enabled", ProvisioningStatus::Enabled), ("disabled", ProvisioningStatus::Disabled)];

/// How much of an illegal id a refusal repeats, in characters.
pub(crate) const MAX_ECHO_CHARS: usize = 160;

/// Parses the body of a `PUT` of an individual enrollment.
///
/// # Errors
/// [`OperatorRefusal::BadRequest`] naming the member's path and what was expected.
pub fn parse_individual(body: &[u8]) -> Result<IndividualDraft, OperatorRefusal> {
    let body = parse_body(body)?;
    Ok(read_individual(&Members::of(&body, "")?)?)
}

/// Parses the body of a `PUT` of an enrollment group.
///
/// # Errors
/// [`OperatorRefusal::BadRequest`] naming the member's path and what was expected.
pub fn parse_group(body: &[u8]) -> Result<GroupDraft, OperatorRefusal> {
    let body = parse_body(body)?;
    Ok(read_group(&Members::of(&body, "")?)?)
}

/// Parses the registration ID of a path.
///
/// # Errors
/// [`OperatorRefusal::BadId`]
pub fn registration_id(text: &str) -> Result<RegistrationId, OperatorRefusal> {
    RegistrationId::parse(text).map_err(|source| OperatorRefusal::BadId {
        what: "registrationId",
        id: text.chars().take(MAX_ECHO_CHARS).collect(),
        source,
    })
}

/// Parses the enrollment group ID of a path.
///
/// # Errors
/// [`OperatorRefusal::BadId`]
pub fn group_id(text: &str) -> Result<EnrollmentGroupId, OperatorRefusal> {
    EnrollmentGroupId::parse(text).map_err(|source| OperatorRefusal::BadId {
        what: "enrollmentGroupId",
        id: text.chars().take(MAX_ECHO_CHARS).collect(),
        source,
    })
}

/// Looks at the body of a query: nothing at all, or any JSON. The query text is ignored and every
/// query answers everything, as the service we are compatible with does (O §0.1, §1.9).
///
/// # Errors
/// [`OperatorRefusal::BadRequest`] for a body that is not JSON.
pub fn check_query(body: &[u8]) -> Result<(), OperatorRefusal> {
    match body.iter().all(u8::is_ascii_whitespace) {
        true => Ok(()),
        false => parse_body(body).map(|_| ()),
    }
}

pub(crate) fn parse_body(body: &[u8]) -> Result<Json, OperatorRefusal> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(OperatorRefusal::BadRequest("the request has no body".to_owned()));
    }
    json::parse_bytes(body).map_err(|bad| OperatorRefusal::BadRequest(bad.to_string()))
}

pub(super) fn read_individual(body: &Members<'_>) -> Result<IndividualDraft, Malformed> {
    let device_id = body
        .text("deviceId")?
        .map(|text| DeviceId::parse(text).map_err(|bad| body.wrong("deviceId", bad.to_string())))
        .transpose()?;
    Ok(IndividualDraft {
        registration_id: read_registration_id(body)?,
        device_id,
        optional_device_information: body.verbatim_object("optionalDeviceInformation")?,
        draft: read_draft(body, attestation::read)?,
    })
}

pub(super) fn read_group(body: &Members<'_>) -> Result<GroupDraft, Malformed> {
    let draft = read_draft(body, attestation::read)?;
    Ok(GroupDraft { group_id: read_group_id(body)?, draft })
}

/// Reads a group of TPMs, **an extension of Induct**: a group but for its attestation.
pub(crate) fn read_tpm_group(body: &Members<'_>) -> Result<GroupDraft, Malformed> {
    let draft = read_draft(body, attestation::read_issuers)?;
    Ok(GroupDraft { group_id: read_group_id(body)?, draft })
}

pub(super) fn read_registration_id(body: &Members<'_>) -> Result<RegistrationId, Malformed> {
    RegistrationId::parse(body.required_string("registrationId")?)
        .map_err(|bad| body.wrong("registrationId", bad.to_string()))
}

pub(super) fn read_group_id(body: &Members<'_>) -> Result<EnrollmentGroupId, Malformed> {
    EnrollmentGroupId::parse(body.required_string("enrollmentGroupId")?)
        .map_err(|bad| body.wrong("enrollmentGroupId", bad.to_string()))
}

fn read_draft(
    body: &Members<'_>,
    read: fn(&Members<'_>) -> Result<AttestationDraft, Malformed>,
) -> Result<Draft, Malformed> {
    let attestation = body.object("attestation")?.ok_or_else(|| body.missing("attestation"))?;
    let iot_edge = match body.object("capabilities")? {
        Some(capabilities) => capabilities.bool("iotEdge")?,
        None => None,
    };
    let provisioning_status = match body.raw("provisioningStatus") {
        None => Sent::Absent,
        Some(_) => match body.word("provisioningStatus", PROVISIONING_STATUSES)? {
            None => Sent::Null,
            Some(status) => Sent::Value(status),
        },
    };
    Ok(Draft {
        attestation: read(&attestation)?,
        iot_edge,
        iot_hub_host_name: body.text("iotHubHostName")?.map(str::to_owned),
        initial_twin: body.verbatim_object("initialTwin")?,
        etag: body.text("etag")?.map(str::to_owned),
        provisioning_status,
        reprovision_policy: read_reprovision_policy(body)?,
        allocation_policy: body.word("allocationPolicy", ALLOCATION_POLICIES)?,
        iot_hubs: body.strings("iotHubs")?,
        custom_allocation: read_custom_allocation(body)?,
    })
}

fn read_reprovision_policy(body: &Members<'_>) -> Result<Option<ReprovisionPolicy>, Malformed> {
    let Some(policy) = body.object("reprovisionPolicy")? else { return Ok(None) };
    Ok(Some(ReprovisionPolicy {
        update_hub_assignment: policy.bool("updateHubAssignment")?,
        migrate_device_data: policy.bool("migrateDeviceData")?,
    }))
}

fn read_custom_allocation(body: &Members<'_>) -> Result<Option<CustomAllocation>, Malformed> {
    let Some(custom) = body.object("customAllocationDefinition")? else { return Ok(None) };
    Ok(Some(CustomAllocation {
        webhook_url: custom.required_string("webhookUrl")?.to_owned(),
        api_version: custom.required_string("apiVersion")?.to_owned(),
    }))
}

impl From<Malformed> for OperatorRefusal {
    fn from(malformed: Malformed) -> Self {
        Self::BadRequest(malformed.to_string())
    }
}

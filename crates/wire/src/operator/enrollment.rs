//! Enrollments and registration records as answers, members in the order of O §1.6.
//!
//! What the operator did not send is not invented: absent members stay absent, and an explicit
//! `provisioningStatus: null` is echoed (O §0.9).

use model::{
    AllocationPolicy, AttestationMechanism, CustomAllocation, EnrollmentGroup,
    IndividualEnrollment, Json, ProvisioningStatus, RegistrationRecord, RegistrationStatus,
    ReprovisionPolicy, Sent, Terms,
};

use super::{
    attestation,
    request::{ALLOCATION_POLICIES, PROVISIONING_STATUSES},
};
use crate::{
    device::{error_code, status_word, substatus_word},
    time,
    write::Object,
};

/// Which answer an enrollment is shown in; they show different things (O §1.8).
#[derive(Debug, Clone, Copy)]
pub enum Show<'a> {
    /// The answer to a `PUT`: with symmetric keys.
    PutAnswer,
    /// The answer to a `GET` of one: without keys; an individual enrollment with its
    /// registration state, which is `unassigned` when there is no record.
    Get(Option<&'a RegistrationRecord>),
    /// An item of a query: without keys and state.
    QueryItem,
}

/// An individual enrollment.
#[must_use]
pub fn individual(enrollment: &IndividualEnrollment, show: Show<'_>) -> Json {
    let id = enrollment.registration_id.as_str();
    let state = match show {
        Show::Get(Some(record)) => Some(registration_state(record)),
        Show::Get(None) => {
            Some(Object::new().with("registrationId", id).with("status", "unassigned").build())
        }
        Show::PutAnswer | Show::QueryItem => None,
    };
    let head = Object::new()
        .with("registrationId", id)
        .with_some("deviceId", enrollment.device_id.as_ref().map(|id| id.as_str()))
        .with_some("registrationState", state)
        .with_some("optionalDeviceInformation", enrollment.optional_device_information.clone());
    terms(head, &enrollment.terms, show).build()
}

/// An enrollment group.
#[must_use]
pub fn group(group: &EnrollmentGroup, show: Show<'_>) -> Json {
    let head = Object::new().with("enrollmentGroupId", group.group_id.as_str());
    terms(head, &group.terms, show).build()
}

/// A registration record as operators see it (O §1.6, `DeviceRegistrationState`).
#[must_use]
pub fn registration_state(record: &RegistrationRecord) -> Json {
    let assignment = match record.status {
        RegistrationStatus::Assigned => record.assignment.as_ref(),
        _ => None,
    };
    let failure = match record.status {
        RegistrationStatus::Failed => record.failure.as_ref(),
        _ => None,
    };
    Object::new()
        .with("registrationId", record.registration_id.as_str())
        .with("createdDateTimeUtc", time::wire(record.created).as_str())
        .with_some("assignedHub", assignment.map(|to| to.hub.as_str()))
        .with_some("deviceId", assignment.map(|to| to.device_id.as_str()))
        .with("status", status_word(record.status))
        .with_some("substatus", assignment.map(|to| substatus_word(to.substatus)))
        .with_some("errorCode", failure.map(|failure| error_code(failure.code)))
        .with_some("errorMessage", failure.map(|failure| failure.message.as_str()))
        .with("lastUpdatedDateTimeUtc", time::wire(record.last_updated).as_str())
        .with("etag", record.etag.as_str())
        .with_some("payload", assignment.and(record.payload.clone()))
        .build()
}

fn terms(head: Object, terms: &Terms, show: Show<'_>) -> Object {
    let edge = terms.iot_edge.map(|iot_edge| Object::new().with("iotEdge", iot_edge));
    let object = head
        .with("attestation", show_attestation(&terms.attestation, show))
        .with_some("capabilities", edge)
        .with_some("iotHubHostName", terms.iot_hub_host_name.as_deref())
        .with_some("initialTwin", terms.initial_twin.clone())
        .with("etag", terms.etag.as_str());
    let object = match terms.provisioning_status {
        Sent::Absent => object,
        Sent::Null => object.with("provisioningStatus", Json::Null),
        Sent::Value(status) => object.with("provisioningStatus", status_name(status)),
    };
    let hubs = terms
        .iot_hubs
        .as_ref()
        .map(|hubs| Json::Array(hubs.iter().map(|hub| Json::from(hub.as_str())).collect()));
    object
        .with_some("reprovisionPolicy", terms.reprovision_policy.map(reprovision_policy))
        .with("createdDateTimeUtc", time::wire(terms.created).as_str())
        .with("lastUpdatedDateTimeUtc", time::wire(terms.last_updated).as_str())
        .with_some("allocationPolicy", terms.allocation_policy.map(policy_name))
        .with_some("iotHubs", hubs)
        .with_some(
            "customAllocationDefinition",
            terms.custom_allocation.as_ref().map(custom_allocation),
        )
}

fn show_attestation(mechanism: &AttestationMechanism, show: Show<'_>) -> Json {
    match show {
        Show::PutAnswer => attestation::mechanism(mechanism),
        Show::Get(_) | Show::QueryItem => attestation::without_keys(mechanism),
    }
}

fn reprovision_policy(policy: ReprovisionPolicy) -> Json {
    Object::new()
        .with_some("updateHubAssignment", policy.update_hub_assignment)
        .with_some("migrateDeviceData", policy.migrate_device_data)
        .build()
}

fn custom_allocation(custom: &CustomAllocation) -> Json {
    Object::new()
        .with("webhookUrl", custom.webhook_url.as_str())
        .with("apiVersion", custom.api_version.as_str())
        .build()
}

fn policy_name(policy: AllocationPolicy) -> &'static str {
    word_of(ALLOCATION_POLICIES, policy)
}

fn status_name(status: ProvisioningStatus) -> &'static str {
    word_of(PROVISIONING_STATUSES, status)
}

/// The canonical word for a value: the same list reads and writes it, so it lists every value.
fn word_of<T: PartialEq>(words: &[(&'static str, T)], value: T) -> &'static str {
    words.iter().find(|(_, meaning)| *meaning == value).map_or("", |(word, _)| word)
}
